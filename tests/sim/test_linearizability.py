"""The checker of histories, on histories that are known to be good or bad."""

from __future__ import annotations

import itertools
import random

import pytest

from perdure.testing.sim.linearizability import Call, History, is_linearizable


def add(began: int, ended: int | None, amount: int, found: int | None = None) -> Call:
    return Call(began, amount, ended, found)


def read(began: int, ended: int | None, found: int | None = None) -> Call:
    return Call(began, None, ended, found)


GOOD = {
    "nothing happened": [],
    "one after the other": [add(1, 2, 5, 5), read(3, 4, 5), add(5, 6, 2, 7)],
    "two at once, in either order": [add(1, 4, 5, 7), add(2, 3, 2, 2)],
    "a read beside an addition sees the old value": [add(1, 4, 5, 5), read(2, 3, 0)],
    "or the new one": [add(1, 4, 5, 5), read(2, 3, 5)],
    "one that never returned took effect much later": [add(1, None, 5), read(2, 3, 0), read(4, 5, 5)],
    "or never": [add(1, None, 5), read(2, 3, 0), add(4, 5, 1, 1)],
}
BAD = {
    "a lost update": [add(1, 4, 5, 5), add(2, 3, 2, 2)],
    "a stale read": [add(1, 2, 5, 5), read(3, 4, 0)],
    "a read from the future": [read(1, 2, 5), add(3, 4, 5, 5)],
    "twice": [add(1, 2, 5, 5), read(3, 4, 10)],
    "two reads that saw time go back": [add(1, 6, 5, 5), read(2, 3, 5), read(4, 5, 0)],
    "one that never returned, seen and gone": [add(1, None, 5), read(2, 3, 5), read(4, 5, 0)],
    "a value out of nowhere": [read(1, 2, 3)],
}


@pytest.mark.parametrize("name", GOOD)
def test_good_histories(name: str) -> None:
    assert is_linearizable(GOOD[name])


@pytest.mark.parametrize("name", BAD)
def test_bad_histories(name: str) -> None:
    assert not is_linearizable(BAD[name])


def by_trying_all_orders(calls: list[Call]) -> bool:
    """The definition itself, for calls that have all returned."""
    for order in itertools.permutations(calls):
        before = all(one.began < (other.ended or 0) for one, other in itertools.combinations(order, 2))
        value, right = 0, True
        for call in order:
            value += call.amount or 0
            right = right and call.found == value
        if before and right:
            return True
    return not calls


def test_it_agrees_with_the_definition_on_random_histories() -> None:
    rng = random.Random(5)
    seen = {True: 0, False: 0}
    for _ in range(600):
        moments = rng.sample(range(1, 20), 8)
        calls = []
        value = 0
        for began, ended in (sorted(moments[at : at + 2]) for at in range(0, 8, 2)):
            amount = rng.choice((None, 1, 2))
            value += amount or 0
            calls.append(Call(began, amount, ended, rng.choice((value, value, rng.randrange(4)))))
        answer = is_linearizable(calls)
        assert answer == by_trying_all_orders(calls), calls
        seen[answer] += 1
    assert min(seen.values()) > 50


def test_a_history_takes_a_replayed_call_for_the_same() -> None:
    history = History()
    history.begin("k", "a", 5)
    history.begin("k", "a", 5)
    history.end("k", "a", 5)
    history.end("k", "a", 9)
    assert history.not_linearizable() == []
    history.begin("k", "b", None)
    history.end("k", "b", 0)
    history.begin("other", "c", None)
    history.end("other", "c", 0)
    assert history.not_linearizable() == ["k"]
