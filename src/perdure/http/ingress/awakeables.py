"""Awakeables completed from outside: the body is the value, or the words of the refusal."""

from __future__ import annotations

from perdure.http.asgi import Receive, Scope, find_header
from perdure.http.ingress.refusals import (
    AWAKEABLE_PATH,
    RequestRefused,
    bad_request,
    bad_shape,
    method_not_allowed,
    not_found,
)
from perdure.http.ingress.replies import Reply
from perdure.http.ingress.request import read_body
from perdure.model.ids import FIRST_USER_SIGNAL, BadId, parse_awakeable_id
from perdure.model.journal import Failure, Result
from perdure.node.engine import Engine

REJECTED = 500
"""Code of the failure that the waiting handler sees."""


async def complete_awakeable(engine: Engine, scope: Scope, receive: Receive, segments: list[str], limit: int) -> Reply:
    """`segments` follow `/restate/awakeables/`. Accepted even when nobody waits any more. Errors: RequestRefused."""
    if len(segments) != 2:
        raise bad_shape(AWAKEABLE_PATH)
    text, verb = segments
    if verb not in ("resolve", "reject"):
        raise not_found()
    if scope["method"] != "POST":
        raise method_not_allowed()
    try:
        invocation_id, signal = parse_awakeable_id(text)
    except BadId as why:
        raise _bad_id(text, str(why)) from None
    if signal < FIRST_USER_SIGNAL:
        # The lower ones are the engine's own: an id for one of them was never handed out.
        raise _bad_id(text, "it names no awakeable")
    declared = find_header(scope["headers"], b"content-length")
    body = await read_body(receive, limit, int(declared) if declared and declared.isdigit() else None)
    result: Result = body if verb == "resolve" else Failure(REJECTED, _words(body))
    await engine.signal(invocation_id, signal, result)
    return Reply(202)


def _words(body: bytes) -> str:
    """A reason that is no UTF-8 is kept as far as it can be read, as in Restate."""
    return body.decode(errors="replace")


def _bad_id(text: str, why: str) -> RequestRefused:
    return bad_request(f"bad awakeable id '{text}': {why}")
