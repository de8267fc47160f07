"""What a caller asks of whatever carries its requests: an engine in this process, or a server behind HTTP.

Plain data in and out: bytes, ids as text, no types of handlers. What always holds, whatever the transport: a handler's own
failure is raised as `CallFailed`, a request that was not accepted as `Refused`, and then nothing is stored. It must not know
how values are serialized.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from perdure.model.journal import Headers, Result
from perdure.model.target import Target


@dataclass(slots=True)
class Invoke:
    """A new invocation. Units: `delay_ms` from now, 0 = at once."""

    target: Target
    body: bytes = b""
    content_type: str | None = None
    headers: Headers = field(default_factory=list[tuple[str, str]])
    idempotency_key: str | None = None
    delay_ms: int = 0
    workflow_run: bool = False
    """The handler runs once per key by itself and takes no idempotency key."""


@dataclass(slots=True, frozen=True)
class Existing:
    """An invocation that exists already: by its id, or by what it was called with.

    Shapes: `target` alone names the run of a workflow, with `idempotency_key` an idempotent request.
    """

    invocation_id: str = ""
    target: Target | None = None
    idempotency_key: str | None = None


@dataclass(slots=True, frozen=True)
class Receipt:
    """An invocation that is durable; `duplicate`: it was before this request came."""

    invocation_id: str
    duplicate: bool


class Transport(Protocol):
    """Carries requests. Errors of all: CallFailed, Refused; over a network also Unreachable, ConnectionLost, CallTimeout."""

    async def call(self, invoke: Invoke) -> bytes: ...

    async def send(self, invoke: Invoke) -> Receipt: ...

    async def attach(self, existing: Existing) -> bytes: ...

    async def output(self, existing: Existing) -> bytes | None:
        """None: it has not finished yet."""
        ...

    async def complete(self, awakeable_id: str, value: Result) -> None: ...

    async def close(self) -> None: ...
