"""A process takes the partition."""

from __future__ import annotations

from perdure.model.records import Lead
from perdure.partition.work import Work


def lead(work: Work, record: Lead) -> None:
    """The leader epoch grows. Attempts of the leader before are ended one by one, by `Interrupted`."""
    meta = work.tables.edit_meta()
    meta.leader_epoch = max(meta.leader_epoch, record.leader_epoch)
