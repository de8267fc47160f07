"""The life of an invocation inside its partition: created, admitted to its key, started, told something, finished.

These are the moves that several transitions share. Each takes and returns rows of the active layer.
"""

from __future__ import annotations

from perdure.model.ids import CANCEL_SIGNAL
from perdure.model.journal import (
    Call,
    Caller,
    Completion,
    Entry,
    Failure,
    Input,
    InvokeRequest,
    Notification,
    OneWayCall,
    Result,
    Signal,
)
from perdure.model.records import KillMessage
from perdure.model.state_version import state_version
from perdure.model.target import HandlerKind
from perdure.partition.actions import Accepted, ArmTimer, Completed, Control, Notify, StartAttempt
from perdure.partition.awaiting import still_awaited
from perdure.partition.sizes import kept_bytes, payload_bytes, result_bytes
from perdure.partition.work import Work
from perdure.store.rows import Invocation, StateChange, Status, Timer, TimerKind

FORGOTTEN = Failure(410, "the run of this workflow was forgotten, and its promises with it")
"""What a handler beside a run is told that waits for one of its promises."""


def create(work: Work, request: InvokeRequest) -> None:
    """A new invocation, or, if its id is derived and known, another caller of the one that exists."""
    tables = work.tables
    derived = request.idempotency_key is not None or request.handler_kind is HandlerKind.RUN
    known = tables.find(request.invocation_id) if derived else None
    if known is not None:
        _join(work, known, request)
        return
    meta = tables.edit_meta()
    seq = meta.next_seq
    meta.next_seq = seq + 1
    row = Invocation(
        seq,
        request.invocation_id,
        request.target,
        request.handler_kind,
        Status.INVOKED,
        request.seed,
        work.now_ms,
        request.completion_retention_ms,
        request.journal_retention_ms,
        modified_at_ms=work.now_ms,
        execute_at_ms=request.execute_at_ms,
        last_gain_at_ms=work.now_ms,
        callers=None if request.caller is None else [request.caller],
        idempotency_key=request.idempotency_key,
        origin=request.origin,
        deployment=request.deployment,
        traceparent=request.traceparent,
        tracestate=request.tracestate,
        scope=request.scope,
        limit_key=request.limit_key,
        priority=request.priority,
        tags=request.tags,
        memo=request.memo,
    )
    tables.add(row)
    row.commands = 1
    append(work, row, Input(request.headers, request.body))
    work.actions.append(Accepted(request.invocation_id, False, request.execute_at_ms))
    if request.execute_at_ms > work.now_ms:
        row.status = Status.SCHEDULED
        arm(work, Timer(request.execute_at_ms, seq, 0, TimerKind.START))
    else:
        admit(work, row)


def append(work: Work, row: Invocation, entry: Entry) -> None:
    """The next entry of its journal, and nothing more."""
    payload = payload_bytes(entry)
    work.tables.append_entry(row.seq, row.journal_length, work.now_ms, entry, payload)
    row.journal_length += 1
    row.journal_bytes += payload


def _join(work: Work, seq: int, request: InvokeRequest) -> None:
    row = work.tables.invocation(seq)
    assert row is not None, "an id in the index has a row"
    work.actions.append(Accepted(row.id, True, row.execute_at_ms))
    if row.status is Status.COMPLETED:
        work.actions.append(Completed(row.id, row.result, row.expires_at_ms))
    caller = request.caller
    if caller is None:
        return
    if row.handler_kind is HandlerKind.RUN:
        work.answer(caller, Failure(409, "the workflow method was already invoked"))
    elif row.status is Status.COMPLETED:
        work.answer(caller, row.result)
    else:
        add_caller(work, seq, caller)


def add_caller(work: Work, seq: int, caller: Caller) -> None:
    row = work.tables.edit(seq)
    row.callers = [*(row.callers or ()), caller]


def admit(work: Work, row: Invocation) -> None:
    """Start the invocation, or queue it behind the holder of its key."""
    if row.handler_kind is not HandlerKind.EXCLUSIVE:
        start(work, row)
        return
    service, key = row.target.service, row.target.key or ""
    queue = work.tables.edit_key_queue(service, key)
    if queue.holder is None:
        queue.holder = row.seq
        start(work, row)
        return
    row.status = Status.INBOXED
    row.inboxed_at_ms = row.modified_at_ms = work.now_ms
    row.inbox_position = queue.tail
    work.tables.put_inbox(service, key, queue.tail, row.seq)
    queue.tail += 1


