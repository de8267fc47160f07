"""What the admin API answers: JSON, refusals with a message, and what requests have in common."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from perdure.model.ids import BadId, InvocationId, parse_invocation_id, parse_ulid
from perdure.node.engine import Engine
from perdure.node.phase import Phase

T = TypeVar("T")
BODY_BYTES_MAX = 1 << 20
"""Of requests that carry no data of users."""


UNCHANGED = {"x-perdure-unchanged": "true"}
"""Header of an answer that says that nothing had to be done, or that what was asked waits for its turn."""


class AdminRefused(Exception):
    """A request that is answered with this status and message: as JSON, or as plain text where Restate does so too."""

    def __init__(self, status: int, message: str, *, restate_code: str | None = None, plain: bool = False) -> None:
        self.status = status
        self.message = message
        self.restate_code = restate_code
        self.plain = plain
        super().__init__(message)


class ErrorBody(msgspec.Struct):
    message: str
    restate_code: str | None = None


def json_reply(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(body), status, headers, "application/json")


def refusal(refused: AdminRefused) -> Response:
    if refused.plain:
        return PlainTextResponse(refused.message, refused.status)
    return json_reply(ErrorBody(refused.message, refused.restate_code), refused.status)


def check_ready(engine: Engine) -> None:
    """Errors: AdminRefused (503)."""
    if engine.phase is not Phase.READY:
        raise AdminRefused(503, f"the server is {engine.phase.name.lower()}")


def invocation_id(engine: Engine, request: Request) -> InvocationId:
    """The invocation that the path names. Errors: AdminRefused (400, 503)."""
    check_ready(engine)
    text = request.path_params["id"]
    try:
        return parse_invocation_id(text)
    except BadId as why:
        raise AdminRefused(400, f"The request field 'invocation_id' is invalid. Reason: {why}") from None


def id_in_path(request: Request, kind: str, prefix: str) -> str:
    """The id of another kind that the path names. Errors: AdminRefused (400)."""
    text: str = request.path_params["id"]
    try:
        parse_ulid(prefix, text)
    except BadId as why:
        raise AdminRefused(400, f"Invalid URL: Cannot parse `{kind}` with value `{text}`: {why}", plain=True) from None
    return text


async def body_of(request: Request, limit: int) -> bytes:
    """The whole body. Errors: AdminRefused (413) for one of more than `limit` bytes, which is not read to its end."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise AdminRefused(413, f"the body has more than {limit} bytes")
        parts.append(part)
    return b"".join(parts)


async def decoded_body(request: Request, kind: type[T], limit: int = BODY_BYTES_MAX) -> T:
    """A JSON body of this type. Errors: AdminRefused: 415 not JSON by its content type, 400 no JSON, 422 another shape."""
    kind_of_body = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind_of_body != "application/json" and not re.fullmatch(r"application/[^/]+\+json", kind_of_body):
        raise AdminRefused(415, "Expected request with `Content-Type: application/json`", plain=True)
    body = await body_of(request, limit)
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as why:
        raise misshaped(str(why)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as why:
        raise AdminRefused(400, f"Failed to parse the request body as JSON: {why}", plain=True) from None


def misshaped(why: str) -> AdminRefused:
    """JSON that is not what is wanted."""
    return AdminRefused(422, f"Failed to deserialize the JSON body into the target type: {why}", plain=True)


def bad_query(why: str) -> AdminRefused:
    return AdminRefused(400, f"Failed to deserialize query string: {why}", plain=True)


def number_of(request: Request, name: str, otherwise: int) -> int:
    """A number in the query. Errors: AdminRefused (400)."""
    text = request.query_params.get(name)
    if text is None:
        return otherwise
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise AdminRefused(400, f"'{name}' is a whole number from 0 upward, not '{text}'")
    return int(text)


def flag_of(request: Request, name: str) -> bool:
    """A truth value in the query, false when it is not there. Errors: AdminRefused (400)."""
    text = request.query_params.get(name, "false")
    if text not in ("true", "false"):
        raise bad_query(f"{name}: provided string was not `true` or `false`")
    return text == "true"


def version_of(request: Request) -> int | None:
    """The version of the API that the path asks for; None: whatever is the latest."""
    prefix: str = request.scope.get("root_path", "").rpartition("/")[2]
    return int(prefix[1:]) if prefix in ("v2", "v3", "v4") else None
