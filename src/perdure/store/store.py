"""The store of a process: one SQLite file and the layers of all partitions.

Off the commit path: what changes collects in the active layers; a checkpoint freezes them at an LSN and writes them on
another thread, in one transaction with that LSN, while the next layers fill. At most one layer per partition is frozen.
What was written last stays in memory as a cache while it is small; SQLite has its own for the rest.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable

import apsw

from perdure.env.executor import Executor
from perdure.model.errors import PerdureError
from perdure.model.limits import CLEAN_LAYER_BYTES_MAX, SQLITE_CACHE_BYTES
from perdure.store.database import Database
from perdure.store.digest import digest
from perdure.store.errors import CheckpointUnderWay
from perdure.store.layer import Layer
from perdure.store.schema import applied_lsn, let_go, open_reader, open_writer, unreadable
from perdure.store.snapshot import Snapshot
from perdure.store.tables import Tables
from perdure.store.writer import write_checkpoint

_LANE = "store"
SNAPSHOT_CACHE_BYTES = 2 * 1024 * 1024
SPARE_READERS_MAX = 4
"""Connections kept for the next snapshots."""


class Store:
    """Shapes: `tables[p]` are those of partition p. All methods are for the loop's thread.

    A checkpoint is `freeze`, the sync of the log to that LSN (the caller's business), `write_frozen`, `written`.
    """

    def __init__(
        self,
        writer: apsw.Connection,
        reader: apsw.Connection,
        partitions: int,
        executor: Executor,
        another_reader: Callable[[], apsw.Connection],
        on_failure: Callable[[PerdureError], None],
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._executor = executor
        self._another_reader = another_reader
        self._spare_readers: list[apsw.Connection] = []
        self._closed = False
        self.applied_lsn = applied_lsn(writer)
        """LSN of the last committed checkpoint."""
        self.tables = [Tables(partition, Database(reader, partition, on_failure)) for partition in range(partitions)]
        self._frozen: list[Layer] | None = None
        self._frozen_lsn = 0
        self._frozen_bytes = 0
        self._writing: concurrent.futures.Future[int] | None = None

    @staticmethod
    def open(
        path: str | None,
        partitions: int,
        *,
        executor: Executor,
        cache_bytes: int = SQLITE_CACHE_BYTES,
        vfs: str | None = None,
        on_failure: Callable[[PerdureError], None] = lambda error: None,
    ) -> Store:
        """Open the file, made when it is missing; None: a store in memory.

        `vfs` names another disk (apsw) for SQLite; it lies over a checksum VFS, as `checksum_vfs()` is one. `on_failure` hears
        of each read of the tables that finds damage or a disk that fails, besides the one who read.
        Errors: StoreUnreadable (PD0201), RowCorrupt (PD0202), StoreTooNew (PD0203), PartitionsDiffer (PD0204),
        ChecksumsMissing (PD0207).
        """
        writer = open_writer(path, partitions, cache_bytes, vfs)
        try:
            reader = writer if path is None else open_reader(path, cache_bytes, vfs)

            def another() -> apsw.Connection:
                return _copy_of(writer) if path is None else open_reader(path, SNAPSHOT_CACHE_BYTES, vfs)

            return Store(writer, reader, partitions, executor, another, on_failure)
        except PerdureError:
            let_go(writer)
            raise

    @property
    def active_bytes(self) -> int:
        """Estimate of what has changed since the last freeze."""
        total = 0
        for tables in self.tables:
            total += tables.bytes
        return total

    def freeze(self, lsn: int) -> None:
        """Begin a checkpoint: what was applied up to `lsn` stands in the frozen layers. Errors: CheckpointUnderWay."""
        if self._frozen is not None:
            raise CheckpointUnderWay(
                f"The checkpoint at LSN {self._frozen_lsn} is not written yet.",
                "Wait for it, or stop if it has failed.",
            )
        self._frozen_bytes = self.active_bytes
        self._frozen = [tables.freeze() for tables in self.tables]
        self._frozen_lsn = lsn

    def write_frozen(self) -> concurrent.futures.Future[int]:
        """Commit the frozen layers, on the lane "store"; the log must be synced to their LSN before.

        After it call `written`. Errors, through the future: CheckpointFailed; the layers then stay frozen and readable,
        and this may be called again.
        """
        layers, lsn = self._frozen, self._frozen_lsn
        assert layers is not None, "freeze comes first"
        if self._reader is self._writer:
            # In memory there is one connection, which two threads may not use at once.
            self._writing = _at_once(self._writer, lsn, layers)
        else:
            self._writing = self._executor.submit(_LANE, lambda: write_checkpoint(self._writer, lsn, layers))
        return self._writing

    def written(self) -> None:
        """The frozen layers are committed: they become the cache, or go when they are large; the last cache goes."""
        assert self._frozen is not None, "write_frozen comes first"
        keep = self._frozen_bytes <= CLEAN_LAYER_BYTES_MAX
        gone = [layer for tables in self.tables for layer in tables.written(keep=keep)]
        self.applied_lsn = self._frozen_lsn
        self._frozen = self._writing = None
        self._executor.submit(_LANE, lambda: _let_go(gone))

    def close(self) -> None:
        """A write that has begun is waited for, one that has not is called off; what is not written is in the log."""
        if self._writing is not None and not self._writing.cancel():
            concurrent.futures.wait([self._writing])
        self._closed = True
        for spare in self._spare_readers:
            spare.close()
        for connection in (self._reader, self._writer):
            # The last one moves the WAL into the file. When the disk does not let it, the WAL stays, and so does the log.
            let_go(connection)

    # --- for those who read much --------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """What the last checkpoint wrote, held still until the snapshot is closed (on any thread).

        Cheap on a file: a transaction begins, nothing is read. A store in memory is copied. Errors: StoreUnreadable.
        """
        connection = self._spare_readers.pop() if self._spare_readers else self._another_reader()
        try:
            connection.execute("BEGIN")
            lsn = applied_lsn(connection)  # the first read is what holds it still
        except apsw.Error as error:
            connection.close(True)
            raise unreadable("snapshot", error) from error
        return Snapshot(connection, lsn, len(self.tables), self._snapshot_done)

    def _snapshot_done(self, connection: apsw.Connection) -> None:
        keep = not self._closed and self._reader is not self._writer and len(self._spare_readers) < SPARE_READERS_MAX
        if not keep or not connection.in_transaction:  # SQLite has ended it: the disk failed under a read
            let_go(connection)
            return
        try:
            connection.execute("ROLLBACK")
        except apsw.InterruptError:  # a read that was begun and interrupted is still open
            let_go(connection)
            return
        self._spare_readers.append(connection)

    # --- for the cleaner, and for comparison ------------------------------------------------------------------------------

    def expired(self, partition: int, now_ms: int, limit: int) -> list[int]:
        """Completed invocations whose retention is over, first those that expired first."""
        return self.tables[partition].expired(now_ms, limit)

    def oldest_finished(self, partition: int, limit: int) -> list[int]:
        """The completed invocations that would expire first, whether their time is over or not."""
        return self.tables[partition].expired(_NEVER_MS, limit)

    def digest(self, partition: int) -> str:
        """SHA-256 over the logical content of a partition, wherever it lies: equal tables have equal digests."""
        return digest(self.tables[partition])


_NEVER_MS = 1 << 62


def _at_once(connection: apsw.Connection, lsn: int, layers: list[Layer]) -> concurrent.futures.Future[int]:
    done: concurrent.futures.Future[int] = concurrent.futures.Future()
    try:
        done.set_result(write_checkpoint(connection, lsn, layers))
    except PerdureError as error:
        done.set_exception(error)
    return done


def _copy_of(connection: apsw.Connection) -> apsw.Connection:
    copy = apsw.Connection(":memory:")
    copy.deserialize("main", connection.serialize("main"))
    return copy


def _let_go(layers: list[Layer]) -> None:
    for layer in layers:
        layer.empty()
