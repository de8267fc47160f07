"""A real server, killed a hundred times while it works: nothing acknowledged is lost, nothing recorded runs again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from perdure.env.files import SystemFiles
from perdure.log.verify import verify
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
    assert min(report.killed[how] for how in WAYS) > 0, "and every way to be killed"
    assert report.register_calls > 100


class LosesTheEndOfTheLog(Lab):
    """As if the disk had acknowledged what it did not keep: the last quarter of the log is gone after each kill."""

    def ways(self) -> list[Callable[[], str]]:
        return [self._faults.kill]

    def while_down(self, log: Path) -> None:
        super().while_down(log)
        last = verify(SystemFiles(), log).segments[-1]
        lost_from = last.used_bytes * 3 // 4
        with (log / last.name).open("r+b") as file:
            file.seek(lost_from)
            file.write(b"\0" * (last.segment_bytes - lost_from))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_lab_sees_what_a_lying_disk_loses(tmp_path: Path) -> None:
    # Without checkpoints, which would let the node itself refuse a log that ends before them.
    lab = LosesTheEndOfTheLog(tmp_path, seed=1, cycles=2, settings={"checkpoint_interval": "1h"}, patience_s=20)
    report = lab.run()
    lost = [fault for fault in report.faults if "404" in fault]
    again = [fault for fault in report.faults if "ran again" in fault]
    assert lost and again


WAYS = ("after a stop", "after the start", "at random", "in a checkpoint", "in recovery", "while stopped")
KINDS = (
    "awakeables",
    "calls of calls",
    "delayed sends",
    "idempotency keys",
    "objects",
    "registers",
    "sends",
    "steps",
    "timers",
)
