"""Every theme of the simulator, on a few seeds each."""

from __future__ import annotations

import pytest

from perdure.testing.sim import simulate
from perdure.testing.sim.scenario import ASKED_FOR, THEMES

# What a dead process has to say when it is swept up.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.slow
@pytest.mark.parametrize("theme", sorted(THEMES | ASKED_FOR))
def test_the_engine_holds(theme: str) -> None:
    for seed in range(10):
        report = simulate(seed, theme=theme)
        assert report.violation is None, f"seed {seed} of theme {theme}"
