"""What is in SQLite of one partition: point reads and cursor steps on the committed tables.

Every read is one statement run to its end, so it sees exactly one committed checkpoint and holds no lock afterwards.
It knows nothing of layers: `Tables` asks here last. Errors of every read: RowCorrupt (PD0202), StoreUnreadable (PD0201).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeAlias, TypeVar, cast

import apsw

from perdure.model.deployment import Deployment
from perdure.model.errors import PerdureError
from perdure.model.records import Message
from perdure.store.codec import (
    Value,
    checked,
    checked_number,
    corrupt,
    decode_chunk,
    decode_deployment,
    decode_event,
    decode_invocation,
    decode_key_queue,
    decode_message,
    decode_meta,
    decode_promise,
    decode_timer,
)
from perdure.store.errors import RowCorrupt, StoreUnreadable
from perdure.store.layer import EventKey, ObjectKey, TimerKey
from perdure.store.rows import Event, Invocation, JournalChunk, KeyQueue, PartitionMeta, Promise, Status, Timer
from perdure.store.schema import unreadable

Columns: TypeAlias = tuple[object, ...]
P = ParamSpec("P")
R = TypeVar("R")


def _told(read: Callable[Concatenate[Database, P], R]) -> Callable[Concatenate[Database, P], R]:
    """What cannot be read is told to the node as well: whoever asked may be a timer's callback, which stops nobody."""

    @wraps(read)
    def told(database: Database, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return read(database, *args, **kwargs)
        except (RowCorrupt, StoreUnreadable) as error:
            database.on_failure(error)
            raise

    return told


class Database:
    """The committed rows of one partition. `on_failure` hears of every read that fails, before the one who asked."""

    def __init__(
        self,
        connection: apsw.Connection,
        partition: int,
        on_failure: Callable[[PerdureError], None] = lambda error: None,
    ) -> None:
        self.on_failure = on_failure
        self._execute = connection.execute
        self._filename = connection.filename
        self._partition = partition

    @_told
    def meta(self) -> PartitionMeta | None:
        for blob, crc in self._rows("SELECT row, crc FROM partition_meta WHERE partition = ?"):
            return decode_meta(blob, crc, (self._partition,))
        return None

    # --- invocations and journals -----------------------------------------------------------------------------------------

    @_told
    def seq_of(self, invocation_id: bytes) -> int | None:
        for seq, crc in self._rows("SELECT seq, crc FROM invocation_id WHERE partition = ? AND id = ?", invocation_id):
            return checked_number("invocation_id", seq, crc, (self._partition, invocation_id))
        return None

    @_told
    def invocation(self, seq: int) -> Invocation | None:
        for blob, crc in self._rows("SELECT row, crc FROM invocation WHERE partition = ? AND seq = ?", seq):
            return decode_invocation(blob, crc, (self._partition, seq))
        return None

    @_told
    def chunks(self, seq: int, before: int) -> list[JournalChunk]:
        """The chunks of a journal that begin below entry `before`, in order."""
        query = "SELECT row, crc, first FROM journal WHERE partition = ? AND seq = ? AND first < ? ORDER BY first"
        chunks: list[JournalChunk] = []
        for blob, crc, first in self._rows(query, seq, before):
            chunks.append(decode_chunk(blob, crc, (self._partition, seq, cast(int, first))))
        return chunks

    @_told
    def event(self, seq: int, number: int) -> Event | None:
        query = "SELECT row, crc FROM event WHERE partition = ? AND seq = ? AND number = ?"
        for blob, crc in self._rows(query, seq, number):
            return decode_event(blob, crc, (self._partition, seq, number))
        return None

    @_told
    def seqs(self) -> list[int]:
        """Of all invocations, ascending."""
        return self._integers("SELECT seq FROM invocation WHERE partition = ? ORDER BY seq")

    @_told
    def newest(self, below: int, limit: int, statuses: Iterable[Status]) -> list[tuple[int, object, object]]:
        """The last `limit` invocations under this number, descending: seq, row and CRC; no row of another status."""
        wanted = ",".join(str(int(status)) for status in statuses)
        query = (
            f"SELECT seq, CASE WHEN status IN ({wanted}) THEN row END, crc FROM invocation "
            "WHERE partition = ? AND seq < ? ORDER BY seq DESC LIMIT ?"
        )
        return cast("list[tuple[int, object, object]]", self._rows(query, below, limit))

    @_told
    def seqs_with_journal(self) -> list[int]:
        return self._integers("SELECT DISTINCT seq FROM journal WHERE partition = ?")

    @_told
    def event_keys(self) -> list[EventKey]:
        return cast("list[EventKey]", self._rows("SELECT seq, number FROM event WHERE partition = ?"))

    @_told
    def seqs_with_status(self, status: Status) -> list[int]:
        """Only INVOKED has an index: it is what a start looks for among millions that sleep."""
        if status is Status.INVOKED:
            return self._integers(f"SELECT seq FROM invocation WHERE partition = ? AND status = {int(Status.INVOKED)}")
        return self._integers("SELECT seq FROM invocation WHERE partition = ? AND status = ?", int(status))

    @_told
    def expiring_after(self, place: tuple[int, int], until_ms: int, limit: int) -> list[tuple[int, int]]:
        """(expires_at_ms, seq) of invocations that expire behind `place` and up to `until_ms`, in that order."""
        query = (
            "SELECT expires_at_ms, seq FROM invocation INDEXED BY invocation_expiry WHERE partition = ? "
            "AND expires_at_ms > 0 AND (expires_at_ms, seq) > (?, ?) AND expires_at_ms <= ? "
            "ORDER BY expires_at_ms, seq LIMIT ?"
        )
        return cast("list[tuple[int, int]]", self._rows(query, *place, until_ms, limit))

    # --- keys -------------------------------------------------------------------------------------------------------------

    @_told
    def state(self, service: str, key: str) -> dict[str, bytes]:
        query = "SELECT row, crc, name FROM state WHERE partition = ? AND service = ? AND key = ? ORDER BY name"
        values: dict[str, bytes] = {}
        for blob, crc, name in self._rows(query, service, key):
            place = (self._partition, service, key, cast(str, name))
            values[cast(str, name)] = checked("state", blob, crc, place)
        return values

    @_told
    def state_value(self, service: str, key: str, name: str) -> bytes | None:
        query = "SELECT row, crc FROM state WHERE partition = ? AND service = ? AND key = ? AND name = ?"
        for blob, crc in self._rows(query, service, key, name):
            return checked("state", blob, crc, (self._partition, service, key, name))
        return None

    @_told
    def promise(self, service: str, key: str, name: str) -> Promise | None:
        query = "SELECT row, crc FROM promise WHERE partition = ? AND service = ? AND key = ? AND name = ?"
        for blob, crc in self._rows(query, service, key, name):
            return decode_promise(blob, crc, (self._partition, service, key, name))
        return None

    @_told
    def key_queue(self, service: str, key: str) -> KeyQueue | None:
        query = "SELECT row, crc FROM key_queue WHERE partition = ? AND service = ? AND key = ?"
        for blob, crc in self._rows(query, service, key):
            return decode_key_queue(blob, crc, (self._partition, service, key))
        return None

    @_told
    def inbox(self, service: str, key: str, position: int) -> int | None:
        query = "SELECT seq, crc FROM inbox WHERE partition = ? AND service = ? AND key = ? AND position = ?"
        for seq, crc in self._rows(query, service, key, position):
            return checked_number("inbox", seq, crc, (self._partition, service, key, position))
        return None

    @_told
    def object_keys(self, table: str) -> list[ObjectKey]:
        """The distinct (service, key) of `state`, `key_queue` or `promise`."""
        rows = self._rows(f"SELECT DISTINCT service, key FROM {table} WHERE partition = ?")
        return cast("list[ObjectKey]", rows)

    @_told
    def promise_names(self, service: str, key: str) -> list[str]:
        rows = self._rows("SELECT name FROM promise WHERE partition = ? AND service = ? AND key = ?", service, key)
        return [cast(str, row[0]) for row in rows]

    @_told
    def inbox_places(self) -> list[tuple[str, str, int]]:
        """(service, key, position) of all who wait."""
        rows = self._rows("SELECT service, key, position FROM inbox WHERE partition = ?")
        return cast("list[tuple[str, str, int]]", rows)

    # --- timers and outboxes ----------------------------------------------------------------------------------------------

    @_told
    def timer(self, key: TimerKey) -> Timer | None:
        query = "SELECT row, crc FROM timer WHERE partition = ? AND wake_at_ms = ? AND seq = ? AND completion_id = ?"
        for blob, crc in self._rows(query, *key):
            return decode_timer(blob, crc, (self._partition, *key))
        return None

    @_told
    def timers_after(self, key: TimerKey, limit: int) -> list[Timer]:
        query = (
            "SELECT row, crc, wake_at_ms, seq, completion_id FROM timer "
            "WHERE partition = ? AND (wake_at_ms, seq, completion_id) > (?, ?, ?) "
            "ORDER BY wake_at_ms, seq, completion_id LIMIT ?"
        )
        timers: list[Timer] = []
        for blob, crc, *place in self._rows(query, *key, limit):
            timers.append(decode_timer(blob, crc, (self._partition, *cast("list[int]", place))))
        return timers

    @_told
    def outbox(self, target: int, after: int, limit: int) -> list[tuple[int, Message]]:
        query = (
            "SELECT row, crc, outbox_seq FROM outbox WHERE partition = ? AND target = ? AND outbox_seq > ? "
            "ORDER BY outbox_seq LIMIT ?"
        )
        messages: list[tuple[int, Message]] = []
        for blob, crc, at in self._rows(query, target, after, limit):
            number = cast(int, at)
            messages.append((number, decode_message(blob, crc, (self._partition, target, number))))
        return messages

    @_told
    def outbox_targets(self) -> list[int]:
        return self._integers("SELECT DISTINCT target FROM outbox WHERE partition = ?")

    # --- deployments ------------------------------------------------------------------------------------------------------

    @_told
    def deployments(self) -> dict[str, Deployment]:
        found: dict[str, Deployment] = {}
        for blob, crc, deployment_id in self._rows("SELECT row, crc, id FROM deployment WHERE partition = ?"):
            found[cast(str, deployment_id)] = decode_deployment(blob, crc, (self._partition, cast(str, deployment_id)))
        return found

    # --- statements -------------------------------------------------------------------------------------------------------

    def _rows(self, query: str, *values: Value) -> list[Columns]:
        """All rows; the statement's first parameter is the partition."""
        try:
            return self._execute(query, (self._partition, *values)).fetchall()
        except apsw.Error as error:
            raise unreadable(self._filename, error) from error
        except UnicodeDecodeError as error:
            raise corrupt(query.split(" FROM ")[1].split()[0], values, f"its key does not decode ({error})") from error

    def _integers(self, query: str, *values: Value) -> list[int]:
        return [cast(int, row[0]) for row in self._rows(query, *values)]
