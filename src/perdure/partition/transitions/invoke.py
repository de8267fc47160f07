"""A request from outside for a new invocation."""

from __future__ import annotations

from perdure.model.records import Invoke
from perdure.partition.lifecycle import create
from perdure.partition.work import Work


def invoke(work: Work, record: Invoke) -> None:
    """Create the invocation and start it, queue it on its key, or schedule it; a known derived id is joined instead."""
    create(work, record.request)
