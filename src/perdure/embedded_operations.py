"""What an operator does through a node's client: control, restart, state, lists and descriptions, in the same process.

The same operations are routes of the admin API and commands of `perdure invocations` and `perdure state`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass

from perdure.client.client_types import Sent
from perdure.client.errors import Refused
from perdure.model.driver import InputRejected
from perdure.model.ids import format_invocation_id, parse_invocation_id
from perdure.node.engine import Engine
from perdure.node.errors import ControlRefused, NodeError
from perdure.node.inspection import Filter, status_name
from perdure.node.timeline import Moment
from perdure.node.waiting import Wait
from perdure.store.rows import Invocation


@dataclass(frozen=True, slots=True)
class InvocationInfo:
    """One invocation of a list. Units: Unix time in ms, 0 = not yet."""

    id: str
    target: str
    status: str
    """`scheduled`, `inboxed`, `running`, `backing-off`, `suspended`, `paused` or `completed`."""
    created_at_ms: int
    completed_at_ms: int
    attempts: int
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Description:
    """One invocation in detail: what it did, in order, and what it waits for (any one of these lets it go on)."""

    info: InvocationInfo
    waits_for: list[Wait]
    timeline: list[Moment]


@dataclass(frozen=True, slots=True)
class InvocationPage:
    """`after`: for the next call; None: there are no more. A page may be short, even empty, and not be the last."""

    invocations: list[InvocationInfo]
    after: str | None


class Operations:
    """Errors of every method: `Refused`, with an HTTP-like code, when it does not fit; `BadId` for text that is no id."""

    @property
    def engine(self) -> Engine:
        raise NotImplementedError

    async def kill(self, invocation: str | Sent[object]) -> None:
        """End it now, with what it called or sent; its handler is not asked."""
        with answers():
            await self.engine.kill(_raw(invocation))

    async def pause(self, invocation: str | Sent[object]) -> bool:
        """Let it wait until it is resumed. False: it was paused already."""
        with answers():
            return await self.engine.pause(_raw(invocation))

    async def resume(self, invocation: str | Sent[object]) -> bool:
        """Let it go on, or try again, now. False: an attempt is under way already."""
        with answers():
            return await self.engine.resume(_raw(invocation))

    async def restart(self, invocation: str | Sent[object], *, from_index: int = 0) -> str:
        """Run a finished one again, from its input or as it stood after entry `from_index`; the new id."""
        with answers():
            return format_invocation_id(await self.engine.restart(_raw(invocation), from_index=from_index))

    async def purge(self, invocation: str | Sent[object], *, journal_only: bool = False) -> None:
        """Forget a finished one now, or only its journal."""
        with answers():
            await (self.engine.purge_journal if journal_only else self.engine.purge)(_raw(invocation))

    async def list_invocations(
        self,
        *,
        status: Iterable[str] = (),
        service: str | None = None,
        handler: str | None = None,
        key: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> InvocationPage:
        """One page, the newest first. `status`: any of these, also `open`, `succeeded` and `failed`."""
        with answers():
            page = await self.engine.invocations(
                Filter(frozenset(status), service, handler, key), limit=limit, after=after
            )
        return InvocationPage([_info(row) for row in page.rows], page.after)

    async def describe(self, invocation: str | Sent[object]) -> Description:
        """What it did and what it waits for."""
        with answers():
            await self.engine.ready()
            details = self.engine.inspect(_raw(invocation))
        return Description(_info(details.row), details.waits_for, details.timeline)

    async def state(self, service: str, key: str) -> dict[str, bytes]:
        """The state of an object or a workflow, as its handlers stored it."""
        with answers():
            await self.engine.ready()
            return self.engine.state_of(service, key)

    async def modify_state(
        self, service: str, key: str, new_state: Mapping[str, bytes], version: str | None = None
    ) -> bool:
        """Replace the state as a whole. False: it waits for its turn behind the handler that holds the key."""
        with answers():
            return await self.engine.modify_state(service, key, new_state, version)


def _raw(invocation: str | Sent[object]) -> bytes:
    return parse_invocation_id(invocation if isinstance(invocation, str) else invocation.invocation_id)


def _info(row: Invocation) -> InvocationInfo:
    error = None if row.last_error is None else row.last_error.message
    return InvocationInfo(
        format_invocation_id(row.id),
        str(row.target),
        status_name(row),
        row.created_at_ms,
        row.completed_at_ms,
        row.epoch,
        error,
    )


@contextlib.contextmanager
def answers() -> Generator[None, None, None]:
    """What the engine refuses, as a client is told of it; the cause says more."""
    try:
        yield
    except ControlRefused as error:
        raise Refused(error.refused_status, error.what, error.next_step) from error
    except NodeError as error:
        raise Refused(error.status, error.what, error.next_step) from error
    except InputRejected as error:
        raise Refused(400, f"input validation error: {error}") from error
