"""From durable records to what happens: applies each to its partition and performs the actions it answers with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from perdure.model.records import Deliver, OutboxDelivered, Record
from perdure.node.requests import Outcome
from perdure.partition import actions as a
from perdure.partition.apply import apply
from perdure.partition.invariants import check_record

if TYPE_CHECKING:
    from perdure.node.core import Core

Reply = Callable[[list[a.Action]], None]


class Performer:
    """What always holds: records are applied in LSN order, each once; turns run only between batches."""

    def __init__(self, engine: Core) -> None:
        self._engine = engine
        self._tables = engine.store.tables
        self._partitions = len(self._tables)
        self.applied_lsn = engine.store.applied_lsn
        self.replies: dict[int, Reply] = {}
        """By LSN: who proposed the record and wants to know what came of it."""
        self._perform: Mapping[type, Callable[[Any], None]] = {
            a.StartAttempt: engine.pool.start,
            a.Notify: engine.pool.notify,
            a.AbortAttempt: engine.pool.abort,
            a.ArmTimer: lambda action: engine.timers.arm(action.partition, action.timer),
            a.Forward: self._forward,
            a.Delivered: self._delivered,
            a.Accepted: _nothing,
            a.Completed: self._completed,
            a.Controlled: _nothing,
            a.DeploymentChanged: lambda action: engine.registry.changed(action.id, action.deployment),
        }

    def replay(self, lsn: int, record: Record) -> None:
        """Apply a record of the past: its actions were performed then, or are derived again from the tables."""
        apply(record, self._tables[record.partition], self._partitions)
        self.applied_lsn = lsn

    def batch(self, first_lsn: int, records: list[Record]) -> None:
        """Apply a durable batch, perform its actions, run the turns that became due."""
        engine, tables, partitions = self._engine, self._tables, self._partitions
        perform, replies, dev = self._perform, self.replies, engine.settings.dev
        lsn = first_lsn
        for record in records:
            actions = apply(record, tables[record.partition], partitions)
            self.applied_lsn = lsn
            if dev:
                check_record(record, tables[record.partition])
            if replies:
                reply = replies.pop(lsn, None)
                if reply is not None:
                    reply(actions)
            for action in actions:
                perform[type(action)](action)
            lsn += 1
        engine.after_batch(records)

    def forward_all(self) -> None:
        """After a start: whatever still stands in an outbox goes out (again)."""
        for source, tables in enumerate(self._tables):
            for target in range(self._partitions):
                after = 0
                while messages := tables.outbox(target, after, 1000):
                    for outbox_seq, message in messages:
                        self._forward(a.Forward(source, target, outbox_seq, message))
                        after = outbox_seq

    def _forward(self, action: a.Forward) -> None:
        engine = self._engine
        record = Deliver(action.target, engine.now_ms(), action.partition, action.outbox_seq, action.message)
        engine.propose(record, awaited=True)

    def _delivered(self, action: a.Delivered) -> None:
        engine = self._engine
        record = OutboxDelivered(action.source, engine.now_ms(), action.target, action.outbox_seq)
        engine.propose(record, awaited=False)

    def _completed(self, action: a.Completed) -> None:
        self._engine.callers.answer(Outcome(action.invocation_id, action.result, action.expires_at_ms))


def _nothing(_: object) -> None:
    """The proposer saw this action already."""
