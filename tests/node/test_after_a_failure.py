"""A record that cannot be applied is the end of the engine: what became durable behind it is not applied either."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest

from perdure.model.records import Invoke, Lead, Record
from perdure.node import performer
from perdure.node.errors import NodeStopped
from perdure.node.phase import Phase
from perdure.partition.actions import Action
from perdure.store.tables import Tables

from . import corpus
from .rig import make_engine, send
from .virtual import in_virtual_time

apply = performer.apply


@in_virtual_time
async def test_nothing_is_applied_behind_a_record_that_could_not_be(tmp_path: Path) -> None:
    """Found by a simulated disk that failed a read: the next batch was applied to tables that lacked a record."""
    engine = make_engine(corpus.SERVICES, tmp_path)
    await engine.start()
    await engine.log.sync()
    applied_lsn = engine.applied_lsn

    def fails(record: Record, tables: Tables, partitions: int) -> list[Action]:
        if type(record) is Invoke:
            raise OSError("the disk fails a read")
        return apply(record, tables, partitions)

    with patch.object(performer, "apply", fails), pytest.raises(NodeStopped):
        await send(engine, "Corpus/steps")
    assert engine.phase is Phase.FAILED
    engine.propose(Lead(0, engine.now_ms(), 7), awaited=True)
    await engine.log.sync()
    assert engine.applied_lsn == applied_lsn
    await engine.stop()
