"""Killed in the middle of checkpoints: the store reopens as exactly one of them, none older than the last one reported."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from perdure.env.executor import ThreadExecutor
from perdure.store.store import Store

from . import killed_writer
from .killed_writer import KEPT, seqs

KILLS = 12


@pytest.mark.slow
def test_kill_9_in_the_middle_of_checkpoints(path: str, tmp_path: Path, executor: ThreadExecutor) -> None:
    chance = random.Random(4711)
    at_least = 0
    model = Store.open(str(tmp_path / "model.sqlite"), 1, executor=executor)
    for _ in range(KILLS):
        at_least = killed(path, at_least, chance)
        store = Store.open(path, 1, executor=executor)
        lsn = store.applied_lsn
        assert lsn >= at_least, "what was reported as committed is there"
        check(store, lsn)
        while model.applied_lsn < lsn:
            killed_writer.step(model.tables[0], model.applied_lsn + 1)
            model.freeze(model.applied_lsn + 1)
            model.write_frozen().result()
            model.written()
        assert store.digest(0) == model.digest(0), "all of one checkpoint, nothing of another"
        store.close()
        at_least = lsn
    model.close()
    assert at_least > KILLS


def killed(path: str, at_least: int, chance: random.Random) -> int:
    """Run the writer, kill it after some checkpoints and a little more; returns the last LSN it reported."""
    command = [sys.executable, killed_writer.__file__, path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(chance.randint(1, 12)):
            at_least = int(process.stdout.readline())
        for _ in range(chance.randint(0, 20_000)):  # not in step with its checkpoints
            pass
        process.kill()
        left = process.stdout.read().split()
    return int(left[-1]) if left else at_least


def check(store: Store, lsn: int) -> None:
    tables = store.tables[0]
    assert tables.meta.now_ms == lsn
    assert tables.state("Cart", "k") == {"lsn": str(lsn).encode()}
    alive = [seq for n in range(max(1, lsn - KEPT + 1), lsn + 1) for seq in seqs(n)]
    assert tables.database.seqs() == alive
    lengths = {seq: len(tables.journal(seq).entries) for seq in alive}
    assert lengths == {seq: 1 if seq in seqs(lsn) else 2 for seq in alive}
