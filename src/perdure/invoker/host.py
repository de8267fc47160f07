"""What an invoker takes from the node it runs in."""

from __future__ import annotations

import asyncio
from typing import Protocol

from perdure.env.executor import Executor
from perdure.env.random import Random
from perdure.model.deployment import Deployment
from perdure.model.records import Record
from perdure.model.service import HandlerSpec, ServiceSpec
from perdure.store.rows import Invocation, JournalChunk


class Host(Protocol):
    loop: asyncio.AbstractEventLoop
    executor: Executor
    random: Random
    partitions: int
    may_start_steps: bool
    """False while the node stops."""
    ingress_url: str | None
    """Where the outside reaches the ingress, without a slash at the end."""

    def now_ms(self) -> int:
        """Unix time in ms, never going back: the `at_ms` of what is proposed now."""
        ...

    def propose(self, record: Record, *, awaited: bool) -> int:
        """Append to the log; returns the LSN. `awaited`: somebody waits for it, so it may not linger."""
        ...

    def is_pending(self, lsn: int) -> bool:
        """True while the record with this LSN may still be changed (its batch has not been encoded)."""
        ...

    def hurry(self) -> None:
        """Somebody waits for what is pending: do not let it linger."""
        ...

    @property
    def applied_lsn(self) -> int: ...

    def resolve(self, service: str, handler: str) -> tuple[ServiceSpec, HandlerSpec]:
        """Errors: ServiceNotFound, HandlerNotFound."""
        ...

    def place(self, row: Invocation) -> tuple[HandlerSpec, Deployment | None]:
        """Where the next attempt of this invocation runs: None = in this process.

        Errors: ServiceNotFound, HandlerNotFound, DeploymentNotFound.
        """
        ...

    def accepted_by(self, service: str) -> str | None:
        """The identity of the code in this process that takes new invocations of the service; None: it is elsewhere."""
        ...

    def invocation(self, partition: int, seq: int) -> Invocation | None: ...

    def journal(self, partition: int, seq: int) -> JournalChunk: ...

    def state(self, partition: int, service: str, key: str) -> dict[str, bytes]: ...
