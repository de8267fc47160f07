"""The events of an invocation: how its attempts ended that brought no result, in order, for people.

What always holds: they are made only by records that end an attempt, so one that never fails has none and pays nothing;
they go with the journal. How many are kept is bounded, in number and size: the oldest go.
"""

from __future__ import annotations

import msgspec

from perdure.model.journal import Awaiting
from perdure.model.limits import EVENT_TEXT_MAX, EVENTS_BYTES_MAX, EVENTS_MAX
from perdure.model.records import AttemptError
from perdure.partition.sizes import event_bytes
from perdure.partition.work import Work
from perdure.store.rows import Event, EventKind, EventRange, Invocation

_NONE = EventRange(0, 0, 0)
_TOO_WIDE = Awaiting([], [])
"""Stands for a tree that is too large to be kept a second time."""


def note_failure(work: Work, row: Invocation, error: AttemptError) -> None:
    """Another attempt follows. The same error as last time is not noted again."""
    error = _shortened(error)
    last = None if row.events is None else work.tables.event(row.seq, row.events.next - 1)
    again = last is not None and last.kind is EventKind.ATTEMPT_FAILED and _equal(last.error, error)
    if not again:
        _append(work, row, Event(EventKind.ATTEMPT_FAILED, work.now_ms, _last_entry(row), error))


def note_pause(work: Work, row: Invocation, error: AttemptError | None) -> None:
    """`error`: why, unless a person asked for it."""
    kept = None if error is None else _shortened(error)
    _append(work, row, Event(EventKind.PAUSED, work.now_ms, _last_entry(row), kept))


def note_suspension(work: Work, row: Invocation, awaiting: Awaiting) -> None:
    """Nothing to note where it is not said as a tree."""
    if awaiting.tree is None:
        return
    event = Event(EventKind.SUSPENDED, work.now_ms, _last_entry(row), awaiting=awaiting)
    if event_bytes(event) > EVENTS_BYTES_MAX:
        event = msgspec.structs.replace(event, awaiting=_TOO_WIDE)
    _append(work, row, event)


def _append(work: Work, row: Invocation, event: Event) -> None:
    tables = work.tables
    kept = row.events or _NONE
    first, size = kept.first, kept.bytes + event_bytes(event)
    while first < kept.next and (kept.next - first >= EVENTS_MAX or size > EVENTS_BYTES_MAX):
        oldest = tables.event(row.seq, first)
        assert oldest is not None, "an event that is kept is there"
        size -= event_bytes(oldest)
        tables.drop_event(row.seq, first)
        first += 1
    tables.put_event(row.seq, kept.next, event)
    tables.add_bytes(event_bytes(event))
    row.events = EventRange(first, kept.next + 1, size)


def _last_entry(row: Invocation) -> int:
    return max(row.journal_length - 1, 0)


def _equal(one: AttemptError | None, other: AttemptError) -> bool:
    """But for the stack trace, and the step's number, which the command's index says too."""
    parts = ("code", "message", "doc_code", "command_index", "command_name", "command_type")
    return all(getattr(one, part) == getattr(other, part) for part in parts)


def _shortened(error: AttemptError) -> AttemptError:
    name = error.command_name or ""
    if max(len(error.message), len(error.stacktrace), len(name)) <= EVENT_TEXT_MAX:
        return error
    return msgspec.structs.replace(
        error, message=_cut(error.message), stacktrace=_cut(error.stacktrace), command_name=_cut(name) or None
    )


def _cut(text: str) -> str:
    return text if len(text) <= EVENT_TEXT_MAX else f"{text[: EVENT_TEXT_MAX - 1]}…"
