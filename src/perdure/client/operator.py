"""What an operator asks of an engine: control of single invocations, lists and descriptions, state.

Plain data, and the protocol that whatever carries these requests follows, as `transport` is for callers. The same stands in
the admin API (docs/admin.md), whose names the fields have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from perdure.model.journal import Result


class InvocationInfo(msgspec.Struct, frozen=True):
    """One invocation of a list. Units: Unix time in ms, 0 = not yet."""

    id: str
    target: str
    """`Service/handler`, or `Service/key/handler`."""
    status: str
    """`scheduled`, `inboxed`, `running`, `backing-off`, `suspended`, `paused` or `completed`."""
    created_at_ms: int
    completed_at_ms: int = 0
    attempts: int = 0
    last_error: str | None = None
    """Of one that has not ended: how its last attempt failed."""
    failure: str | None = None
    """Of one that has ended with a terminal error: its message."""


class Wait(msgspec.Struct, frozen=True):
    """One thing of which any lets an invocation go on. Units: Unix time in ms."""

    kind: str
    """`step`, `sleep`, `call`, `promise`, `attach`, `awakeable`, `signal`, `start`, `key`, `retry`, `person`, `room`."""
    text: str
    since_ms: int | None = None
    until_ms: int | None = None
    invocation_id: str | None = None
    """The invocation whose end, or key, it waits for."""
    name: str | None = None
    """Of a signal; the id of an awakeable: what has to be completed."""


class MomentError(msgspec.Struct, frozen=True):
    """How a moment failed."""

    code: int
    message: str


class Moment(msgspec.Struct, frozen=True):
    """One line of a timeline. Units: Unix time in ms; `took_ms` until the answer came (or until now, while `open`)."""

    index: int | None
    """Where the entry stands in the journal: what a restart can go on from. None: it is an event, and no entry."""
    what: str
    """`run`, `sleep`, `call`, …; `attempt` for one that failed and `pause`, which stand behind the last entry there was."""
    at_ms: int
    state: str
    """`done`, `failed` or `open`."""
    subject: str = ""
    """Whom or what it is about: the name of a step, the target of a call, the key of a state."""
    took_ms: int | None = None
    until_ms: int | None = None
    """When a sleep ends, or a delayed send begins."""
    invocation_id: str | None = None
    """The invocation that was called, sent, signalled or attached to."""
    failed_tries: int = 0
    """Of a step that is still open."""
    error: MomentError | None = None
    """How it failed; of an open step: the last try."""
    completion_id: int | None = None


class Description(msgspec.Struct, frozen=True):
    """One invocation in detail: what it did, in order, and what it waits for (any one of these lets it go on)."""

    info: InvocationInfo
    waits_for: list[Wait]
    timeline: list[Moment]


class InvocationPage(msgspec.Struct, frozen=True):
    """`after`: for the next call; None: there are no more. A page may be short, even empty, and not be the last."""

    invocations: list[InvocationInfo]
    after: str | None


class Listing(msgspec.Struct, frozen=True):
    """What is listed, newest first; None and nothing given: everything."""

    status: tuple[str, ...] = ()
    service: str | None = None
    handler: str | None = None
    key: str | None = None
    limit: int = 100
    after: str | None = None


class Operator(Protocol):
    """Carries what an operator asks. Ids are checked already. Errors of all: Refused, then nothing has changed; over a
    network also Unreachable, ConnectionLost (it may have been done), CallTimeout."""

    async def cancel(self, invocation_id: str) -> None: ...

    async def kill(self, invocation_id: str) -> None: ...

    async def pause(self, invocation_id: str) -> bool: ...

    async def resume(self, invocation_id: str) -> bool: ...

    async def restart(self, invocation_id: str, from_index: int) -> str: ...

    async def purge(self, invocation_id: str, *, journal_only: bool) -> None: ...

    async def signal(self, invocation_id: str, name: str, value: Result) -> None: ...

    async def invocations(self, wanted: Listing) -> InvocationPage: ...

    async def describe(self, invocation_id: str) -> Description: ...

    async def state(self, service: str, key: str) -> dict[str, bytes]: ...

    async def modify_state(
        self, service: str, key: str, new_state: Mapping[str, bytes], version: str | None
    ) -> bool: ...

    async def close(self) -> None: ...
