"""What a transition works with: the tables, the time of the record, and the actions it answers with."""

from __future__ import annotations

from collections import deque

from perdure.model.ids import partition_key, partition_of
from perdure.model.journal import Caller, Completion, Result
from perdure.model.records import CompletionMessage, Message
from perdure.partition.actions import Action, Forward
from perdure.partition.sizes import message_bytes
from perdure.store.tables import Tables


class Work:
    """One record being applied. `now_ms` is the record's time, never less than that of any record before.

    Messages between invocations all leave through `send`. One for this partition is handled within the same record, after
    the transition that sent it; one for another partition goes to the outbox and is delivered exactly once.
    """

    __slots__ = ("actions", "local", "now_ms", "partition", "partitions", "tables")

    def __init__(self, tables: Tables, partitions: int, now_ms: int) -> None:
        self.tables = tables
        self.partition = tables.partition
        self.partitions = partitions
        self.now_ms = now_ms
        self.actions: list[Action] = []
        self.local: deque[Message] = deque()

    def home_of(self, invocation_id: bytes) -> int:
        """The partition in which this invocation lives."""
        return partition_of(partition_key(invocation_id), self.partitions)

    def send(self, target: int, message: Message) -> None:
        if target == self.partition:
            self.local.append(message)
            return
        meta = self.tables.edit_meta()
        outbox_seq = meta.outbox_next.get(target, 1)
        meta.outbox_next = {**meta.outbox_next, target: outbox_seq + 1}
        self.tables.put_outbox(target, outbox_seq, message)
        self.tables.add_bytes(message_bytes(message))
        self.actions.append(Forward(self.partition, target, outbox_seq, message))

    def answer(self, caller: Caller, result: Result) -> None:
        """Complete the entry of another invocation that waits for `result`."""
        message = CompletionMessage(caller.seq, Completion(caller.completion_id, caller.code, result))
        self.send(caller.partition, message)
