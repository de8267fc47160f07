"""How an attempt ends without a result: it failed, left memory, or its process died."""

from __future__ import annotations

from perdure.model.journal import Failure
from perdure.model.records import AttemptError, AttemptFailed, Interrupted, Suspended
from perdure.partition.events import note_failure, note_pause, note_suspension
from perdure.partition.lifecycle import arm, attempt_is_current, finish, kill_called, start
from perdure.partition.work import Work
from perdure.store.rows import Invocation, Status, StepFailures, Timer, TimerKind


def attempt_failed(work: Work, record: AttemptFailed) -> None:
    """Arm the next attempt, or, with no more of them, pause (default) or end it with the error, and those it called or sent.

    The error stands among the events of the invocation, unless it ends it.
    """
    if not attempt_is_current(work.tables.invocation(record.seq), record.epoch):
        return
    row = work.tables.edit(record.seq)
    error = record.error
    row.failures += 1
    row.attempts_failed += record.counted
    row.last_error = error
    for step in dict.fromkeys((error.step, *(record.steps or ()))):
        if step is not None:
            _count_step_failure(work, row, step)
    if record.retry_at_ms is not None:
        note_failure(work, row, error)
        _retry_at(work, row, record.retry_at_ms)
    elif record.exhausted == "kill":
        kill_called(work, row)
        finish(work, row, Failure(error.code, error.message))
    else:
        _pause(work, row, error)


def suspended(work: Work, record: Suspended) -> None:
    """The invocation waits outside memory, or goes on at once when something came that the attempt was not told."""
    if not attempt_is_current(work.tables.invocation(record.seq), record.epoch):
        return
    row = work.tables.edit(record.seq)
    row.attempts_failed = 0
    if row.notifications > record.notifications:
        start(work, row)
        return
    row.status = Status.SUSPENDED
    row.awaiting = record.awaiting
    note_suspension(work, row, record.awaiting)
    row.modified_at_ms = work.now_ms


def interrupted(work: Work, record: Interrupted) -> None:
    """The process died under the attempt. Counted until an entry is gained, so that a handler that kills its process
    is paused in the end, and a busy engine that is killed often pauses nobody."""
    if not attempt_is_current(work.tables.invocation(record.seq), record.epoch):
        return
    row = work.tables.edit(record.seq)
    row.interruptions += 1
    if record.retry_at_ms is None:
        row.last_error = error = AttemptError(
            500,
            f"the process died {row.interruptions} times in a row while this invocation ran, without any progress",
            doc_code="PD0310",
        )
        _pause(work, row, error)
    elif record.retry_at_ms == 0:
        start(work, row)
    else:
        _retry_at(work, row, record.retry_at_ms)


def _count_step_failure(work: Work, row: Invocation, step: int) -> None:
    known = dict(row.step_failures or {})
    before = known.get(step)
    known[step] = StepFailures(1, work.now_ms) if before is None else StepFailures(before.count + 1, before.first_at_ms)
    row.step_failures = known


def _retry_at(work: Work, row: Invocation, retry_at_ms: int) -> None:
    row.retry_at_ms = max(1, retry_at_ms)  # 0 in the row means that an attempt is under way
    row.modified_at_ms = work.now_ms
    arm(work, Timer(row.retry_at_ms, row.seq, 0, TimerKind.RETRY))


def _pause(work: Work, row: Invocation, error: AttemptError) -> None:
    note_pause(work, row, error)
    row.status = Status.PAUSED
    row.modified_at_ms = work.now_ms
