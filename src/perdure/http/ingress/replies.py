"""What the ingress answers: outcomes, acceptances and errors as status, headers and body.

Every reply carries the CORS headers; every error is JSON with `code`, `message` and `source`, and repeats the source in
a header, so that a client can tell "the invocation failed" from "the request was not accepted".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from perdure.http.asgi import RawHeaders
from perdure.http.ingress.refusals import RequestRefused
from perdure.model.ids import format_invocation_id
from perdure.model.journal import Failure
from perdure.model.service import PayloadRules
from perdure.node.requests import Accepted, Outcome

JSON = (b"content-type", b"application/json")
_COMMON = [
    (b"vary", b"origin, access-control-request-method, access-control-request-headers"),
    (b"access-control-allow-credentials", b"true"),
]
_SOURCE = {
    "ingress": (b"x-restate-error-source", b"ingress"),
    "invocation": (b"x-restate-error-source", b"invocation"),
}
_BODILESS = frozenset((204, 205, 304))
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Reply:
    status: int
    headers: RawHeaders = field(default_factory=_COMMON.copy)
    body: bytes = b""


class ErrorBody(msgspec.Struct, omit_defaults=True):
    code: int
    message: str
    source: str
    metadata: dict[str, str] | None = None
    stacktrace: str | None = None


class _SendBody(msgspec.Struct, omit_defaults=True, rename="camel"):
    invocation_id: str
    status: str
    execution_time: str | None = None


class _LookupBody(msgspec.Struct, rename="camel"):
    invocation_id: str


def outcome_reply(outcome: Outcome, output: PayloadRules | None, stacktrace: str | None = None) -> Reply:
    """The result of an invocation; `output` says what its handler gives, None when that is not known any more.

    `stacktrace`: of the attempt whose error became the result, if there was one.
    """
    invocation_id = (b"x-restate-id", format_invocation_id(outcome.invocation_id).encode())
    result = outcome.result
    if isinstance(result, Failure):
        return _failure_reply(result, invocation_id, outcome.expires_at_ms, stacktrace)
    reply = Reply(200, [invocation_id, *_COMMON], result or b"")
    if output is not None and output.content_type is not None and (result or output.set_content_type_if_empty):
        reply.headers.append((b"content-type", output.content_type.encode("latin-1", "replace")))
    if outcome.expires_at_ms:
        reply.headers.append(_expires(outcome.expires_at_ms))
    return reply


def accepted_reply(accepted: Accepted, execute_at_ms: int) -> Reply:
    """`execute_at_ms`: 0 where no delay was asked for."""
    invocation_id = format_invocation_id(accepted.invocation_id)
    body = _SendBody(
        invocation_id,
        "PreviouslyAccepted" if accepted.duplicate else "Accepted",
        _nanosecond_time(execute_at_ms) if execute_at_ms else None,
    )
    return Reply(202, [(b"x-restate-id", invocation_id.encode()), JSON, *_COMMON], _encode(body))


def lookup_reply(invocation_id: bytes) -> Reply:
    return Reply(200, [JSON, *_COMMON], _encode(_LookupBody(format_invocation_id(invocation_id))))


def refusal_reply(refused: RequestRefused) -> Reply:
    body = ErrorBody(refused.status, refused.message, refused.source)
    reply = Reply(refused.status, [JSON, _SOURCE[refused.source], *_COMMON], _encode(body))
    if refused.retry_after_s is not None:
        reply.headers.append((b"retry-after", b"%d" % refused.retry_after_s))
    return reply


def json_reply(status: int, body: object) -> Reply:
    return Reply(status, [JSON, *_COMMON], _encode(body))


def allow_origin(reply: Reply, origin: bytes) -> None:
    reply.headers.append((b"access-control-allow-origin", origin))


def preflight_reply(headers: RawHeaders) -> Reply:
    """Whatever a browser asks to be allowed is allowed: the ingress has no cookies or log-ins that could be misused."""
    reply = Reply(200)
    for name, value in headers:
        if name == b"access-control-request-method":
            reply.headers.append((b"access-control-allow-methods", value))
        elif name == b"access-control-request-headers":
            reply.headers.append((b"access-control-allow-headers", value))
    return reply


def _failure_reply(
    failure: Failure, invocation_id: tuple[bytes, bytes], expires_at_ms: int, stacktrace: str | None
) -> Reply:
    body = ErrorBody(failure.code, failure.message, "invocation", failure.metadata or None, stacktrace)
    headers = [invocation_id, JSON, _SOURCE["invocation"], *_COMMON]
    if expires_at_ms:
        headers.append(_expires(expires_at_ms))
    return Reply(failure_status(failure.code), headers, _encode(body))


def failure_status(code: int) -> int:
    """The HTTP status of a failure code: the code where HTTP can carry it as the end of a reply with a body, else 500."""
    return code if 200 <= code <= 999 and code not in _BODILESS else 500


def _expires(at_ms: int) -> tuple[bytes, bytes]:
    """The result had been stored before, and is kept until then."""
    return (b"idempotency-expires", _rfc3339(at_ms).encode())


def _rfc3339(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


def _nanosecond_time(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms // 1000, UTC):%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}000000Z"
