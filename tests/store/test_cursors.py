"""Taking from the front costs the same however much has been taken since the last checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.env.executor import ThreadExecutor
from perdure.model.target import HandlerKind, Target
from perdure.store.database import Database
from perdure.store.rows import Invocation, Status, Timer, TimerKind
from perdure.store.store import Store

MANY = 3_000


class Reads:
    """Counts the rows that SQLite gives for cursor steps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows = 0
        for name in ("timers_after", "expiring_after"):
            monkeypatch.setattr(Database, name, self._counting(getattr(Database, name)))

    def _counting(self, read):  # type: ignore[no-untyped-def]
        def counted(*arguments):  # type: ignore[no-untyped-def]
            rows = read(*arguments)
            self.rows += len(rows)
            return rows

        return counted

    def taken(self) -> int:
        rows, self.rows = self.rows, 0
        return rows


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    executor = ThreadExecutor()
    store = Store.open(str(tmp_path / "store.sqlite"), 1, executor=executor)
    yield store
    store.close()
    executor.shutdown(wait=True)


def checkpoint(store: Store, lsn: int) -> None:
    store.freeze(lsn)
    store.write_frozen().result()
    store.written()


def timer(number: int) -> Timer:
    return Timer(number, number, 0, TimerKind.SLEEP)


def only_in_sqlite(store: Store) -> None:
    for lsn in (1, 2, 3):
        checkpoint(store, lsn)


def pop(store: Store) -> Timer:
    tables = store.tables[0]
    first = tables.timers_after((-1, 0, 0), 1)[0]
    tables.drop_timer(first.key)
    return first


def test_popping_timers_does_not_pass_over_those_popped_before(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(MANY):
        store.tables[0].put_timer(timer(number))
    only_in_sqlite(store)
    reads = Reads(monkeypatch)
    popped = [pop(store).seq for _ in range(MANY - 1)]
    assert popped == list(range(MANY - 1))
    assert reads.taken() < 5 * MANY


def test_a_timer_put_in_front_of_the_popped_ones_is_found_before_and_after_its_checkpoint(store: Store) -> None:
    for number in range(10, 20):
        store.tables[0].put_timer(timer(number))
    only_in_sqlite(store)
    assert [pop(store).seq for _ in range(5)] == [10, 11, 12, 13, 14]
    pop(store)
    early = timer(11)
    store.tables[0].put_timer(early)
    for lsn in (4, 5, 6, 7):
        assert store.tables[0].timers_after((-1, 0, 0), 2) == [early, timer(16)]
        checkpoint(store, lsn)
    assert pop(store) == early
    assert pop(store) == timer(16)


def test_a_timer_that_no_checkpoint_has_written_yet_is_not_passed_over(store: Store) -> None:
    for number in (1, 2, 4, 5):
        store.tables[0].put_timer(timer(number))
    only_in_sqlite(store)
    store.tables[0].put_timer(timer(3))
    for number in (1, 2, 4):
        store.tables[0].drop_timer(timer(number).key)
    for lsn in (4, 5, 6, 7):
        assert store.tables[0].timers_after((-1, 0, 0), 5) == [timer(3), timer(5)]
        checkpoint(store, lsn)
    assert pop(store) == timer(3)


def finished(seq: int) -> Invocation:
    target = Target("greeter", None, "greet")
    row = Invocation(seq, seq.to_bytes(24, "big"), target, HandlerKind.PLAIN, Status.COMPLETED, 0, 1, 1, 1)
    row.expires_at_ms = seq
    return row


def test_forgetting_in_slices_does_not_pass_over_those_forgotten_before(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = store.tables[0]
    for seq in range(1, MANY + 1):
        tables.add(finished(seq))
    only_in_sqlite(store)
    reads = Reads(monkeypatch)
    forgotten: list[int] = []
    while slice_ := store.expired(0, MANY, 100):
        for seq in slice_:
            tables.forget(seq)
        forgotten += slice_
    assert forgotten == list(range(1, MANY + 1))
    assert reads.taken() < 10 * MANY


def test_an_invocation_that_will_expire_later_after_all_is_named_when_its_time_comes(store: Store) -> None:
    tables = store.tables[0]
    for seq in range(1, 11):
        tables.add(finished(seq))
    only_in_sqlite(store)
    tables.edit(1).expires_at_ms = 20
    assert store.expired(0, 10, 3) == [2, 3, 4]
    assert store.expired(0, 30, 100) == list(range(2, 11))
    checkpoint(store, 4)
    tables.edit(1).expires_at_ms = 1
    assert store.expired(0, 30, 100) == list(range(2, 11))
    checkpoint(store, 5)
    assert store.expired(0, 30, 100) == list(range(1, 11))
