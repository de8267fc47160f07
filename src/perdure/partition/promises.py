"""Durable promises of a workflow: single assignment, awaited by any number of its handlers."""

from __future__ import annotations

from perdure.model.journal import (
    Caller,
    CompletePromise,
    Completion,
    CompletionCode,
    Failure,
    GetPromise,
    PeekPromise,
)
from perdure.partition.lifecycle import tell
from perdure.partition.sizes import result_bytes
from perdure.partition.work import Work
from perdure.store.rows import Invocation, Promise


def get_promise(work: Work, row: Invocation, entry: GetPromise) -> None:
    """Answered with the promise's value, now or when it is completed."""
    service, key = row.target.service, row.target.key or ""
    promise = work.tables.promise(service, key, entry.key) or Promise()
    if promise.completed:
        tell(work, row, Completion(entry.completion_id, CompletionCode.GET_PROMISE, promise.result))
        return
    caller = Caller(work.partition, row.seq, entry.completion_id, CompletionCode.GET_PROMISE)
    work.tables.put_promise(service, key, entry.key, Promise(waiting=[*(promise.waiting or ()), caller]))


def peek_promise(work: Work, row: Invocation, entry: PeekPromise) -> None:
    """Answered at once with the value, or nothing when it is not completed."""
    promise = work.tables.promise(row.target.service, row.target.key or "", entry.key)
    result = promise.result if promise is not None and promise.completed else None
    tell(work, row, Completion(entry.completion_id, CompletionCode.PEEK_PROMISE, result))


def complete_promise(work: Work, row: Invocation, entry: CompletePromise) -> None:
    """Complete the promise and tell those who wait; answered with nothing, or failure 409 when it was completed before."""
    service, key = row.target.service, row.target.key or ""
    promise = work.tables.promise(service, key, entry.key) or Promise()
    if promise.completed:
        refusal = Failure(409, "promise was already completed")
        tell(work, row, Completion(entry.completion_id, CompletionCode.COMPLETE_PROMISE, refusal))
        return
    work.tables.put_promise(service, key, entry.key, Promise(completed=True, result=entry.result))
    work.tables.add_bytes(result_bytes(entry.result))
    tell(work, row, Completion(entry.completion_id, CompletionCode.COMPLETE_PROMISE, None))
    for caller in promise.waiting or ():
        work.answer(caller, entry.result)