def release_key(work: Work, row: Invocation) -> None:
    """The holder of a key is finished: the next in its inbox starts."""
    service, key = row.target.service, row.target.key or ""
    tables = work.tables
    queue = tables.edit_key_queue(service, key)
    assert queue.holder == row.seq, "only the holder releases a key"
    queue.holder = None
    while queue.head < queue.tail:
        position = queue.head
        queue.head += 1
        if queue.changes and position in queue.changes:
            change = queue.changes[position]
            queue.changes = {other: each for other, each in queue.changes.items() if other != position} or None
            change_state(work, service, key, change)
            continue
        waiting = tables.inbox(service, key, position)
        if waiting is None:  # cancelled or killed while it waited
            continue
        tables.drop_inbox(service, key, position)
        queue.holder = waiting
        start(work, tables.edit(waiting))
        return
    tables.drop_key_queue(service, key)


def change_state(work: Work, service: str, key: str, change: StateChange) -> None:
    """Replace the state as a whole, unless it has another version than the change was made for."""
    tables = work.tables
    if change.version is not None and change.version != state_version(tables.state(service, key)):
        return
    tables.clear_all_state(service, key)
    for name, value in change.new_state.items():
        tables.set_state(service, key, name, value)


def start(work: Work, row: Invocation) -> None:
    """A new attempt, with a new epoch: whatever an earlier attempt still proposes is ignored from here on."""
    row.status = Status.INVOKED
    row.epoch += 1
    row.retry_at_ms = 0
    row.awaiting = None
    row.attempt_at_ms = row.modified_at_ms = work.now_ms
    if not row.started_at_ms:
        row.started_at_ms = work.now_ms
    work.actions.append(StartAttempt(work.partition, row.seq, row.epoch))


def attempt_is_current(row: Invocation | None, epoch: int) -> bool:
    """The fence: may an attempt with this epoch still say something?"""
    return row is not None and row.epoch == epoch and row.status is Status.INVOKED and not row.retry_at_ms


def tell(work: Work, row: Invocation, notification: Notification) -> None:
    """Append a notification to the journal and let the handler go on if it waits for it.

    Only for invocations that have started and are not completed.
    """
    append(work, row, notification)
    if row.status is Status.INVOKED:
        if not row.retry_at_ms:
            work.actions.append(Notify(work.partition, row.seq, row.epoch, work.now_ms, notification))
    elif row.status is Status.SUSPENDED:
        assert row.awaiting is not None, "a suspended invocation says what it waits for"
        row.awaiting = still_awaited(row.awaiting, notification)
        if row.awaiting is None:
            start(work, row)
    elif row.status is Status.PAUSED and type(notification) is Signal and notification.signal_id == CANCEL_SIGNAL:
        row.attempts_failed = row.interruptions = 0
        start(work, row)


def complete_entry(work: Work, seq: int, completion: Completion) -> None:
    """The answer to a command; dropped when the invocation is gone or finished."""
    row = work.tables.invocation(seq)
    if row is None or row.status is Status.COMPLETED:
        return
    tell(work, work.tables.edit(seq), completion)


def finish(work: Work, row: Invocation, result: Result) -> None:
    """The end: the result is stored for its retention, callers are told, the key goes to the next.

    Of one that never started nothing stays: its id and its idempotency key are free again.
    """
    started = row.status in _STARTED
    holds_key = row.handler_kind is HandlerKind.EXCLUSIVE and started
    _drop_timers(work, row)
    if row.status is Status.INBOXED:
        work.tables.drop_inbox(row.target.service, row.target.key or "", row.inbox_position)
    row.status = Status.COMPLETED
    row.result = result
    work.tables.add_bytes(result_bytes(result))
    row.awaiting = None
    row.retry_at_ms = 0
    row.completed_at_ms = row.modified_at_ms = work.now_ms
    callers, row.callers = row.callers, None
    work.actions.append(Completed(row.id, result))
    if started:
        _retain(work, row)
    else:
        work.tables.forget(row.seq)
    for caller in callers or ():
        work.answer(caller, result)
    if holds_key:
        release_key(work, row)


