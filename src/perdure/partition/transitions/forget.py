"""Retention: finished invocations go when their time is over."""

from __future__ import annotations

from perdure.model.records import Forget
from perdure.partition.lifecycle import drop, drop_journal
from perdure.partition.sizes import kept_bytes
from perdure.partition.work import Work
from perdure.store.rows import Invocation, Status


def forget(work: Work, record: Forget) -> None:
    """Drop the journal when only its own retention is over, the whole invocation when that of its result is."""
    for seq in record.seqs:
        row = work.tables.invocation(seq)
        if row is None or row.status is not Status.COMPLETED:
            continue
        result_expires_at_ms = row.completed_at_ms + row.completion_retention_ms
        if row.expires_at_ms < result_expires_at_ms and work.now_ms < result_expires_at_ms and row.journal_length:
            forget_journal(work, row)
        else:
            forget_now(work, row)


def forget_journal(work: Work, row: Invocation) -> None:
    """Drop the journal of a finished invocation; it stays until the retention of its result is over."""
    row = work.tables.edit(row.seq)
    meta = work.tables.edit_meta()
    meta.finished_bytes -= kept_bytes(row)
    drop_journal(work, row)
    meta.finished_bytes += kept_bytes(row)
    row.expires_at_ms = row.completed_at_ms + row.completion_retention_ms


def forget_now(work: Work, row: Invocation) -> None:
    """Drop a finished invocation that was kept so far."""
    meta = work.tables.edit_meta()
    meta.finished -= 1
    meta.finished_bytes -= kept_bytes(row)
    drop(work, row)
