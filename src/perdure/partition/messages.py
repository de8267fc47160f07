"""Messages between invocations, on the receiving side: the same whether they come from here or from another partition."""

from __future__ import annotations

from perdure.model.records import (
    AttachMessage,
    CompletionMessage,
    InvokeMessage,
    KillMessage,
    Message,
    SignalMessage,
)
from perdure.partition import lifecycle
from perdure.partition.actions import AbortAttempt
from perdure.partition.work import Work
from perdure.store.rows import Status


def handle(work: Work, message: Message) -> None:
    match message:
        case InvokeMessage():
            lifecycle.create(work, message.request)
        case CompletionMessage():
            lifecycle.complete_entry(work, message.seq, message.completion)
        case SignalMessage():
            lifecycle.signal(work, message.invocation_id, message.signal_id, message.result)
        case AttachMessage():
            lifecycle.attach(work, message.invocation_id, message.caller, wait=message.wait)
        case KillMessage():
            _kill(work, message.invocation_id)


def _kill(work: Work, invocation_id: bytes) -> None:
    seq = work.tables.find(invocation_id)
    row = None if seq is None else work.tables.invocation(seq)
    if row is None or row.status is Status.COMPLETED:
        return
    work.actions.append(AbortAttempt(work.partition, row.seq))
    lifecycle.kill(work, work.tables.edit(row.seq))


def drain(work: Work) -> None:
    """Handle what this record's transition sent to its own partition, and what that sends, in order."""
    while work.local:
        handle(work, work.local.popleft())
