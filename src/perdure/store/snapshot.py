"""One committed state of the tables, held still for whoever reads much of it: queries, for people and tools.

What always holds: everything that is read from one `Snapshot` stands at the same LSN, whatever is committed meanwhile.
Rows are handed out as they are stored, in chunks of bounded size, without being decoded: that is the reader's business, and
may be done elsewhere. It knows nothing of layers; whoever wants the present takes a checkpoint first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TypeAlias, cast

import apsw

from perdure.model.ids import hash_key, partition_key, partition_of
from perdure.store.codec import Value, checked_number, decode_key_queue
from perdure.store.rows import Status
from perdure.store.schema import unreadable

Stored: TypeAlias = tuple[Value, ...]
"""The key columns of a row, then its bytes and its CRC."""
Chunk: TypeAlias = list[Stored]

CHUNK_ROWS = 500
CHUNK_BYTES = 256 * 1024
_INVOCATION = "i.partition, i.seq, i.row, i.crc"


class Snapshot:
    """Read by one thread at a time, closed once. Errors of every read: StoreUnreadable (PD0201), RowCorrupt (PD0202)."""

    def __init__(
        self, connection: apsw.Connection, lsn: int, partitions: int, done: Callable[[apsw.Connection], None]
    ) -> None:
        self.lsn = lsn
        self._connection = connection
        self._partitions = partitions
        self._done = done

    def close(self) -> None:
        self._done(self._connection)

    def interrupt(self) -> None:
        """Let a read that is under way on another thread fail soon."""
        self._connection.interrupt()

    # --- invocations and their journals ---------------------------------------------------------------------------------------

    def invocations(self, statuses: Collection[Status] = tuple(Status)) -> Iterator[Chunk]:
        """(partition, seq, row, crc) of those with one of these statuses, the newest of a partition first."""
        if len(statuses) == len(Status):
            return self._chunks(f"SELECT {_INVOCATION} FROM invocation i ORDER BY i.partition, i.seq DESC")
        if set(statuses) == {Status.INVOKED}:  # the one that has an index
            return self._chunks(f"SELECT {_INVOCATION} FROM invocation i WHERE i.status = {int(Status.INVOKED)}")
        wanted = ",".join(str(int(status)) for status in statuses)
        return self._chunks(
            f"SELECT {_INVOCATION} FROM invocation i WHERE i.status IN ({wanted}) ORDER BY i.partition, i.seq DESC"
        )

    def invocations_with_ids(self, ids: Collection[bytes]) -> Iterator[Chunk]:
        """The same for these ids; those that are not there are left out."""
        query = f"SELECT {_INVOCATION} FROM invocation i WHERE i.partition = ? AND i.seq = ?"
        for invocation_id in ids:
            partition = partition_of(partition_key(invocation_id), self._partitions)
            found = self._fetch(
                "SELECT seq, crc FROM invocation_id WHERE partition = ? AND id = ?", (partition, invocation_id)
            )
            for seq, crc in found:
                checked_number("invocation_id", seq, crc, (partition, invocation_id))
                yield from self._chunks(query, (partition, seq))

    def inboxed(self, service: str | None = None, key: str | None = None) -> Iterator[Chunk]:
        """The invocations that wait for a key, in the order in which they get it."""
        where, values = self._of_key("b", service, key)
        return self._chunks(
            f"SELECT {_INVOCATION} FROM inbox b JOIN invocation i ON i.partition = b.partition AND i.seq = b.seq{where} "
            "ORDER BY b.partition, b.service, b.key, b.position",
            values,
        )

    def holders(self, service: str | None = None, key: str | None = None) -> Iterator[Chunk]:
        """The invocations that hold a key."""
        where, values = self._of_key("q", service, key)
        query = f"SELECT q.partition, q.service, q.key, q.row, q.crc FROM key_queue q{where}"
        for queues in self._chunks(query, values):
            for queue in queues:
                partition, *place, row, crc = queue
                holder = decode_key_queue(row, crc, (partition, *place)).holder
                if holder is not None:
                    yield from self._chunks(
                        f"SELECT {_INVOCATION} FROM invocation i WHERE i.partition = ? AND i.seq = ?",
                        (partition, holder),
                    )

    def journals(self) -> Iterator[Chunk]:
        """(partition, seq, first, row, crc): every chunk of every journal."""
        return self._chunks("SELECT partition, seq, first, row, crc FROM journal")

    def journal(self, partition: int, seq: int) -> Iterator[Chunk]:
        """The same for one invocation."""
        query = "SELECT partition, seq, first, row, crc FROM journal WHERE partition = ? AND seq = ? ORDER BY first"
        return self._chunks(query, (partition, seq))

    def invocations_with_events(self) -> Iterator[Chunk]:
        """As `invocations`: those of which events are kept."""
        return self._chunks(
            f"SELECT {_INVOCATION} FROM (SELECT DISTINCT partition, seq FROM event) e "
            "JOIN invocation i ON i.partition = e.partition AND i.seq = e.seq"
        )

    def events(self, partition: int, seq: int) -> Iterator[Chunk]:
        """(partition, seq, number, row, crc) of one invocation, in order."""
        query = "SELECT partition, seq, number, row, crc FROM event WHERE partition = ? AND seq = ? ORDER BY number"
        return self._chunks(query, (partition, seq))

    # --- keys -----------------------------------------------------------------------------------------------------------------

    def states(self, service: str | None = None, key: str | None = None) -> Iterator[Chunk]:
        """(partition, service, key, name, row, crc); the row is the value."""
        return self._named("state", service, key)

    def promises(self, service: str | None = None, key: str | None = None) -> Iterator[Chunk]:
        return self._named("promise", service, key)

    def _named(self, table: str, service: str | None, key: str | None) -> Iterator[Chunk]:
        where, values = self._of_key("t", service, key)
        return self._chunks(
            f"SELECT t.partition, t.service, t.key, t.name, t.row, t.crc FROM {table} t{where} "
            "ORDER BY t.partition, t.service, t.key, t.name",
            values,
        )

    def _of_key(self, table: str, service: str | None, key: str | None) -> tuple[str, tuple[Value, ...]]:
        """A condition that the primary key serves: partition first, then service, then key."""
        conditions, values = [], list[Value]()
        if key is not None:
            conditions.append(f"{table}.partition = ?")
            values.append(partition_of(hash_key(key), self._partitions))
        elif service is not None:
            conditions.append(f"{table}.partition BETWEEN 0 AND {self._partitions - 1}")
        if service is not None:
            conditions.append(f"{table}.service = ?")
            values.append(service)
        if key is not None:
            conditions.append(f"{table}.key = ?")
            values.append(key)
        return f" WHERE {' AND '.join(conditions)}" if conditions else "", tuple(values)

    # --- statements -----------------------------------------------------------------------------------------------------------

    def _chunks(self, query: str, values: tuple[Value, ...] = ()) -> Iterator[Chunk]:
        chunk: Chunk = []
        size = 0
        try:
            for row in self._connection.execute(query, values):
                stored = cast(Stored, row)
                chunk.append(stored)
                size += len(cast(bytes, stored[-2]))
                if len(chunk) >= CHUNK_ROWS or size >= CHUNK_BYTES:
                    yield chunk
                    chunk, size = [], 0
        except apsw.Error as error:
            raise unreadable(self._connection.filename, error) from error
        if chunk:
            yield chunk

    def _fetch(self, query: str, values: tuple[Value, ...]) -> list[Stored]:
        try:
            return cast("list[Stored]", self._connection.execute(query, values).fetchall())
        except apsw.Error as error:
            raise unreadable(self._connection.filename, error) from error
