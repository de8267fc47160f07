"""A disk that is filled to the last byte while a server works on it, and emptied again: refusals, and nothing lost."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.crash.faults import NoSmallDisk, small_disk
from tests.crash.lab import SMALL_DISK_MB, SMALL_DISK_SETTINGS, Lab

CYCLES = 5


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_disk_filled_again_and_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed = int(os.environ.get("CRASH_SEED", time.time_ns() % 1_000_000))
    with capsys.disabled():
        print(f"\nfull disk: CRASH_SEED={seed}", flush=True)
    try:
        with small_disk(tmp_path / "small", SMALL_DISK_MB) as disk:
            report = Lab(tmp_path / "lab", seed, CYCLES, SMALL_DISK_SETTINGS, disk=disk).run()
    except NoSmallDisk as why:
        pytest.skip(f"no small disk can be mounted here: {why}")
    print("\n".join(report.lines()))
    assert report.faults == []
    assert sum(report.killed.values()) == CYCLES
    assert "no space for" in (tmp_path / "lab" / "server.output").read_text(), "it was full indeed"
