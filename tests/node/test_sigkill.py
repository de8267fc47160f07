"""A real process on a real disk, killed by SIGKILL while it works (tests/crash does this at length, over HTTP)."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import victim

PROGRAM = Path(victim.__file__)


def lives(data: Path, trace: Path, deaths: list[int]) -> Iterator[list[str]]:
    """What each life of the program printed; the first ones end by SIGKILL after as many lines as `deaths` says."""
    for lines in itertools.chain(deaths, [None]):
        command = [sys.executable, str(PROGRAM), str(data), str(trace)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line.strip())
                if len(said) == lines:
                    process.send_signal(signal.SIGKILL)
                    break
        assert process.returncode == (0 if lines is None else -signal.SIGKILL)
        yield said


@pytest.mark.slow
def test_killed_in_the_middle_nothing_accepted_is_lost_and_nothing_recorded_runs_again(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    said = list(lives(tmp_path / "data", trace, [3, 9, 21, 30]))
    accepted = {line.split()[1] for each in said for line in each if line.startswith("accepted")}
    results = [line.split()[1:] for line in said[-1] if line.startswith("result")]
    assert {key for key, _ in results} >= accepted
    assert {result for _, result in results} == {str(sum(range(victim.STEPS)))}

    seen: dict[str, list[int]] = {}
    for line in trace.read_text().splitlines():
        key, number = line.split()
        steps = seen.setdefault(key, [])
        # A later step began only after the result of this one was recorded, so only the latest may come twice.
        assert not steps or int(number) in (steps[-1], steps[-1] + 1), f"invocation {key} ran step {number} again"
        steps.append(int(number))
    assert all(sorted(set(steps)) == list(range(victim.STEPS)) for steps in seen.values())
    assert len(seen) == victim.INVOCATIONS
