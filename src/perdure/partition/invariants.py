"""What must always hold of the tables: checked in tests, in simulation and in dev.

`check_record` looks at what one record can have touched and is cheap enough to run after each; `check_partition` looks
at everything that is handed to it, at checkpoints and at the end of a test.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import assert_never

from perdure.model import journal as j
from perdure.model import records as r
from perdure.model.errors import PerdureError
from perdure.model.limits import EVENTS_BYTES_MAX, EVENTS_MAX
from perdure.model.target import HandlerKind
from perdure.partition.sizes import event_bytes, kept_bytes, payload_bytes
from perdure.store.rows import EventKind, Invocation, Status, Timer, TimerKind
from perdure.store.tables import Tables

_PARTITION = "partition"
_STARTED = (Status.INVOKED, Status.SUSPENDED, Status.PAUSED)


class InvariantBroken(PerdureError):
    """A bug of perdure: the tables contradict themselves. The node stops before more is built on it."""

    code = "PD0312"


def check_record(record: r.Record, tables: Tables) -> None:
    """Check the invocations and keys that this record named. Errors: InvariantBroken."""
    for seq in _touched(record, tables):
        check_invocation(tables, seq)


def check_partition(tables: Tables, seqs: Iterable[int], partitions: int = 1) -> None:
    """Check the whole partition; `seqs` are all its invocations (and may name some that are gone).

    Errors: InvariantBroken.
    """
    finished = finished_bytes = 0
    for seq in seqs:
        check_invocation(tables, seq)
        row = tables.invocation(seq)
        if row is not None and row.status is Status.COMPLETED:
            finished += 1
            finished_bytes += kept_bytes(row)
    meta = tables.meta
    agree = (meta.finished, meta.finished_bytes) == (finished, finished_bytes)
    _hold(agree, tables.partition, "finished invocations of other number or size than it counts", _PARTITION)
    _check_timers(tables)
    for target in range(partitions):
        _check_outbox(tables, target)


def _check_timers(tables: Tables) -> None:
    after = (0, 0, 0)
    while timers := tables.timers_after(after, 1000):
        for timer in timers:
            row = tables.invocation(timer.seq)
            _hold(row is not None and row.status is not Status.COMPLETED, timer.seq, "a timer and no life")
            assert row is not None
            _hold(_is_due(row, timer), timer.seq, "a timer it knows nothing of")
        after = timers[-1].key


def _is_due(row: Invocation, timer: Timer) -> bool:
    match timer.kind:
        case TimerKind.SLEEP:
            return (timer.wake_at_ms, timer.completion_id) in (row.timers or ())
        case TimerKind.START:
            return row.status is Status.SCHEDULED and row.execute_at_ms == timer.wake_at_ms
        case TimerKind.RETRY:
            return row.retry_at_ms == timer.wake_at_ms
        case _:
            assert_never(timer.kind)


def _check_outbox(tables: Tables, target: int) -> None:
    following = tables.meta.outbox_next.get(target, 1)
    numbers = [outbox_seq for outbox_seq, _ in tables.outbox(target, 0, 1 << 30)]
    dense = numbers == list(range(following - len(numbers), following))
    _hold(dense, tables.partition, f"an outbox to {target} with a gap", _PARTITION)


def check_invocation(tables: Tables, seq: int) -> None:
    row = tables.invocation(seq)
    if row is None:
        return
    _hold(row.seq == seq, seq, "a row under another number")
    _hold(tables.find(row.id) == seq, seq, "an id that leads elsewhere")
    _check_journal(tables, row)
    _check_events(tables, row)
    _check_status(row)
    _check_key(tables, row)
    for wake_at_ms, completion_id in row.timers or ():
        _hold(tables.timer((wake_at_ms, seq, completion_id)) is not None, seq, "a sleep without its timer")
    if row.retry_at_ms:
        _hold(tables.timer((row.retry_at_ms, seq, 0)) is not None, seq, "a next attempt without its timer")
    if row.status is Status.SCHEDULED:
        _hold(tables.timer((row.execute_at_ms, seq, 0)) is not None, seq, "a start in the future without its timer")


def _check_journal(tables: Tables, row: Invocation) -> None:
    journal = tables.journal(row.seq)
    _hold(len(journal.entries) == len(journal.times) == row.journal_length, row.seq, "a journal of another length")
    payload = sum(map(payload_bytes, journal.entries))
    _hold(payload == row.journal_bytes, row.seq, "a journal of another size")
    commands = sum(1 for entry in journal.entries if not isinstance(entry, j.Completion | j.Signal))
    _hold(commands == row.commands, row.seq, "another number of commands")
    if journal.entries:
        _hold(type(journal.entries[0]) is j.Input, row.seq, "a journal that does not begin with its input")
    completed = [entry.completion_id for entry in journal.entries if type(entry) is j.Completion]
    _hold(len(completed) == len(set(completed)), row.seq, "a command that was answered twice")
    _hold(journal.times == sorted(journal.times), row.seq, "a journal in which time goes back")
    due = {entry.completion_id: entry.wake_at_ms for entry in journal.entries if type(entry) is j.Sleep}
    for at_ms, entry in zip(journal.times, journal.entries, strict=True):
        if type(entry) is j.Completion and entry.code == j.CompletionCode.SLEEP:
            _hold(at_ms >= due[entry.completion_id], row.seq, "a sleep that ended early")


def _check_events(tables: Tables, row: Invocation) -> None:
    if row.events is None:
        return
    _hold(row.journal_length > 0, row.seq, "events without the journal that they stand in")
    events = tables.events(row)
    _hold(0 < len(events) <= EVENTS_MAX and row.events.bytes <= EVENTS_BYTES_MAX, row.seq, "more events than are kept")
    _hold(sum(map(event_bytes, events)) == row.events.bytes, row.seq, "events of another size")
    _hold(events[-1].after < row.journal_length, row.seq, "an event behind the end of its journal")
    places = [(event.after, event.at_ms) for event in events]
    _hold(places == sorted(places), row.seq, "events out of order")
    failed = EventKind.ATTEMPT_FAILED
    for one, next_one in pairwise(events):
        again = one.kind is next_one.kind is failed and one.error == next_one.error
        _hold(not again, row.seq, "the same failure twice in a row")


def _check_status(row: Invocation) -> None:
    seq, status = row.seq, row.status
    _hold((row.awaiting is not None) == (status is Status.SUSPENDED), seq, "an await set that does not fit its status")
    _hold(not row.retry_at_ms or status is Status.INVOKED, seq, "a next attempt that does not fit its status")
    _hold(status in _STARTED or status is Status.COMPLETED or row.epoch == 0, seq, "an attempt before its start")
    _hold(status not in _STARTED or row.epoch > 0, seq, "a start without an attempt")
    _hold(not row.started_at_ms or row.started_at_ms >= row.execute_at_ms, seq, "a start before its time")
    if status is Status.COMPLETED:
        _hold(row.timers is None and row.callers is None, seq, "timers or callers after its end")
        kept_ms = row.completion_retention_ms
        if row.journal_length:
            kept_ms = min(kept_ms, row.journal_retention_ms)
        due = row.expires_at_ms == row.completed_at_ms + kept_ms and row.completed_at_ms > 0
        _hold(due, seq, "another time at which it is forgotten than its retention says")


def _check_key(tables: Tables, row: Invocation) -> None:
    if row.handler_kind is not HandlerKind.EXCLUSIVE:
        return
    service, key = row.target.service, row.target.key or ""
    queue = tables.key_queue(service, key)
    holds = queue is not None and queue.holder == row.seq
    _hold(holds == (row.status in _STARTED), row.seq, f"a lock on {service}/{key} that does not fit its status")
    if queue is not None:
        _hold(queue.holder is not None, row.seq, f"a queue on {service}/{key} that nobody holds up")
        passed = queue.head == 0 or tables.inbox(service, key, queue.head - 1) is None
        _hold(passed, row.seq, f"a place on {service}/{key} behind it that was not cleared")
        for position in queue.changes or ():
            due = queue.head <= position < queue.tail and tables.inbox(service, key, position) is None
            _hold(due, row.seq, f"a change of state on {service}/{key} in a place that is not its own")
    if row.status is Status.INBOXED:
        _hold(queue is not None and queue.head <= row.inbox_position < queue.tail, row.seq, "a place outside its queue")
        _hold(tables.inbox(service, key, row.inbox_position) == row.seq, row.seq, "a place that another one has")


def _touched(record: r.Record, tables: Tables) -> list[int]:
    match record:
        case r.Progress() | r.AttemptFailed() | r.Suspended() | r.Interrupted():
            return [record.seq]
        case r.Forget():
            return record.seqs
        case r.TimersFired():
            return [seq for _, seq, _ in record.timers]
        case r.Invoke():
            found = tables.find(record.request.invocation_id)
        case r.DeliverSignal() | r.Kill() | r.Cancel() | r.Resume() | r.Pause() | r.Purge() | r.PurgeJournal():
            found = tables.find(record.invocation_id)
        case r.Restart():
            found = tables.find(record.new_id)
        case r.Deliver():
            found = _told(record.message, tables)
        case r.Lead() | r.OutboxDelivered() | r.ModifyState() | r.PutDeployment() | r.DropDeployment():
            return []
        case _:
            assert_never(record)
    return [] if found is None else [found]


def _told(message: r.Message, tables: Tables) -> int | None:
    match message:
        case r.CompletionMessage():
            return message.seq
        case r.InvokeMessage():
            return tables.find(message.request.invocation_id)
        case _:
            return tables.find(message.invocation_id)


def _hold(condition: bool, number: int, what: str, subject: str = "invocation") -> None:
    if not condition:
        raise InvariantBroken(
            f"{subject} {number} has {what}.", "Keep the data directory and report it: this is a bug."
        )
