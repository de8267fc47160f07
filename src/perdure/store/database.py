"""What is in SQLite of one partition: point reads and cursor steps on the committed tables.

Every read is one statement run to its end, so it sees exactly one committed checkpoint and holds no lock afterwards.
It knows nothing of layers: `Tables` asks here last.
"""

from __future__ import annotations

from typing import cast

import apsw

from perdure.model.records import Message
from perdure.store.codec import (
    corrupt,
    crc32,
    decode_chunk,
    decode_invocation,
    decode_key_queue,
    decode_message,
    decode_meta,
    decode_promise,
    decode_timer,
    id_crc,
    number_crc,
)
from perdure.store.layer import TimerKey
from perdure.store.rows import Invocation, JournalChunk, KeyQueue, PartitionMeta, Promise, Timer


class Database:
    """The committed rows of one partition."""

    def __init__(self, connection: apsw.Connection, partition: int) -> None:
        self._execute = connection.execute
        self._partition = partition

    def meta(self) -> PartitionMeta | None:
        query = "SELECT row, crc FROM partition_meta WHERE partition = ?"
        for blob, crc in self._blobs(query, (self._partition,)):
            return decode_meta(blob, crc, self._partition)
        return None

    def seq_of(self, invocation_id: bytes) -> int | None:
        query = "SELECT seq, crc FROM invocation_id WHERE partition = ? AND id = ?"
        for seq, crc in self._numbers(query, (self._partition, invocation_id)):
            if id_crc(invocation_id, seq) != crc:
                raise corrupt("invocation_id", invocation_id.hex(), "its checksum does not match")
            return seq
        return None

    def invocation(self, seq: int) -> Invocation | None:
        query = "SELECT row, crc FROM invocation WHERE partition = ? AND seq = ?"
        for blob, crc in self._blobs(query, (self._partition, seq)):
            row = decode_invocation(blob, crc, (self._partition, seq))
            if row.seq != seq:
                raise corrupt("invocation", (self._partition, seq), f"it is that of {row.seq}")
            return row
        return None

    def chunks(self, seq: int, before: int) -> list[JournalChunk]:
        """The chunks of a journal that begin below entry `before`, in order."""
        query = "SELECT row, crc FROM journal WHERE partition = ? AND seq = ? AND first < ? ORDER BY first"
        key = (self._partition, seq)
        return [decode_chunk(blob, crc, key) for blob, crc in self._blobs(query, (*key, before))]

    def state(self, service: str, key: str) -> dict[str, bytes]:
        query = "SELECT row, crc, name FROM state WHERE partition = ? AND service = ? AND key = ? ORDER BY name"
        values: dict[str, bytes] = {}
        for blob, crc, name in self._execute(query, (self._partition, service, key)).fetchall():
            values[cast(str, name)] = self._state_value(cast(bytes, blob), cast(int, crc), service, key, name)
        return values

    def state_value(self, service: str, key: str, name: str) -> bytes | None:
        query = "SELECT row, crc FROM state WHERE partition = ? AND service = ? AND key = ? AND name = ?"
        for blob, crc in self._blobs(query, (self._partition, service, key, name)):
            return self._state_value(blob, crc, service, key, name)
        return None

    def _state_value(self, blob: bytes, crc: int, service: str, key: str, name: object) -> bytes:
        if crc32(blob) != crc:
            raise corrupt("state", (self._partition, service, key, name), "its checksum does not match")
        return blob

    def key_queue(self, service: str, key: str) -> KeyQueue | None:
        query = "SELECT row, crc FROM key_queue WHERE partition = ? AND service = ? AND key = ?"
        for blob, crc in self._blobs(query, (self._partition, service, key)):
            return decode_key_queue(blob, crc, (self._partition, service, key))
        return None

    def inbox(self, service: str, key: str, position: int) -> int | None:
        query = "SELECT seq, crc FROM inbox WHERE partition = ? AND service = ? AND key = ? AND position = ?"
        for seq, crc in self._numbers(query, (self._partition, service, key, position)):
            if number_crc(position, seq) != crc:
                raise corrupt("inbox", (self._partition, service, key, position), "its checksum does not match")
            return seq
        return None

    def timer(self, key: TimerKey) -> Timer | None:
        query = "SELECT row, crc FROM timer WHERE partition = ? AND wake_at_ms = ? AND seq = ? AND completion_id = ?"
        for blob, crc in self._blobs(query, (self._partition, *key)):
            return self._timer(blob, crc)
        return None

    def timers_after(self, key: TimerKey, limit: int) -> list[Timer]:
        query = (
            "SELECT row, crc FROM timer WHERE partition = ? AND (wake_at_ms, seq, completion_id) > (?, ?, ?) "
            "ORDER BY wake_at_ms, seq, completion_id LIMIT ?"
        )
        return [self._timer(blob, crc) for blob, crc in self._blobs(query, (self._partition, *key, limit))]

    def _timer(self, blob: bytes, crc: int) -> Timer:
        return decode_timer(blob, crc, (self._partition,))

    def outbox(self, target: int, after: int, limit: int) -> list[tuple[int, Message]]:
        query = (
            "SELECT row, crc, outbox_seq FROM outbox WHERE partition = ? AND target = ? AND outbox_seq > ? "
            "ORDER BY outbox_seq LIMIT ?"
        )
        rows = self._execute(query, (self._partition, target, after, limit)).fetchall()
        return [
            (cast(int, at), decode_message(cast(bytes, blob), cast(int, crc), (self._partition, target, at)))
            for blob, crc, at in rows
        ]

    def promise(self, service: str, key: str, name: str) -> Promise | None:
        query = "SELECT row, crc FROM promise WHERE partition = ? AND service = ? AND key = ? AND name = ?"
        for blob, crc in self._blobs(query, (self._partition, service, key, name)):
            return decode_promise(blob, crc, (self._partition, service, key, name))
        return None

    def expiring_after(self, place: tuple[int, int], until_ms: int, limit: int) -> list[tuple[int, int]]:
        """(expires_at_ms, seq) of invocations that expire behind `place` and up to `until_ms`, in that order."""
        query = (
            "SELECT expires_at_ms, seq FROM invocation INDEXED BY invocation_expiry WHERE partition = ? "
            "AND expires_at_ms > 0 AND (expires_at_ms, seq) > (?, ?) AND expires_at_ms <= ? "
            "ORDER BY expires_at_ms, seq LIMIT ?"
        )
        return self._numbers(query, (self._partition, *place, until_ms, limit))

    def seqs_after(self, seq: int, limit: int) -> list[int]:
        query = "SELECT seq FROM invocation WHERE partition = ? AND seq > ? ORDER BY seq LIMIT ?"
        rows = self._execute(query, (self._partition, seq, limit)).fetchall()
        return [cast(int, row[0]) for row in rows]

    def seqs_with_status(self, status: int) -> list[int]:
        """Only INVOKED has an index: it is what a start looks for among millions that sleep."""
        query = "SELECT seq FROM invocation WHERE partition = ? AND status = 2"
        if status != 2:
            query = f"SELECT seq FROM invocation WHERE partition = ? AND status = {int(status)}"
        return [cast(int, row[0]) for row in self._execute(query, (self._partition,)).fetchall()]

    def object_keys(self, table: str) -> list[tuple[str, str]]:
        """The distinct (service, key) of `state`, `key_queue`, `inbox` or `promise`."""
        rows = self._execute(f"SELECT DISTINCT service, key FROM {table} WHERE partition = ?", (self._partition,))
        return cast("list[tuple[str, str]]", rows.fetchall())

    def names(self, service: str, key: str) -> list[str]:
        """The names of a workflow's promises."""
        query = "SELECT name FROM promise WHERE partition = ? AND service = ? AND key = ?"
        return [cast(str, row[0]) for row in self._execute(query, (self._partition, service, key)).fetchall()]

    def positions(self, service: str, key: str) -> list[int]:
        query = "SELECT position FROM inbox WHERE partition = ? AND service = ? AND key = ?"
        return [cast(int, row[0]) for row in self._execute(query, (self._partition, service, key)).fetchall()]

    def outbox_targets(self) -> list[int]:
        rows = self._execute("SELECT DISTINCT target FROM outbox WHERE partition = ?", (self._partition,)).fetchall()
        return [cast(int, row[0]) for row in rows]

    def _blobs(self, query: str, key: tuple[int | str | bytes, ...]) -> list[tuple[bytes, int]]:
        return cast("list[tuple[bytes, int]]", self._execute(query, key).fetchall())

    def _numbers(self, query: str, key: tuple[int | str | bytes, ...]) -> list[tuple[int, int]]:
        return cast("list[tuple[int, int]]", self._execute(query, key).fetchall())
