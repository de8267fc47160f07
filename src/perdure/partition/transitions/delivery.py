"""Messages between partitions: delivered at least once by the node, applied exactly once here."""

from __future__ import annotations

from perdure.model.records import Deliver, OutboxDelivered
from perdure.partition.actions import Delivered
from perdure.partition.messages import handle
from perdure.partition.work import Work


def deliver(work: Work, record: Deliver) -> None:
    """Handle the message unless its number was seen before; either way the source may forget it.

    A number that leaves a gap is ignored: the ones before it are still on their way and will bring it again.
    """
    meta = work.tables.edit_meta()
    source = record.source_partition
    last = meta.delivered.get(source, 0)
    if record.outbox_seq > last + 1:
        return
    if record.outbox_seq == last + 1:
        meta.delivered = {**meta.delivered, source: record.outbox_seq}
        handle(work, record.message)
    work.actions.append(Delivered(source, work.partition, record.outbox_seq))


def outbox_delivered(work: Work, record: OutboxDelivered) -> None:
    """The target has applied these messages: they leave the outbox."""
    work.tables.drop_outbox(record.target, record.up_to)
