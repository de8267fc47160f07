"""Real tables and the real `apply`, with every invariant checked after every record."""

from __future__ import annotations

from collections.abc import Iterator

from perdure.env.executor import ThreadExecutor
from perdure.model.records import Deliver, Message, Record
from perdure.partition.actions import Action, Forward
from perdure.partition.apply import apply
from perdure.partition.invariants import check_partition, check_record
from perdure.store.rows import Invocation
from perdure.store.store import Store
from perdure.store.tables import Tables


class World:
    """`partitions` partitions in one store; a checkpoint is a real one (in memory, or at `path`)."""

    def __init__(self, partitions: int = 1, path: str | None = None) -> None:
        self.partitions = partitions
        self._executor = ThreadExecutor()
        self.store = Store.open(path, partitions, executor=self._executor)
        self.lsn = 0
        self.forwarded: dict[tuple[int, int, int], Message] = {}
        """Every message that ever stood in an outbox, by (source, target, outbox_seq): it may come again."""

    def apply(self, record: Record) -> list[Action]:
        tables = self.store.tables[record.partition]
        actions = apply(record, tables, self.partitions)
        self.lsn += 1
        for action in actions:
            if isinstance(action, Forward):
                self.forwarded[action.partition, action.target, action.outbox_seq] = action.message
        check_record(record, tables)
        check_partition(tables, range(1, tables.meta.next_seq), self.partitions)
        return actions

    def deliver(self, source: int, target: int, outbox_seq: int, at_ms: int) -> list[Action]:
        message = self.forwarded[source, target, outbox_seq]
        return self.apply(Deliver(target, at_ms, source, outbox_seq, message))

    def invocations(self, partition: int) -> Iterator[Invocation]:
        tables = self.store.tables[partition]
        for seq in range(1, tables.meta.next_seq):
            row = tables.invocation(seq)
            if row is not None:
                yield row

    def tables_of(self, partition: int) -> Tables:
        return self.store.tables[partition]

    def checkpoint(self) -> None:
        self.store.freeze(self.lsn)
        self.store.write_frozen().result()
        self.store.written()

    def digests(self) -> list[str]:
        return [self.store.digest(partition) for partition in range(self.partitions)]

    def close(self) -> None:
        self.store.close()
        self._executor.shutdown(wait=True)
