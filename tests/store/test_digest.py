"""The digest: the same for the same content wherever it lies, another for every single difference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from perdure.env.executor import ThreadExecutor
from perdure.model.journal import Completion, Run
from perdure.model.records import CompletionMessage
from perdure.store.rows import Event, EventKind, Promise, Status, Timer, TimerKind
from perdure.store.store import Store
from perdure.store.tables import Tables

from .rows import NOW_MS, add, checkpoint, raw_id

CHANGES: list[Callable[[Tables], object]] = [
    lambda t: add(t, 1, entries=2),
    lambda t: t.append_entry(1, 2, NOW_MS + 2, Run(2, "charge")),
    lambda t: setattr(t.edit(1), "status", Status.PAUSED),
    lambda t: add(t, 2, entries=3),
    lambda t: t.forget(2),
    lambda t: t.put_event(1, 0, Event(EventKind.PAUSED, NOW_MS, 0)),
    lambda t: t.put_event(1, 1, Event(EventKind.PAUSED, NOW_MS, 1)),
    lambda t: t.drop_event(1, 0),
    lambda t: t.set_state("Cart", "k", "total", b"1"),
    lambda t: t.set_state("Cart", "k", "gone", b"1"),
    lambda t: t.clear_state("Cart", "k", "gone"),
    lambda t: setattr(t.edit_key_queue("Cart", "k"), "tail", 2),
    lambda t: t.put_inbox("Cart", "k", 0, 1),
    lambda t: t.put_inbox("Cart", "k", 1, 1),
    lambda t: t.drop_inbox("Cart", "k", 0),
    lambda t: t.put_timer(Timer(NOW_MS, 1, 1, TimerKind.SLEEP)),
    lambda t: t.put_timer(Timer(NOW_MS, 1, 2, TimerKind.SLEEP)),
    lambda t: t.drop_timer((NOW_MS, 1, 1)),
    lambda t: t.put_outbox(1, 1, CompletionMessage(1, Completion(1, 1))),
    lambda t: t.put_outbox(1, 2, CompletionMessage(1, Completion(2, 1))),
    lambda t: t.drop_outbox(1, 1),
    lambda t: t.put_promise("Cart", "k", "paid", Promise()),
    lambda t: setattr(t.edit_meta(), "leader_epoch", 3),
]


@pytest.fixture
def fresh(tmp_path: Path, executor: ThreadExecutor) -> Iterator[Callable[[], Store]]:
    opened: list[Store] = []

    def make() -> Store:
        opened.append(Store.open(str(tmp_path / f"{len(opened)}.sqlite"), 1, executor=executor))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


@pytest.mark.parametrize("every", [1, 2, 3, 7])
def test_checkpoints_at_any_place_make_no_difference(every: int, fresh: Callable[[], Store]) -> None:
    one, other = fresh(), fresh()
    for number, change in enumerate(CHANGES, start=1):
        change(one.tables[0])
        change(other.tables[0])
        if number % every == 0:
            checkpoint(other, number)
        assert one.digest(0) == other.digest(0), f"after change {number}"


def test_every_single_change_makes_a_difference(fresh: Callable[[], Store]) -> None:
    store = fresh()
    seen = {store.digest(0)}
    for number, change in enumerate(CHANGES, start=1):
        before = store.digest(0)
        change(store.tables[0])
        after = store.digest(0)
        assert after != before, f"change {number}"
        seen.add(after)
    # Adding and forgetting, setting and clearing lead back to where they started; every other state is new.
    assert len(seen) == len(CHANGES) + 1 - 2


VARIANTS: list[Callable[[Tables], object]] = [
    lambda t: setattr(t.edit(1), "epoch", 9),
    lambda t: t.append_entry(1, 3, NOW_MS + 3, Run(2, "charge")),
    lambda t: t.append_entry(1, 3, NOW_MS + 4, Run(2, "charge")),
    lambda t: t.append_entry(1, 3, NOW_MS + 3, Run(2, "refund")),
    lambda t: t.drop_journal(1),
    lambda t: t.drop_event(1, 1),
    lambda t: t.put_event(1, 2, Event(EventKind.PAUSED, NOW_MS, 1)),
    lambda t: t.put_event(1, 1, Event(EventKind.PAUSED, NOW_MS + 1, 1)),
    lambda t: t.forget(1),
    lambda t: add(t, 3, entries=0),
    lambda t: add(t, 3, entries=0, id=77),
    lambda t: t.set_state("Cart", "k", "total", b"2"),
    lambda t: t.set_state("Cart", "k2", "total", b"1"),
    lambda t: t.set_state("Cart2", "k", "total", b"1"),
    lambda t: t.clear_all_state("Cart", "k"),
    lambda t: setattr(t.edit_key_queue("Cart", "k"), "holder", 1),
    lambda t: t.put_inbox("Cart", "k", 1, 2),
    lambda t: t.put_inbox("Cart", "nobody", 0, 1),
    lambda t: t.put_timer(Timer(NOW_MS, 1, 2, TimerKind.RETRY)),
    lambda t: t.put_outbox(2, 1, CompletionMessage(1, Completion(1, 1))),
    lambda t: t.drop_outbox(1, 2),
    lambda t: t.put_promise("Cart", "k", "paid", Promise(True, b"yes")),
    lambda t: t.drop_promises("Cart", "k"),
    lambda t: setattr(t.edit_meta(), "finished", 1),
]


@pytest.mark.parametrize("written", [False, True])
def test_no_two_variants_are_taken_for_one_another(written: bool, fresh: Callable[[], Store]) -> None:
    digests: list[str] = []
    for variant in [lambda t: None, *VARIANTS]:
        store = fresh()
        for change in CHANGES:
            change(store.tables[0])
        variant(store.tables[0])
        if written:
            checkpoint(store, 1)
            checkpoint(store, 2)
        digests.append(store.digest(0))
    assert len(set(digests)) == len(digests)
    assert store.tables[0].find(raw_id(1)) == 1


def test_a_journal_without_its_invocation_makes_a_difference(fresh: Callable[[], Store]) -> None:
    one, other = fresh(), fresh()
    for store in (one, other):
        add(store.tables[0], 1)
        checkpoint(store, 1)
        store.tables[0].forget(1)
    other.tables[0].layers[0].dropped_journals.clear()
    for store in (one, other):
        checkpoint(store, 2)
        checkpoint(store, 3)
    assert one.digest(0) != other.digest(0)
