"""A journal as people read it: what the handler did, when, how long each thing took, and how it ended.

Made from the tables alone, changed by nothing. An answer stands with the command that asked for it; what came from outside
stands where it arrived. Failed attempts and pauses stand behind the entry that was the last then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from perdure.model import journal as j
from perdure.model.ids import CANCEL_SIGNAL, FIRST_USER_SIGNAL, format_awakeable_id, format_invocation_id
from perdure.store.rows import Event, EventKind, Invocation, JournalChunk, Status

State = Literal["done", "failed", "open"]


class Error(msgspec.Struct, frozen=True):
    code: int
    message: str


class Moment(msgspec.Struct, omit_defaults=True):
    """One line of the timeline. Units: Unix time in ms; `took_ms` until the answer came (or until now, while `open`)."""

    index: int | None
    """Where the entry stands in the journal: what a restart can go on from. None: it is an event, and no entry."""
    what: str
    """`run`, `sleep`, `call`, …; `attempt`, `pause`."""
    at_ms: int
    state: State
    subject: str = ""
    """Whom or what it is about: the name of a step, the target of a call, the key of a state."""
    took_ms: int | None = None
    until_ms: int | None = None
    """When a sleep ends, or a delayed send begins."""
    invocation_id: str | None = None
    """The invocation that was called, sent, signalled or attached to."""
    failed_tries: int = 0
    """Of a step that is still open."""
    error: Error | None = None
    """How it failed; of an open step: the last try."""
    completion_id: int | None = None


def timeline(row: Invocation, journal: JournalChunk, events: list[Event], now_ms: int) -> list[Moment]:
    """All moments, in journal order; `events` are all that are kept, in order."""
    moments: list[Moment] = []
    open_moments: dict[int, Moment] = {}
    for index, (entry, at_ms) in enumerate(zip(journal.entries, journal.times, strict=True)):
        match entry:
            case j.Completion():
                moment = open_moments.get(entry.completion_id)
                if moment is not None:
                    _answer(moment, entry, at_ms)
            case j.Signal():
                moments.append(_signal(row, index, entry, at_ms))
            case _:
                moment = _command(index, entry, at_ms)
                moments.append(moment)
                for name in ("completion_id", "invocation_id_completion_id"):
                    if (asked := getattr(entry, name, None)) is not None:
                        open_moments[asked] = moment
    for moment in moments:
        if moment.state == "open":
            _leave_open(moment, row, now_ms)
    return _with_events(moments, events)


def _with_events(moments: list[Moment], events: list[Event]) -> list[Moment]:
    placed = [(moment.index or 0, moment) for moment in moments]
    placed += [(event.after, _event(event)) for event in events if event.kind is not EventKind.SUSPENDED]
    return [moment for _, moment in sorted(placed, key=lambda each: each[0])]


def _event(event: Event) -> Moment:
    error = None if event.error is None else Error(event.error.code, event.error.message)
    what = "pause" if event.kind is EventKind.PAUSED else "attempt"
    subject = "" if event.error is None else event.error.command_name or ""
    return Moment(None, what, event.at_ms, "done" if error is None else "failed", subject, error=error)


def subject_of(entry: j.Entry) -> tuple[str, str]:
    """What a command is, and whom or what it is about."""
    word, subject = _WORDS.get(type(entry), (type(entry).__name__.lower(), lambda _: ""))
    return word, subject(entry)


def _command(index: int, entry: j.Entry, at_ms: int) -> Moment:
    word, subject = subject_of(entry)
    moment = Moment(index, word, at_ms, "done", subject)
    match entry:
        case j.Output() if isinstance(entry.result, j.Failure):
            moment.state, moment.error = "failed", Error(entry.result.code, entry.result.message)
        case j.Sleep():
            moment.until_ms = entry.wake_at_ms
        case j.OneWayCall():
            moment.until_ms = entry.invoke_at_ms or None
            moment.invocation_id = None if entry.request is None else format_invocation_id(entry.request.invocation_id)
        case j.Call():
            moment.invocation_id = None if entry.request is None else format_invocation_id(entry.request.invocation_id)
        case j.SendSignal() | j.AttachInvocation() | j.GetInvocationOutput():
            moment.invocation_id = format_invocation_id(entry.invocation_id)
    completion_id = getattr(entry, "completion_id", None)
    if completion_id is not None:
        moment.state, moment.completion_id = "open", completion_id
    return moment


def _answer(moment: Moment, entry: j.Completion, at_ms: int) -> None:
    if entry.code == j.CompletionCode.CALL_INVOCATION_ID:
        if isinstance(entry.result, bytes):
            moment.invocation_id = format_invocation_id(entry.result)
        return
    moment.state = "done"
    moment.took_ms = at_ms - moment.at_ms
    if isinstance(entry.result, j.Failure):
        moment.state, moment.error = "failed", Error(entry.result.code, entry.result.message)


def _signal(row: Invocation, index: int, entry: j.Signal, at_ms: int) -> Moment:
    error = Error(entry.result.code, entry.result.message) if isinstance(entry.result, j.Failure) else None
    if entry.signal_id == CANCEL_SIGNAL:
        return Moment(index, "cancellation", at_ms, "done")
    what, subject = signal_words(row.id, entry.signal_id)
    return Moment(index, what, at_ms, "done" if error is None else "failed", subject, error=error)


def signal_words(invocation_id: bytes, signal_id: int | str) -> tuple[str, str]:
    """What a signal is to people, and its name."""
    if isinstance(signal_id, int) and signal_id >= FIRST_USER_SIGNAL:
        return "awakeable", format_awakeable_id(invocation_id, signal_id)
    return "signal", str(signal_id)


def _leave_open(moment: Moment, row: Invocation, now_ms: int) -> None:
    ended_ms = row.completed_at_ms if row.status is Status.COMPLETED else now_ms
    moment.took_ms = max(0, ended_ms - moment.at_ms)
    failures = (row.step_failures or {}).get(moment.completion_id or 0)
    if failures is not None:
        moment.failed_tries = failures.count
        if row.last_error is not None and row.last_error.step == moment.completion_id:
            moment.error = Error(row.last_error.code, row.last_error.message)


def _signalled(entry: j.SendSignal) -> str:
    return "cancel" if entry.signal_id == CANCEL_SIGNAL else str(entry.signal_id)


_WORDS: Mapping[type, tuple[str, Callable[[Any], str]]] = MappingProxyType(
    {
        j.Input: ("input", lambda e: ""),
        j.Output: ("output", lambda e: ""),
        j.GetLazyState: ("get state", lambda e: e.key),
        j.GetEagerState: ("get state", lambda e: e.key),
        j.GetLazyStateKeys: ("state keys", lambda e: ""),
        j.GetEagerStateKeys: ("state keys", lambda e: ""),
        j.SetState: ("set state", lambda e: e.key),
        j.ClearState: ("clear state", lambda e: e.key),
        j.ClearAllState: ("clear all state", lambda e: ""),
        j.GetPromise: ("promise", lambda e: e.key),
        j.PeekPromise: ("peek promise", lambda e: e.key),
        j.CompletePromise: ("complete promise", lambda e: e.key),
        j.Sleep: ("sleep", lambda e: e.name),
        j.Call: ("call", lambda e: str(e.target)),
        j.OneWayCall: ("send", lambda e: str(e.target)),
        j.SendSignal: ("send signal", _signalled),
        j.Run: ("run", lambda e: e.name),
        j.AttachInvocation: ("attach", lambda e: ""),
        j.GetInvocationOutput: ("get output", lambda e: ""),
        j.CompleteAwakeable: ("complete awakeable", lambda e: e.awakeable_id),
    }
)
