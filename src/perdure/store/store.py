"""The store of a process: one SQLite file and the layers of all partitions.

Off the commit path: what changes collects in the active layers; a checkpoint freezes them at an LSN and writes them on
another thread, in one transaction with that LSN, while the next layers fill. At most one layer per partition is frozen.
"""

from __future__ import annotations

import concurrent.futures
import hashlib

from perdure.env.executor import Executor
from perdure.model.limits import SQLITE_CACHE_BYTES
from perdure.store.codec import encode
from perdure.store.database import Database
from perdure.store.errors import CheckpointUnderWay
from perdure.store.layer import Layer
from perdure.store.rows import Status
from perdure.store.schema import applied_lsn, open_reader, open_writer
from perdure.store.tables import Tables
from perdure.store.writer import write_checkpoint


class Store:
    """Shapes: `tables[p]` are those of partition p. All methods are for the loop's thread."""

    def __init__(self, path: str | None, partitions: int, *, executor: Executor, cache_bytes: int) -> None:
        self._path = path
        self._executor = executor
        self._writer = open_writer(path, partitions, cache_bytes, None)
        self._reader = self._writer if path is None else open_reader(path, cache_bytes, None)
        self.applied_lsn = applied_lsn(self._writer)
        """LSN of the last committed checkpoint."""
        self.tables = [Tables(partition, Database(self._reader, partition)) for partition in range(partitions)]
        self._frozen: list[Layer] | None = None
        self._frozen_lsn = 0

    @staticmethod
    def open(path: str | None, partitions: int, *, executor: Executor, cache_bytes: int = SQLITE_CACHE_BYTES) -> Store:
        """Open the file, made when it is missing; None: a store in memory.

        Errors: StoreUnreadable (PD0201), StoreTooNew (PD0203), PartitionsDiffer (PD0204).
        """
        return Store(path, partitions, executor=executor, cache_bytes=cache_bytes)

    @property
    def active_bytes(self) -> int:
        """Estimate of what has changed since the last freeze."""
        return sum(tables.bytes for tables in self.tables)

    @property
    def checkpointing(self) -> bool:
        return self._frozen is not None

    def freeze(self, lsn: int) -> None:
        """Begin a checkpoint: what was applied up to `lsn` stands in the frozen layers. Errors: CheckpointUnderWay."""
        if self._frozen is not None:
            raise CheckpointUnderWay("a checkpoint is under way", "Wait for it.")
        self._frozen = [tables.freeze() for tables in self.tables]
        self._frozen_lsn = lsn

    def write_frozen(self) -> concurrent.futures.Future[int]:
        """Commit the frozen layers, on the lane "store"; the log must be synced to their LSN before.

        After it call `written`. Errors, through the future: CheckpointFailed; the layers then stay frozen.
        """
        layers, lsn = self._frozen, self._frozen_lsn
        assert layers is not None, "freeze comes first"
        if self._path is not None:
            return self._executor.submit("store", lambda: write_checkpoint(self._writer, lsn, layers))
        # In memory reader and writer are one connection, which two threads may not use at once.
        done: concurrent.futures.Future[int] = concurrent.futures.Future()
        done.set_result(write_checkpoint(self._writer, lsn, layers))
        return done

    def written(self) -> None:
        """The frozen layers are committed: they become the cache."""
        for tables in self.tables:
            tables.written()
        self.applied_lsn = self._frozen_lsn
        self._frozen = None

    def close(self) -> None:
        if self._reader is not self._writer:
            self._reader.close()
        self._writer.close()

    # --- retention --------------------------------------------------------------------------------------------------------

    def expired(self, partition: int, now_ms: int, limit: int) -> list[int]:
        """Completed invocations whose retention is over, first those that expired first."""
        tables = self.tables[partition]
        database = Database(self._reader, partition)
        found: dict[int, int] = {}
        place = (0, 0)
        while len(found) < limit:
            stored = database.expiring_after(place, now_ms, limit)
            found.update(
                (seq, expires_at_ms)
                for expires_at_ms, seq in stored
                if not any(seq in layer.invocations for layer in tables.layers)
            )
            if len(stored) < limit:
                break
            place = stored[-1]
        seen: set[int] = set()
        for layer in tables.layers:
            for seq, row in layer.invocations.items():
                if seq not in seen and row is not None and 0 < row.expires_at_ms <= now_ms:
                    found[seq] = row.expires_at_ms
            seen.update(layer.invocations)
        return sorted(found, key=lambda seq: (found[seq], seq))[:limit]

    def oldest_finished(self, partition: int, limit: int) -> list[int]:
        """The completed invocations that would expire first, whether their time is over or not."""
        return self.expired(partition, 1 << 62, limit)

    # --- comparison -------------------------------------------------------------------------------------------------------

    def digest(self, partition: int) -> str:
        """SHA-256 over the logical content of a partition, wherever it lies: equal tables have equal digests."""
        tables = self.tables[partition]
        database = Database(self._reader, partition)
        digest = hashlib.sha256(encode(tables.meta))
        seqs = set(database.seqs_after(0, 1 << 60))
        places: dict[str, set[tuple[str, str]]] = {name: set(database.object_keys(name)) for name in _KEYED}
        targets = set(database.outbox_targets())
        for layer in tables.layers:
            seqs.update(layer.invocations)
            places["state"].update(layer.states)
            places["promise"].update(layer.promises)
            places["key_queue"].update(layer.key_queues)
            targets.update(layer.outboxes)
        for seq in sorted(seqs):
            row = tables.invocation(seq)
            if row is not None:
                journal = tables.journal(seq)
                digest.update(encode([row, tables.find(row.id), journal.times, journal.entries]))
        for service, key in sorted(places["state"]):
            if state := tables.state(service, key):
                digest.update(encode(["state", service, key, sorted(state.items())]))
        for service, key in sorted(places["key_queue"]):
            queue = tables.key_queue(service, key)
            if queue is not None:
                inbox = [tables.inbox(service, key, at) for at in range(queue.head, queue.tail)]
                digest.update(encode(["queue", service, key, queue, inbox]))
        for service, key in sorted(places["promise"]):
            names = set(database.names(service, key))
            for layer in tables.layers:
                if (service, key) in layer.promises:
                    names.update(layer.promises[service, key].values)
            for name in sorted(names):
                digest.update(encode(["promise", service, key, name, tables.promise(service, key, name)]))
        after = (0, 0, 0)
        while timers := tables.timers_after(after, 1000):
            digest.update(encode(timers))
            after = timers[-1].key
        for target in sorted(targets):
            if messages := tables.outbox(target, 0, 1 << 60):
                digest.update(encode(["outbox", target, messages]))
        return digest.hexdigest()

    def running(self, partition: int) -> list[int]:
        return self.tables[partition].with_status(Status.INVOKED)


_KEYED = ("state", "key_queue", "promise")
