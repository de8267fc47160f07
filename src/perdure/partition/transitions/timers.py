"""Timers that are due: sleeps end, delayed invocations start, failed ones are tried again."""

from __future__ import annotations

from typing import assert_never

from perdure.model.journal import Completion, CompletionCode
from perdure.model.records import TimersFired
from perdure.partition.lifecycle import admit, start, tell
from perdure.partition.work import Work
from perdure.store.rows import Status, Timer, TimerKind


def timers_fired(work: Work, record: TimersFired) -> None:
    """Each timer fires once; one that is gone meanwhile (its invocation ended) is ignored."""
    for key in record.timers:
        timer = work.tables.timer(key)
        if timer is not None:
            work.tables.drop_timer(key)
            _fire(work, timer)


def _fire(work: Work, timer: Timer) -> None:
    row = work.tables.edit(timer.seq)
    match timer.kind:
        case TimerKind.SLEEP:
            gone = (timer.wake_at_ms, timer.completion_id)
            row.timers = [other for other in row.timers or () if other != gone] or None
            tell(work, row, Completion(timer.completion_id, CompletionCode.SLEEP))
        case TimerKind.START:
            admit(work, row)
        case TimerKind.RETRY:
            if row.status is Status.INVOKED and row.retry_at_ms == timer.wake_at_ms:
                start(work, row)
        case _:
            assert_never(timer.kind)
