"""What the admin API answers: JSON, refusals with a message, and what requests have in common."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from perdure.model.ids import BadId, InvocationId, parse_invocation_id
from perdure.node.engine import Engine
from perdure.node.phase import Phase


class AdminRefused(Exception):
    """A request that is answered with this status and message."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        self.message = message
        super().__init__(message)


class ErrorBody(msgspec.Struct):
    message: str
    restate_code: str | None = None


def json_reply(body: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


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
        raise AdminRefused(400, f"bad invocation id '{text}': {why}") from None


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


def number_of(request: Request, name: str, otherwise: int) -> int:
    """A number in the query. Errors: AdminRefused (400)."""
    text = request.query_params.get(name)
    if text is None:
        return otherwise
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise AdminRefused(400, f"'{name}' is a whole number from 0 upward, not '{text}'")
    return int(text)
