"""`SyncOperations`: what an operator does, for code that is not asynchronous; each method as that of `Operations`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from perdure.client.blocking import Runner
from perdure.client.client_types import RestateClientSendHandle
from perdure.client.operations import Operations
from perdure.client.operator import Description, InvocationPage


class SyncOperations:
    """Errors: those of `Operations`; WrongThread where waiting would never end."""

    def __init__(self, operations: Operations, runner: Runner) -> None:
        self._operations = operations
        self._runner = runner

    def cancel(self, invocation: str | RestateClientSendHandle) -> None:
        """As `Client.cancel`."""
        return self._runner.run(self._operations.cancel(invocation))

    def kill(self, invocation: str | RestateClientSendHandle) -> None:
        """As `Client.kill`."""
        return self._runner.run(self._operations.kill(invocation))

    def pause(self, invocation: str | RestateClientSendHandle) -> bool:
        """As `Client.pause`."""
        return self._runner.run(self._operations.pause(invocation))

    def resume(self, invocation: str | RestateClientSendHandle) -> bool:
        """As `Client.resume`."""
        return self._runner.run(self._operations.resume(invocation))

    def restart(self, invocation: str | RestateClientSendHandle, *, from_index: int = 0) -> str:
        """As `Client.restart`."""
        return self._runner.run(self._operations.restart(invocation, from_index=from_index))

    def purge(self, invocation: str | RestateClientSendHandle, *, journal_only: bool = False) -> None:
        """As `Client.purge`."""
        return self._runner.run(self._operations.purge(invocation, journal_only=journal_only))

    def list_invocations(
        self,
        *,
        status: Iterable[str] = (),
        service: str | None = None,
        handler: str | None = None,
        key: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> InvocationPage:
        """As `Client.list_invocations`."""
        return self._runner.run(
            self._operations.list_invocations(
                status=status, service=service, handler=handler, key=key, limit=limit, after=after
            )
        )

    def describe(self, invocation: str | RestateClientSendHandle) -> Description:
        """As `Client.describe`."""
        return self._runner.run(self._operations.describe(invocation))

    def state(self, service: str, key: str) -> dict[str, bytes]:
        """As `Client.state`."""
        return self._runner.run(self._operations.state(service, key))

    def modify_state(self, service: str, key: str, new_state: Mapping[str, bytes], version: str | None = None) -> bool:
        """As `Client.modify_state`."""
        return self._runner.run(self._operations.modify_state(service, key, new_state, version))
