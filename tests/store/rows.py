"""What the tests of the store share: rows to write, checkpoints by hand, an executor that waits for the test."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from typing import TypeVar

from perdure.model.journal import Run
from perdure.model.target import HandlerKind, Target
from perdure.store.rows import Invocation, Status
from perdure.store.store import Store
from perdure.store.tables import Tables

T = TypeVar("T")
NOW_MS = 1_800_000_000_000
TARGET = Target("Cart", None, "checkout")


def raw_id(number: int) -> bytes:
    """A raw invocation id; ids of consecutive numbers lie far from each other."""
    return (number * 0x9E3779B97F4A7C15 & (1 << 64) - 1).to_bytes(8, "big") + number.to_bytes(16, "big")


def invocation(
    seq: int, *, status: Status = Status.INVOKED, expires_at_ms: int = 0, id: int | None = None
) -> Invocation:
    number = seq if id is None else id
    row = Invocation(seq, raw_id(number), TARGET, HandlerKind.PLAIN, status, seq, NOW_MS, 1000, 1000)
    row.expires_at_ms = expires_at_ms
    return row


def add(tables: Tables, seq: int, entries: int = 1, **fields: int) -> Invocation:
    """An invocation with its journal."""
    row = invocation(seq, **fields)  # type: ignore[arg-type]
    tables.add(row)
    grow(tables, row, entries)
    return row


def grow(tables: Tables, row: Invocation, entries: int) -> None:
    for _ in range(entries):
        tables.append_entry(row.seq, row.journal_length, NOW_MS + row.journal_length, Run(row.journal_length, "step"))
        row.journal_length += 1


def checkpoint(store: Store, lsn: int) -> None:
    store.freeze(lsn)
    assert store.write_frozen().result(30) == lsn
    store.written()


def held(store: Store) -> int:
    """Rows and tombstones in memory."""
    return sum(layer.entries() for tables in store.tables for layer in tables.layers)


class GatedExecutor:
    """Keeps work until the test lets it run, in the test's thread."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def submit(self, name: str, work: Callable[[], T]) -> concurrent.futures.Future[T]:
        future: concurrent.futures.Future[T] = concurrent.futures.Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(work())
            except Exception as error:
                future.set_exception(error)

        self.waiting.append(run)
        return future

    def run(self) -> None:
        while self.waiting:
            self.waiting.pop(0)()

    def shutdown(self, *, wait: bool) -> None:
        self.waiting.clear()
