"""A real server, killed a hundred times while it works: nothing acknowledged is lost, nothing recorded runs again."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.crash.lab import Lab

CYCLES = 100


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hundred_kills(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed = int(os.environ.get("CRASH_SEED", time.time_ns() % 1_000_000))
    with capsys.disabled():
        print(f"\ncrash test: CRASH_SEED={seed}", flush=True)
    report = Lab(tmp_path, seed, CYCLES).run()
    print("\n".join(report.lines()))
    assert report.faults == []
    assert report.cycles == CYCLES
    assert min(report.by_kind[kind] for kind in KINDS) > 0, "every kind of work was part of it"
    assert report.killed_in_recovery > 0


KINDS = (
    "awakeables",
    "calls of calls",
    "delayed sends",
    "idempotency keys",
    "objects",
    "sends",
    "steps",
    "timers",
)
