"""The simulator bites: with a guard of the engine switched off, it finds what is lost, within a bounded number of seeds.

The same seeds hold when nothing is switched off. Both lists of seeds are run to the first that tells.
"""

from __future__ import annotations

import gc

import pytest

from perdure.testing.sim import Report, simulate

from . import mutations_author, mutations_disk, mutations_invoker, mutations_remote  # noqa: F401  they add theirs
from .mutations import MUTATIONS

SEEDS = 150
"""Within which each mutation must be found."""


def first_failure(theme: str | None, seeds: range) -> Report | None:
    for seed in seeds:
        report = simulate(seed, theme=theme)
        if report.violation is not None:
            return report
        if seed % 10 == 9:
            gc.collect()
    return None


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_guard_that_is_off_is_noticed(name: str) -> None:
    mutation, theme = MUTATIONS[name]
    with mutation():
        found = first_failure(theme, range(SEEDS))
    assert found is not None, f"{name} was not noticed in {SEEDS} seeds of theme {theme}"
    assert simulate(found.seed, theme=theme).violation is None, "the seed fails with the guard on, too"


def test_there_are_enough_of_them() -> None:
    assert len(MUTATIONS) >= 20
    assert {"no_fsync", "no_epoch_fence", "no_key_lock", "no_replay_comparison", "cleaner_without_record"} <= set(
        MUTATIONS
    )
