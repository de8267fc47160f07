"""Lists from the newest to the oldest: what memory says wins over what SQLite still has, and each is seen once."""

from __future__ import annotations

import pytest

from perdure.store.listing import NewestFirst
from perdure.store.rows import Status
from perdure.store.store import Store

from .rows import add, checkpoint

ALL = frozenset(Status)


def listed(store: Store, statuses: frozenset[Status] = ALL, below: int | None = None, slice_rows: int = 3) -> list[int]:
    source = NewestFirst(store.tables[0], below, statuses)
    seqs: list[int] = []
    while not source.exhausted:
        seqs += [row.seq for row in source.slice(slice_rows)]
    return seqs


@pytest.fixture
def mixed(store: Store) -> Store:
    """1 to 12: the older ones in SQLite, the newer in memory; 3 forgotten and 4 and 8 changed since the checkpoint."""
    tables = store.tables[0]
    for seq in range(1, 9):
        add(tables, seq)
    checkpoint(store, 1)
    for seq in range(9, 11):
        add(tables, seq)
    store.freeze(2)
    for seq in range(11, 13):
        add(tables, seq)
    tables.forget(3)
    for seq in (4, 8):
        tables.edit(seq).status = Status.PAUSED
    tables.edit_meta().next_seq = 13
    return store


@pytest.mark.parametrize("slice_rows", [1, 2, 3, 5, 100])
def test_the_newest_come_first_and_each_once(mixed: Store, slice_rows: int) -> None:
    assert listed(mixed, slice_rows=slice_rows) == [12, 11, 10, 9, 8, 7, 6, 5, 4, 2, 1]
    assert listed(mixed, below=6, slice_rows=slice_rows) == [5, 4, 2, 1]


def test_the_status_is_that_of_now(mixed: Store) -> None:
    assert listed(mixed, frozenset({Status.PAUSED})) == [8, 4]
    assert listed(mixed, ALL - {Status.PAUSED}) == [12, 11, 10, 9, 7, 6, 5, 2, 1]


def test_a_checkpoint_between_two_slices_loses_nothing(mixed: Store) -> None:
    source = NewestFirst(mixed.tables[0], None, ALL)
    seqs = [row.seq for row in source.slice(2)]
    mixed.write_frozen().result()
    mixed.written()
    for lsn in (3, 4):
        checkpoint(mixed, lsn)
    while not source.exhausted:
        seqs += [row.seq for row in source.slice(2)]
    assert seqs == [12, 11, 10, 9, 8, 7, 6, 5, 4, 2, 1]


def test_nothing_is_an_empty_list(store: Store) -> None:
    assert listed(store) == []