_STARTED = (Status.INVOKED, Status.SUSPENDED, Status.PAUSED)


def _retain(work: Work, row: Invocation) -> None:
    if not row.completion_retention_ms:
        drop(work, row)
        return
    if not row.journal_retention_ms:
        drop_journal(work, row)
    kept_ms = row.completion_retention_ms
    if row.journal_retention_ms:
        kept_ms = min(kept_ms, row.journal_retention_ms)
    row.expires_at_ms = work.now_ms + kept_ms
    meta = work.tables.edit_meta()
    meta.finished += 1
    meta.finished_bytes += kept_bytes(row)


def drop(work: Work, row: Invocation) -> None:
    """Nothing of the invocation stays; a workflow run takes its state and promises along.

    Who still waits for one of the promises is told: nobody could complete it any more for the run that is gone.
    """
    tables = work.tables
    tables.forget(row.seq)
    if row.handler_kind is HandlerKind.RUN:
        service, key = row.target.service, row.target.key or ""
        promises = tables.promises(service, key)
        tables.clear_all_state(service, key)
        tables.drop_promises(service, key)
        for promise in promises.values():
            for caller in promise.waiting or ():
                work.answer(caller, FORGOTTEN)


def drop_journal(work: Work, row: Invocation) -> None:
    """And the events that stand among its entries."""
    work.tables.drop_journal(row.seq)
    work.tables.drop_events(row)
    row.events = None
    row.journal_length = row.commands = row.journal_bytes = 0


def _drop_timers(work: Work, row: Invocation) -> None:
    for wake_at_ms, completion_id in row.timers or ():
        work.tables.drop_timer((wake_at_ms, row.seq, completion_id))
    row.timers = None
    if row.retry_at_ms:
        work.tables.drop_timer((row.retry_at_ms, row.seq, 0))
    if row.status is Status.SCHEDULED:
        work.tables.drop_timer((row.execute_at_ms, row.seq, 0))


def arm(work: Work, timer: Timer) -> None:
    work.tables.put_timer(timer)
    work.actions.append(ArmTimer(work.partition, timer))


def signal(work: Work, invocation_id: bytes, signal_id: int | str, result: Result) -> Control:
    """A signal for an invocation of this partition; dropped when it is unknown, finished or not started.

    Cancellation of one that has not started ends it at once.
    """
    seq = work.tables.find(invocation_id)
    row = None if seq is None else work.tables.invocation(seq)
    if row is None:
        return Control.NOT_FOUND
    if row.status is Status.COMPLETED:
        return Control.COMPLETED
    if row.status in (Status.SCHEDULED, Status.INBOXED):
        if signal_id != CANCEL_SIGNAL:
            return Control.NOT_STARTED
        finish(work, work.tables.edit(row.seq), Failure(409, "canceled"))
        return Control.DONE
    tell(work, work.tables.edit(row.seq), Signal(signal_id, result))
    return Control.APPENDED


def attach(work: Work, invocation_id: bytes, caller: Caller, *, wait: bool) -> None:
    """Tell `caller` the result of an invocation of this partition, now or (with `wait`) when it is there."""
    seq = work.tables.find(invocation_id)
    row = None if seq is None else work.tables.invocation(seq)
    if row is None:
        work.answer(caller, Failure(404, "not found"))
    elif row.status is Status.COMPLETED:
        work.answer(caller, row.result)
    elif wait:
        add_caller(work, row.seq, caller)
    else:
        work.answer(caller, None)


def kill(work: Work, row: Invocation) -> None:
    """End a live invocation without asking its handler, and every invocation it called or sent."""
    kill_called(work, row)
    finish(work, row, Failure(409, "killed"))


def kill_called(work: Work, row: Invocation) -> None:
    """End every invocation that it called or sent; those that have finished ignore it."""
    for entry in work.tables.journal(row.seq).entries:
        if isinstance(entry, Call | OneWayCall) and entry.request is not None:
            callee = entry.request.invocation_id
            work.send(work.home_of(callee), KillMessage(callee))
