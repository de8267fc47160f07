"""The engine of a simulated process, with somebody who looks on: what it has, and what it does with each batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from perdure.model.ids import parse_invocation_id
from perdure.model.journal import Failure
from perdure.model.records import Record
from perdure.node.engine import Engine
from perdure.node.requests import NewInvocation, Outcome
from perdure.partition.invariants import check_partition
from perdure.store.database import Database
from perdure.store.rows import Status
from perdure.store.schema import applied_lsn, let_go, open_reader
from perdure.store.tables import Tables

if TYPE_CHECKING:
    from perdure.node.performer import Reply
    from perdure.testing.sim.lateness import Lateness
    from perdure.testing.sim.simulation import Simulation

DATA = Path("/data")
_KILLED = Failure(409, "killed")


class SimEngine(Engine):
    """`simulation`, `lateness` and `vfs_name` are set by whoever makes it."""

    simulation: Simulation
    lateness: Lateness
    vfs_name: str

    def propose(self, record: Record, *, awaited: bool, reply: Reply | None = None) -> int:
        lsn = super().propose(record, awaited=awaited, reply=reply)
        self.lateness.proposed(lsn, record)
        return lsn

    async def call(self, request: NewInvocation) -> Outcome:
        asked_s = self.lateness.acting_s
        outcome = await super().call(request)
        self.lateness.answered(outcome.invocation_id, asked_s)
        return outcome

    async def attach(self, invocation_id: bytes) -> Outcome:
        asked_s = self.lateness.acting_s
        outcome = await super().attach(invocation_id)
        self.lateness.answered(invocation_id, asked_s)
        return outcome

    @contextmanager
    def written(self) -> Iterator[tuple[int, list[Tables]]]:
        """What the last checkpoint has written, as somebody finds it who has the file alone: its LSN and its tables."""
        connection = open_reader(str(DATA / "store.sqlite"), 0, self.vfs_name)
        try:
            tables = [Tables(partition, Database(connection, partition)) for partition in range(self.partitions)]
            yield applied_lsn(connection), tables
        finally:
            let_go(connection)

    def runs(self, invocation_id: str) -> bool:
        with self.simulation.disk.unwatched():
            row = self.find(parse_invocation_id(invocation_id))
        return row is not None and row.status is Status.INVOKED and not row.retry_at_ms

    def is_stopped(self, invocation_id: str) -> bool:
        with self.simulation.disk.unwatched():
            row = self.find(parse_invocation_id(invocation_id))
        return row is not None and (row.status is Status.PAUSED or row.result == _KILLED)

    async def checkpoint_while_replaying(self) -> None:
        with self.simulation.disk.unwatched():
            self.simulation.records.read(self, self.log.durable_lsn)
        await super().checkpoint_while_replaying()

    def after_batch(self, records: list[Record]) -> None:
        with self.simulation.disk.unwatched():
            self.simulation.records.applied(self, records)
        super().after_batch(records)
        if len(self.pool) > self.settings.concurrent_attempts_max:
            self.simulation.world.broken("bounds", f"{len(self.pool)} attempts at once")
        if self.store.active_bytes > 2 * self.settings.layer_bytes_max and not self.pool.throttled:
            self.simulation.world.broken(
                "bounds", f"{self.store.active_bytes} bytes wait to be written, and all goes on"
            )

    def check_all(self) -> None:
        """Errors: InvariantBroken."""
        for tables in self.store.tables:
            check_partition(tables, range(1, tables.meta.next_seq), self.partitions)

    def unfinished(self) -> list[str]:
        """Invocations that have not ended, and messages on their way from one partition to another."""
        left: list[str] = []
        for tables in self.store.tables:
            for seq in range(1, tables.meta.next_seq):
                row = tables.invocation(seq)
                if row is not None and row.status is not Status.COMPLETED:
                    left.append(f"{row.status.name} {row.target}")
            for target in range(self.partitions):
                left += [f"message {number} to partition {target}" for number, _ in tables.outbox(target, 0, 10)]
        return left
