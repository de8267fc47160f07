"""Every theme of the simulator, on a few seeds each, and seeds that once found something."""

from __future__ import annotations

import pytest

from perdure.testing.sim import simulate
from perdure.testing.sim.scenario import ASKED_FOR, THEMES

# What a dead process has to say when it is swept up.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

FOUND = [1050, 1083, 1289]
"""Seeds that failed when they were first run."""


@pytest.mark.slow
@pytest.mark.parametrize("theme", sorted(THEMES | ASKED_FOR))
def test_the_engine_holds(theme: str) -> None:
    for seed in range(12):
        report = simulate(seed, theme=theme)
        assert report.violation is None, f"seed {seed} of theme {theme}"


@pytest.mark.slow
@pytest.mark.parametrize("seed", FOUND)
def test_what_was_found_once_stays_away(seed: int) -> None:
    assert simulate(seed).violation is None
