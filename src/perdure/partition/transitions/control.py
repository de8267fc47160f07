"""What an operator asks of one invocation: cancel, kill, pause, resume, purge, purge its journal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from perdure.model.ids import CANCEL_SIGNAL
from perdure.model.journal import Failure, Signal
from perdure.model.records import Cancel, Kill, Pause, Purge, PurgeJournal, Resume
from perdure.partition import lifecycle
from perdure.partition.actions import AbortAttempt, Control, Controlled
from perdure.partition.events import note_pause
from perdure.partition.transitions.forget import forget_journal, forget_now
from perdure.partition.work import Work
from perdure.store.rows import Invocation, Status

_Move: TypeAlias = Callable[[Work, Invocation], Control]


def cancel(work: Work, record: Cancel) -> None:
    """End an invocation that has not started with failure 409; a started one gets signal 1 in its journal.

    The signal starts a suspended or paused one, whatever it waits for; between two attempts it is read by the next.
    """
    _live(work, record, _cancel)


def kill(work: Work, record: Kill) -> None:
    """Complete it with failure 409, release its key, tell its callers; those it called or sent are killed as well."""
    _live(work, record, _kill)


def pause(work: Work, record: Pause) -> None:
    """A started invocation waits for `Resume` or a cancellation; it keeps its key, and what arrives is kept for it."""
    _live(work, record, _pause)


def resume(work: Work, record: Resume) -> None:
    """A new attempt now, with failures counted anew; unchanged when an attempt is under way.

    With `deployment` it is pinned there from now on. Refused when it is pinned to none, or an attempt is under way.
    """
    _live(work, record, lambda work, row: _resume(work, row, record.deployment))


def purge(work: Work, record: Purge) -> None:
    """It is forgotten now; a workflow run takes its state and promises along."""
    _finished(work, record, forget_now)


def purge_journal(work: Work, record: PurgeJournal) -> None:
    """Its journal is dropped now; the result stays for its retention."""
    _finished(work, record, forget_journal)


def _finished(work: Work, record: Any, move: Callable[[Work, Invocation], None]) -> None:
    row = _find(work, record)
    if row is None:
        outcome = Control.NOT_FOUND
    elif row.status is not Status.COMPLETED:
        outcome = Control.NOT_COMPLETED
    else:
        move(work, row)
        outcome = Control.DONE
    work.actions.append(Controlled(outcome))


def _find(work: Work, record: Any) -> Invocation | None:
    seq = work.tables.find(record.invocation_id)
    return None if seq is None else work.tables.invocation(seq)


def _live(work: Work, record: Any, move: _Move) -> None:
    row = _find(work, record)
    if row is None:
        outcome = Control.NOT_FOUND
    elif row.status is Status.COMPLETED:
        outcome = Control.COMPLETED
    else:
        outcome = move(work, work.tables.edit(row.seq))
    work.actions.append(Controlled(outcome))


def _cancel(work: Work, row: Invocation) -> Control:
    if row.status in (Status.SCHEDULED, Status.INBOXED):
        lifecycle.finish(work, row, Failure(409, "canceled"))
        return Control.DONE
    lifecycle.tell(work, row, Signal(CANCEL_SIGNAL))
    return Control.APPENDED


def _kill(work: Work, row: Invocation) -> Control:
    work.actions.append(AbortAttempt(work.partition, row.seq))
    lifecycle.kill(work, row)
    return Control.DONE


def _pause(work: Work, row: Invocation) -> Control:
    if row.status in (Status.SCHEDULED, Status.INBOXED):
        return Control.NOT_STARTED
    if row.status is Status.PAUSED or (row.status is Status.SUSPENDED and row.protocol_version is not None):
        # Deployments are promised no more than by Restate: what one waits for still wakes it.
        return Control.UNCHANGED
    note_pause(work, row, row.last_error if row.retry_at_ms else None)
    if row.retry_at_ms:
        work.tables.drop_timer((row.retry_at_ms, row.seq, 0))
        row.retry_at_ms = 0
    row.status = Status.PAUSED
    row.awaiting = None
    row.modified_at_ms = work.now_ms
    work.actions.append(AbortAttempt(work.partition, row.seq))
    return Control.DONE


def _resume(work: Work, row: Invocation, deployment: str | None) -> Control:
    if row.status in (Status.SCHEDULED, Status.INBOXED):
        return Control.NOT_STARTED
    under_way = row.status is Status.INVOKED and not row.retry_at_ms
    if deployment is not None:
        if under_way or row.protocol_version is None:
            return Control.NOT_MOVABLE
        row.deployment = deployment
    if under_way:
        return Control.UNCHANGED
    if row.retry_at_ms:
        work.tables.drop_timer((row.retry_at_ms, row.seq, 0))
    row.attempts_failed = row.interruptions = 0
    lifecycle.start(work, row)
    return Control.DONE
