"""What a node is asked and what it answers, as plain data."""

from __future__ import annotations

import msgspec

from perdure.model.journal import Headers, Origin, Result
from perdure.model.target import Target

INGRESS = Origin("ingress")


class NewInvocation(msgspec.Struct):
    """A request for a new invocation. Units: `delay_ms` in milliseconds from now, 0 = at once."""

    target: Target
    body: bytes = b""
    content_type: str | None = None
    headers: Headers = msgspec.field(default_factory=list)
    idempotency_key: str | None = None
    delay_ms: int = 0
    traceparent: str | None = None
    tracestate: str | None = None
    origin: Origin = INGRESS


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """The invocation is durable (and was before, if `duplicate`)."""

    invocation_id: bytes
    duplicate: bool
    execute_at_ms: int


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """A finished invocation. `expires_at_ms` is set when the result had been stored before this request came."""

    invocation_id: bytes
    result: Result
    expires_at_ms: int = 0
