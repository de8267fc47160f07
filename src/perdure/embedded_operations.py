"""`InProcessOperator`: what an operator asks through a node's client, of the engine in the same process.

The same operations are routes of the admin API and commands of `perdure invocations` and `perdure state`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping

import msgspec

from perdure.client.errors import Refused
from perdure.client.operator import Description, InvocationInfo, InvocationPage, Listing, Moment, Wait
from perdure.model.driver import InputRejected
from perdure.model.ids import format_invocation_id, parse_invocation_id
from perdure.model.journal import Failure, Result
from perdure.node.engine import Engine
from perdure.node.errors import ControlRefused, NodeError
from perdure.node.inspection import Filter, status_name
from perdure.store.rows import Invocation, Status


class InProcessOperator:
    """See `perdure.client.operator.Operator`."""

    def __init__(self, engine: Callable[[], Engine]) -> None:
        self._engine = engine

    async def cancel(self, invocation_id: str) -> None:
        with answers():
            await self._engine().cancel(parse_invocation_id(invocation_id))

    async def kill(self, invocation_id: str) -> None:
        with answers():
            await self._engine().kill(parse_invocation_id(invocation_id))

    async def pause(self, invocation_id: str) -> bool:
        with answers():
            return await self._engine().pause(parse_invocation_id(invocation_id))

    async def resume(self, invocation_id: str) -> bool:
        with answers():
            return await self._engine().resume(parse_invocation_id(invocation_id))

    async def restart(self, invocation_id: str, from_index: int) -> str:
        with answers():
            new_id = await self._engine().restart(parse_invocation_id(invocation_id), from_index=from_index)
        return format_invocation_id(new_id)

    async def purge(self, invocation_id: str, *, journal_only: bool) -> None:
        with answers():
            engine = self._engine()
            await (engine.purge_journal if journal_only else engine.purge)(parse_invocation_id(invocation_id))

    async def signal(self, invocation_id: str, name: str, value: Result) -> None:
        with answers():
            await self._engine().send_signal(parse_invocation_id(invocation_id), name, value)

    async def invocations(self, wanted: Listing) -> InvocationPage:
        filtered = Filter(frozenset(wanted.status), wanted.service, wanted.handler, wanted.key)
        with answers():
            page = await self._engine().invocations(filtered, limit=wanted.limit, after=wanted.after)
        return InvocationPage([_info(row) for row in page.rows], page.after)

    async def describe(self, invocation_id: str) -> Description:
        with answers():
            engine = self._engine()
            await engine.ready()
            details = engine.inspect(parse_invocation_id(invocation_id))
        # What the engine says of it has the same fields, which the admin API gives as JSON.
        waits_for = msgspec.convert(details.waits_for, list[Wait], from_attributes=True)
        timeline = msgspec.convert(details.timeline, list[Moment], from_attributes=True)
        return Description(_info(details.row), waits_for, timeline)

    async def state(self, service: str, key: str) -> dict[str, bytes]:
        with answers():
            engine = self._engine()
            await engine.ready()
            return engine.state_of(service, key)

    async def modify_state(self, service: str, key: str, new_state: Mapping[str, bytes], version: str | None) -> bool:
        with answers():
            return await self._engine().modify_state(service, key, new_state, version)

    async def close(self) -> None:
        """The node's life is its own."""


def _info(row: Invocation) -> InvocationInfo:
    error = None if row.last_error is None or row.status is Status.COMPLETED else row.last_error.message
    return InvocationInfo(
        format_invocation_id(row.id),
        str(row.target),
        status_name(row),
        row.created_at_ms,
        row.completed_at_ms,
        row.epoch,
        error,
        row.result.message if isinstance(row.result, Failure) else None,
    )


@contextlib.contextmanager
def answers() -> Generator[None]:
    """What the engine refuses, as a client is told of it; the cause says more."""
    try:
        yield
    except ControlRefused as error:
        raise Refused(error.refused_status, error.what, error.next_step) from error
    except NodeError as error:
        raise Refused(error.status, error.what, error.next_step) from error
    except InputRejected as error:
        raise Refused(400, f"input validation error: {error}") from error
