"""The simulator itself: a seed is a seed, in every process, and the engine holds on a handful of them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from perdure.testing.sim import simulate


@pytest.mark.parametrize("seed", range(4))
def test_a_seed_holds_and_repeats(seed: int) -> None:
    first, second = simulate(seed), simulate(seed)
    assert first.violation is None
    assert first.digest == second.digest
    assert first.records > 0


def run_sim(*arguments: str, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-m", "perdure.testing.sim", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)


@pytest.mark.slow
def test_a_seed_gives_the_same_trace_under_another_hash_seed() -> None:
    """Two processes whose sets and dicts of strings lie differently in memory."""
    outputs = [run_sim("--seed", "9", hash_seed=hash_seed) for hash_seed in ("1", "77")]
    assert [output.returncode for output in outputs] == [0, 0], outputs[0].stderr
    assert outputs[0].stdout == outputs[1].stdout
    assert outputs[0].stdout.splitlines()[-1].startswith("digest ")
