"""Checkpoints: what is read while one is written, what is left after one fails, what stays in memory and on disk."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path

import pytest

from perdure.env.executor import ThreadExecutor
from perdure.model.limits import CLEAN_LAYER_BYTES_MAX
from perdure.store.errors import CheckpointFailed, CheckpointUnderWay
from perdure.store.rows import Status, Timer, TimerKind
from perdure.store.store import Store

from .faulty_disk import FaultyDisk
from .rows import NOW_MS, GatedExecutor, add, checkpoint, grow, held, raw_id


def test_what_was_written_is_there_after_a_restart_with_its_lsn(path: str, executor: ThreadExecutor) -> None:
    store = Store.open(path, 2, executor=executor)
    add(store.tables[0], 1, entries=3)
    add(store.tables[1], 1, entries=2)
    checkpoint(store, 7)
    add(store.tables[0], 2)
    store.close()

    again = Store.open(path, 2, executor=executor)
    assert again.applied_lsn == 7
    assert [len(tables.journal(1).entries) for tables in again.tables] == [3, 2]
    assert again.tables[0].invocation(2) is None
    again.close()


def test_frozen_rows_are_read_and_edited_while_the_writer_waits(path: str) -> None:
    gate = GatedExecutor()
    store = Store.open(path, 1, executor=gate)
    tables = store.tables[0]
    row = add(tables, 1, entries=2)
    add(tables, 2)
    store.freeze(1)
    written = store.write_frozen()
    assert not written.done()

    edited = tables.edit(1)
    edited.status = Status.PAUSED
    grow(tables, edited, 1)
    tables.forget(2)
    assert row.status is Status.INVOKED, "the frozen row is the writer's"
    assert len(tables.journal(1).entries) == 3
    assert tables.find(raw_id(2)) is None

    gate.run()
    assert written.result(0) == 1
    assert len(tables.journal(1).entries) == 3, "committed, and still frozen in memory"
    assert (tables.invocation(2), tables.find(raw_id(2)), tables.journal(2).entries) == (None, None, [])
    store.written()
    assert len(tables.journal(1).entries) == 3
    store.close()

    again = Store.open(path, 1, executor=gate)
    assert len(again.tables[0].journal(1).entries) == 2, "the checkpoint is of its LSN, not later"
    assert again.tables[0].find(raw_id(2)) == 2
    again.close()


def test_one_checkpoint_at_a_time(store: Store) -> None:
    store.freeze(3)
    with pytest.raises(CheckpointUnderWay, match="PD0206: The checkpoint at LSN 3"):
        store.freeze(4)


def test_closing_waits_for_a_write_that_has_begun(path: str, executor: ThreadExecutor) -> None:
    store = Store.open(path, 1, executor=executor)
    for seq in range(1, 3000):
        add(store.tables[0], seq, entries=3)
    store.freeze(1)
    written = store.write_frozen()
    store.close()
    reached = 0 if written.cancelled() else written.result(0)
    again = Store.open(path, 1, executor=executor)
    assert again.applied_lsn == reached
    again.close()


def test_closing_calls_off_a_write_that_has_not_begun(path: str) -> None:
    gate = GatedExecutor()
    store = Store.open(path, 1, executor=gate)
    add(store.tables[0], 1)
    store.freeze(1)
    store.write_frozen()
    store.close()
    gate.run()
    again = Store.open(path, 1, executor=gate)
    assert (again.applied_lsn, again.tables[0].invocation(1)) == (0, None)
    again.close()


def test_a_journal_that_was_read_does_not_grow(store: Store) -> None:
    row = add(store.tables[0], 1)
    journal = store.tables[0].journal(1)
    grow(store.tables[0], row, 1)
    assert (len(journal.entries), len(journal.times)) == (1, 1)


def test_an_id_used_again_stays_gone_when_its_second_invocation_goes_at_once(store: Store) -> None:
    tables = store.tables[0]
    add(tables, 1, id=5)
    checkpoint(store, 1)
    tables.forget(1)
    add(tables, 2, id=5)
    tables.forget(2)
    assert tables.find(raw_id(5)) is None
    checkpoint(store, 2)
    checkpoint(store, 3)
    assert tables.find(raw_id(5)) is None
    assert held(store) == 0


# --- failure ------------------------------------------------------------------------------------------------------------


def test_a_full_disk_fails_the_checkpoint_and_loses_nothing(
    path: str, disk: FaultyDisk, executor: ThreadExecutor
) -> None:
    store = Store.open(path, 1, executor=executor, vfs=disk.name)
    tables = store.tables[0]
    add(tables, 1)
    checkpoint(store, 1)
    add(tables, 2, entries=4)
    store.freeze(2)
    disk.full = True
    with pytest.raises(CheckpointFailed, match=r"PD0205: The checkpoint at LSN 2 could not be written: FullError"):
        store.write_frozen().result(30)
    assert len(tables.journal(2).entries) == 4, "the frozen layer stays readable"
    assert store.applied_lsn == 1
    disk.full = False
    assert store.write_frozen().result(30) == 2
    store.written()
    store.close()
    again = Store.open(path, 1, executor=executor)
    assert (again.applied_lsn, len(again.tables[0].journal(2).entries)) == (2, 4)
    again.close()


@pytest.mark.parametrize("where", [None, "file"])
def test_a_row_that_cannot_be_stored_fails_the_checkpoint_by_code(
    where: str | None, path: str, executor: ThreadExecutor
) -> None:
    store = Store.open(where and path, 1, executor=executor)
    add(store.tables[0], 1)
    store.tables[0].put_timer(Timer(1 << 63, 1, 0, TimerKind.SLEEP))
    store.freeze(1)
    with pytest.raises(CheckpointFailed, match="OverflowError"):
        store.write_frozen().result(30)
    assert store.tables[0].database.invocation(1) is None, "nothing of a failed checkpoint is written"
    store.close()


# --- bounds -------------------------------------------------------------------------------------------------------------


def test_a_small_layer_is_kept_as_cache_and_goes_with_the_next(store: Store) -> None:
    add(store.tables[0], 1)
    checkpoint(store, 1)
    assert held(store) == 2
    checkpoint(store, 2)
    assert held(store) == 0
    assert len(store.tables[0].journal(1).entries) == 1


def test_a_large_layer_is_let_go_once_it_is_written(path: str, executor: ThreadExecutor) -> None:
    store = Store.open(path, 1, executor=executor)
    tables = store.tables[0]
    seq = 0
    while store.active_bytes <= CLEAN_LAYER_BYTES_MAX:
        seq += 1
        add(tables, seq, entries=2)
    frozen = tables.layers[0]
    checkpoint(store, 1)
    assert held(store) == 0
    executor.submit("store", lambda: None).result(30)
    assert frozen.entries() == 0, "let go piece by piece"
    assert len(tables.journal(seq).entries) == 2
    store.close()


def test_much_more_data_than_memory_may_hold(path: str, executor: ThreadExecutor) -> None:
    store = Store.open(path, 1, executor=executor, cache_bytes=1 << 20)
    tables = store.tables[0]
    seqs = 20_000
    largest = 0
    for seq in range(1, seqs + 1):
        add(tables, seq, status=Status.SUSPENDED)
        tables.put_timer(Timer(NOW_MS + seq, seq, 1, TimerKind.SLEEP))
        if seq % 1000 == 0:
            checkpoint(store, seq)
            largest = max(largest, held(store))
    assert largest <= 3000
    assert sum(file.stat().st_size for file in Path(path).parent.iterdir()) > 4 << 20
    for seq in range(1, seqs + 1, 97):
        assert tables.find(raw_id(seq)) == seq
        assert len(tables.journal(seq).entries) == 1
    assert [timer.seq for timer in tables.timers_after((NOW_MS + 5000, 5000, 1), 3)] == [5001, 5002, 5003]
    assert tables.with_status(Status.INVOKED) == []
    store.close()


@pytest.mark.slow
def test_memory_and_wal_stay_bounded_in_a_stream_of_finished_invocations(path: str, executor: ThreadExecutor) -> None:
    store = Store.open(path, 1, executor=executor, cache_bytes=1 << 20)
    tables = store.tables[0]
    resident: list[int] = []
    wal = Path(path + "-wal")
    for turn in range(30):
        for seq in range(turn * 1000 + 1, turn * 1000 + 1001):
            add(tables, seq, entries=5, status=Status.COMPLETED, expires_at_ms=NOW_MS)
            if seq > 2000:
                tables.forget(seq - 2000)
        checkpoint(store, turn + 1)
        resident.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        assert wal.stat().st_size < 40 << 20
    assert resident[-1] - resident[9] < 8 << 10, "KiB"
    assert len(tables.expired(NOW_MS, 10_000)) == 2000
    store.close()


async def test_the_loop_goes_on_while_a_large_layer_is_written(path: str, executor: ThreadExecutor) -> None:
    """The commit, with its sync, must not hold the interpreter lock: a callback gets its turn during the write."""
    store = Store.open(path, 1, executor=executor)
    for seq in range(1, 15_001):
        add(store.tables[0], seq, entries=4)
    store.freeze(1)
    written = asyncio.wrap_future(store.write_frozen())
    turns = 0
    while not written.done():
        turns += 1
        await asyncio.sleep(0)
    assert await written == 1
    assert turns > 20
    store.close()
