"""Restart as new: a finished invocation is run again under a new id, from its input or from a prefix of its journal."""

from __future__ import annotations

from perdure.model import journal as j
from perdure.model.records import Restart
from perdure.model.target import HandlerKind
from perdure.partition.actions import Accepted, Control, Controlled
from perdure.partition.lifecycle import admit
from perdure.partition.sizes import payload_bytes
from perdure.partition.work import Work
from perdure.store.rows import Invocation, JournalChunk, Status


def restart(work: Work, record: Restart) -> None:
    """Make the new invocation and start it, or queue it on its key; the finished one stays as it is.

    It has no idempotency key and no callers. Entry 0 is the input; a longer prefix brings the answers that its commands
    got later, the seed and the times, so that the handler replays it as it ran. Refused when the journal is gone, when it
    ends before `from_index`, when that is the output, and when a copied command was never answered.
    """
    work.actions.append(Controlled(_restart(work, record)))


def _restart(work: Work, record: Restart) -> Control:
    seq = work.tables.find(record.invocation_id)
    old = None if seq is None else work.tables.invocation(seq)
    if old is None:
        return Control.NOT_FOUND
    if old.status in (Status.SCHEDULED, Status.INBOXED):
        return Control.NOT_STARTED
    if old.status is not Status.COMPLETED:
        return Control.NOT_COMPLETED
    if old.handler_kind is HandlerKind.RUN:
        return Control.UNSUPPORTED
    if not old.journal_length:
        return Control.INPUT_GONE
    if not 0 <= record.from_index < old.journal_length:
        return Control.OUT_OF_RANGE
    prefix = _prefix(work.tables.journal(old.seq), record.from_index)
    if isinstance(prefix, Control):
        return prefix
    _create(work, record, old, prefix)
    return Control.DONE


def _prefix(journal: JournalChunk, from_index: int) -> JournalChunk | Control:
    """The entries to copy, in order: 0 to `from_index`, then the later answers to the commands among them."""
    copied = JournalChunk(0, journal.times[: from_index + 1], journal.entries[: from_index + 1])
    if any(type(entry) is j.Output for entry in copied.entries):
        return Control.OUT_OF_RANGE
    unanswered = {completion_id for entry in copied.entries for completion_id in answers_to(entry)}
    unanswered -= {entry.completion_id for entry in copied.entries if type(entry) is j.Completion}
    for index in range(from_index + 1, len(journal.entries)):
        entry = journal.entries[index]
        if type(entry) is j.Completion and entry.completion_id in unanswered:
            unanswered.discard(entry.completion_id)
            copied.times.append(journal.times[index])
            copied.entries.append(entry)
    return Control.UNANSWERED if unanswered else copied


def answers_to(entry: j.Entry) -> list[int]:
    """The completions that this command gets, by their ids."""
    if isinstance(entry, j.Completion | j.Signal):
        return []
    ids = (getattr(entry, "completion_id", None), getattr(entry, "invocation_id_completion_id", None))
    return [completion_id for completion_id in ids if completion_id is not None]


def _create(work: Work, record: Restart, old: Invocation, prefix: JournalChunk) -> None:
    tables = work.tables
    meta = tables.edit_meta()
    seq = meta.next_seq
    meta.next_seq = seq + 1
    from_start = record.from_index == 0
    row = Invocation(
        seq,
        record.new_id,
        old.target,
        old.handler_kind,
        Status.INVOKED,
        record.seed if from_start else old.seed,
        work.now_ms,
        record.completion_retention_ms,
        record.journal_retention_ms,
        modified_at_ms=work.now_ms,
        # The clock of a copied prefix goes on from where it began: what was measured then is measured again.
        started_at_ms=0 if from_start else old.started_at_ms,
        last_gain_at_ms=work.now_ms,
        origin=j.Origin("restart_as_new", old.id, old.target),
        deployment=record.deployment,
        protocol_version=record.protocol_version,
        traceparent=old.traceparent,
        tracestate=old.tracestate,
        scope=old.scope,
        limit_key=old.limit_key,
        priority=old.priority,
        tags=old.tags,
        memo=old.memo,
    )
    tables.add(row)
    for entry, at_ms in zip(prefix.entries, prefix.times, strict=True):
        payload = payload_bytes(entry)
        tables.append_entry(seq, row.journal_length, work.now_ms if from_start else at_ms, entry, payload)
        row.journal_length += 1
        row.commands += not isinstance(entry, j.Completion | j.Signal)
        row.journal_bytes += payload
    work.actions.append(Accepted(row.id, False, 0))
    admit(work, row)
