"""Snapshots of the store: what is read from one stands still, whatever is written meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import pytest

from perdure.env.executor import ThreadExecutor
from perdure.model.ids import hash_key, partition_of
from perdure.model.journal import Failure
from perdure.store.codec import checked, decode_chunk, decode_invocation, decode_promise
from perdure.store.errors import StoreUnreadable
from perdure.store.rows import Invocation, Promise, Status
from perdure.store.snapshot import CHUNK_ROWS, Chunk, Snapshot
from perdure.store.store import SPARE_READERS_MAX, Store

from .faulty_disk import FaultyDisk
from .rows import add, checkpoint, grow, raw_id


def decoded(chunks: Iterable[Chunk]) -> list[Invocation]:
    return [
        decode_invocation(row, crc, (partition, seq))
        for chunk in chunks
        for partition, seq, row, crc in chunk
        if isinstance(partition, int) and isinstance(seq, int)
    ]


def seqs(chunks: Iterable[Chunk]) -> list[int]:
    return [row.seq for row in decoded(chunks)]


def test_a_snapshot_does_not_see_what_is_committed_after_it(store: Store) -> None:
    add(store.tables[0], 1, entries=2)
    checkpoint(store, 3)
    before = store.snapshot()
    row = store.tables[0].edit(1)
    row.status = Status.PAUSED
    grow(store.tables[0], row, 1)
    add(store.tables[0], 2)
    checkpoint(store, 9)
    after = store.snapshot()
    assert (before.lsn, after.lsn) == (3, 9)
    assert [(row.seq, row.status) for row in decoded(before.invocations())] == [(1, Status.INVOKED)]
    assert [(row.seq, row.status) for row in decoded(after.invocations())] == [(2, Status.INVOKED), (1, Status.PAUSED)]
    assert [len(chunk) for chunk in before.journal(0, 1)] == [1]
    assert [len(chunk) for chunk in after.journal(0, 1)] == [2]
    before.close()
    after.close()


def test_what_is_not_checkpointed_is_not_there(store: Store) -> None:
    checkpoint(store, 1)
    add(store.tables[0], 1)
    snapshot = store.snapshot()
    assert list(snapshot.invocations()) == []
    snapshot.close()


def test_a_store_in_memory_is_copied(executor: ThreadExecutor) -> None:
    store = Store.open(None, 1, executor=executor)
    add(store.tables[0], 1)
    checkpoint(store, 1)
    snapshot = store.snapshot()
    add(store.tables[0], 2)
    checkpoint(store, 2)
    assert seqs(snapshot.invocations()) == [1]
    snapshot.close()
    store.close()


def test_invocations_by_status_and_by_id(store: Store) -> None:
    for seq, status in enumerate(Status, 1):
        add(store.tables[0], seq, status=status)
    checkpoint(store, 1)
    snapshot = store.snapshot()
    assert seqs(snapshot.invocations()) == [6, 5, 4, 3, 2, 1]
    assert seqs(snapshot.invocations([Status.INVOKED])) == [3]
    assert seqs(snapshot.invocations([Status.PAUSED, Status.SCHEDULED])) == [5, 1]
    assert seqs(snapshot.invocations([])) == []
    assert seqs(snapshot.invocations_with_ids([raw_id(2), raw_id(77), raw_id(6)])) == [2, 6]
    snapshot.close()


def test_keys_are_found_in_their_partitions(path: str, executor: ThreadExecutor) -> None:
    store = Store.open(path, 3, executor=executor)
    keys = [f"k{number}" for number in range(12)]
    for number, key in enumerate(keys):
        tables = store.tables[partition_of(hash_key(key), 3)]
        tables.set_state("Cart", key, "name", key.encode())
        tables.set_state("Other", key, "name", b"x")
        tables.put_promise("Trip", key, "paid", Promise(True, Failure(500, key)))
        queue = tables.edit_key_queue("Cart", key)
        queue.holder = add(tables, 2 * number + 1).seq
        tables.put_inbox("Cart", key, 0, add(tables, 2 * number + 2, status=Status.INBOXED).seq)
    assert len({partition_of(hash_key(key), 3) for key in keys}) == 3, "the keys lie in all partitions"
    checkpoint(store, 1)
    snapshot = store.snapshot()

    def values(service: str | None = None, key: str | None = None) -> list[bytes]:
        return [
            checked("state", row, crc, (partition, service, key, name))
            for chunk in snapshot.states(service, key)
            for partition, service, key, name, row, crc in chunk
        ]

    assert sorted(values("Cart")) == sorted(key.encode() for key in keys)
    assert len(values()) == 24
    for number, key in enumerate(keys):
        assert values("Cart", key) == [key.encode()]
        assert values("Nobody", key) == []
        assert sorted(values(None, key)) == sorted([key.encode(), b"x"])
        assert seqs(snapshot.holders("Cart", key)) == [2 * number + 1]
        assert seqs(snapshot.inboxed("Cart", key)) == [2 * number + 2]
        (chunk,) = snapshot.promises("Trip", key)
        ((partition, *place, row, crc),) = chunk
        assert decode_promise(row, crc, (partition, *place)).result == Failure(500, key)
    assert sorted(seqs(snapshot.holders())) == list(range(1, 25, 2))
    assert sorted(seqs(snapshot.inboxed("Cart"))) == list(range(2, 26, 2))
    snapshot.close()
    store.close()


def test_chunks_are_bounded_in_rows_and_in_bytes(store: Store) -> None:
    tables = store.tables[0]
    for seq in range(1, 2 * CHUNK_ROWS + 2):
        add(tables, seq)
    for number in range(4):
        tables.set_state("Cart", "k", f"n{number}", bytes(200_000))
    checkpoint(store, 1)
    snapshot = store.snapshot()
    assert [len(chunk) for chunk in snapshot.invocations()] == [CHUNK_ROWS, CHUNK_ROWS, 1]
    assert [len(chunk) for chunk in snapshot.states()] == [2, 2]
    journals = [row for chunk in snapshot.journals() for row in chunk]
    assert len(journals) == 2 * CHUNK_ROWS + 1
    partition, seq, first, blob, crc = journals[0]
    assert len(decode_chunk(blob, crc, (partition, seq, first)).entries) == 1
    snapshot.close()


def test_a_read_is_interrupted_from_another_thread(store: Store) -> None:
    for seq in range(1, 5 * CHUNK_ROWS):
        add(store.tables[0], seq)
    checkpoint(store, 1)
    snapshot = store.snapshot()
    begun, stopped = threading.Event(), threading.Event()
    failed: list[Exception] = []

    def read() -> None:
        try:
            for _ in snapshot.invocations():
                begun.set()
                assert stopped.wait(10)
        except StoreUnreadable as error:
            failed.append(error)

    reading = threading.Thread(target=read)
    reading.start()
    assert begun.wait(10)
    snapshot.interrupt()
    stopped.set()
    reading.join(10)
    assert len(failed) == 1
    snapshot.close()


def test_a_snapshot_that_is_interrupted_between_reads_is_closed_and_not_kept(store: Store) -> None:
    for seq in range(1, 2 * CHUNK_ROWS):
        add(store.tables[0], seq)
    checkpoint(store, 1)
    snapshot = store.snapshot()
    chunks = snapshot.invocations()
    next(chunks)
    snapshot.interrupt()  # with a read begun, this stays in force for whatever is asked next
    snapshot.close()
    assert store._spare_readers == []
    again = store.snapshot()
    assert len(seqs(again.invocations())) == 2 * CHUNK_ROWS - 1
    again.close()


def test_connections_are_kept_for_the_next_and_not_beyond_a_bound(store: Store) -> None:
    add(store.tables[0], 1)
    checkpoint(store, 1)
    open_at_once = [store.snapshot() for _ in range(SPARE_READERS_MAX + 2)]
    for snapshot in open_at_once:
        assert seqs(snapshot.invocations()) == [1]
        snapshot.close()
    assert len(store._spare_readers) == SPARE_READERS_MAX
    again = store.snapshot()
    assert len(store._spare_readers) == SPARE_READERS_MAX - 1
    again.close()


def test_a_snapshot_may_outlive_the_store(path: str, executor: ThreadExecutor) -> None:
    store = Store.open(path, 1, executor=executor)
    add(store.tables[0], 1)
    checkpoint(store, 1)
    snapshot: Snapshot = store.snapshot()
    store.close()
    assert seqs(snapshot.invocations()) == [1]
    snapshot.close()


def test_a_snapshot_that_the_disk_failed_is_closed_and_not_kept(
    path: str, disk: FaultyDisk, executor: ThreadExecutor
) -> None:
    store = Store.open(path, 1, executor=executor, vfs=disk.name)
    add(store.tables[0], 1)
    checkpoint(store, 1)
    snapshot = store.snapshot()
    disk.unreadable = True
    with pytest.raises(StoreUnreadable):
        seqs(snapshot.invocations())
    disk.unreadable = False
    snapshot.close()
    assert store._spare_readers == []
    store.close()
