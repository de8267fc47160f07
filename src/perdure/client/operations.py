"""`Operations`: what a client can do as an operator: end, stop, repeat and look at invocations, repair state.

The same is in the admin API and on the command line (docs/operations.md). How it travels it must not know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from perdure.client.client_types import RestateClientSendHandle
from perdure.client.operator import Description, InvocationPage, Listing, Operator
from perdure.model.ids import parse_invocation_id
from perdure.model.journal import Result


class Operations:
    """Errors of every method: `Refused`, with an HTTP-like code, when it does not fit; `BadId` for text that is no id; over
    HTTP also `Unreachable`, `ConnectionLost` and `CallTimeout`. None is sent a second time by itself."""

    _operator: Operator

    async def cancel(self, invocation: str | RestateClientSendHandle) -> None:
        """Ask an invocation to end. Errors: Refused, 404 when it is unknown, 409 when it has ended."""
        await self._operator.cancel(checked_id(invocation))

    async def kill(self, invocation: str | RestateClientSendHandle) -> None:
        """End it now, with what it called or sent; its handler is not asked. Errors: as `cancel`."""
        await self._operator.kill(checked_id(invocation))

    async def pause(self, invocation: str | RestateClientSendHandle) -> bool:
        """Let it wait until it is resumed. False: it was paused already. Errors: as `cancel`; 409 before it has started."""
        return await self._operator.pause(checked_id(invocation))

    async def resume(self, invocation: str | RestateClientSendHandle) -> bool:
        """Let it go on, or try again, now. False: an attempt is under way already. Errors: as `cancel`; 425 before it has
        started."""
        return await self._operator.resume(checked_id(invocation))

    async def restart(self, invocation: str | RestateClientSendHandle, *, from_index: int = 0) -> str:
        """Run a finished one again, from its input or as it stood after entry `from_index`; the new id.

        Errors: Refused, 400 no such entry or one without an answer, 404 unknown, 409 not finished, 410 its journal is
        gone, 422 of a workflow.
        """
        return await self._operator.restart(checked_id(invocation), from_index)

    async def purge(self, invocation: str | RestateClientSendHandle, *, journal_only: bool = False) -> None:
        """Forget a finished one now, or only its journal. Errors: Refused, 404 unknown, 409 not finished."""
        await self._operator.purge(checked_id(invocation), journal_only=journal_only)

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
        """One page, the newest first. `status`: any of these, also `open`, `succeeded` and `failed`. Errors: Refused (400)."""
        return await self._operator.invocations(Listing(tuple(status), service, handler, key, limit, after))

    async def describe(self, invocation: str | RestateClientSendHandle) -> Description:
        """What it did and what it waits for. Errors: Refused (404)."""
        return await self._operator.describe(checked_id(invocation))

    async def state(self, service: str, key: str) -> dict[str, bytes]:
        """The state of an object or a workflow, as its handlers stored it. Errors: Refused, 404 no such service, 400 one
        without keys."""
        return await self._operator.state(service, key)

    async def modify_state(
        self, service: str, key: str, new_state: Mapping[str, bytes], version: str | None = None
    ) -> bool:
        """Replace the state as a whole, if it has this version still. False: it waits for its turn behind the handler that
        holds the key. Errors: as `state`."""
        return await self._operator.modify_state(service, key, new_state, version)

    async def _signal(self, invocation_id: str, name: str, value: Result) -> None:
        await self._operator.signal(checked_id(invocation_id), name, value)


def checked_id(invocation: str | RestateClientSendHandle) -> str:
    """The id as text. Errors: BadId."""
    text = invocation if isinstance(invocation, str) else invocation.invocation_id
    parse_invocation_id(text)
    return text
