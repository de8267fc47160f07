"""Writes a frozen layer to SQLite, in one transaction, together with the LSN it stands for.

Runs on the executor's lane "store", beside a busy event loop, and shares the interpreter lock with it. So rows are encoded
and go out a hundred to a statement (each statement takes and drops the lock once; a row at a time starves behind the loop),
and nothing here holds the lock for long: no `with connection` (apsw commits and syncs under the lock there), no sort of a
whole layer in one call, and a layer is let go piece by piece.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import TypeAlias, TypeVar

import apsw

from perdure.store.checksums import is_damage
from perdure.store.codec import Key, Value, encode, row_crc
from perdure.store.errors import CheckpointFailed
from perdure.store.layer import EventKey, Layer, ObjectKey, Overlay, TimerKey
from perdure.store.rows import Invocation
from perdure.store.schema import put_applied_lsn, unreadable

Row: TypeAlias = tuple[Value, ...]
K = TypeVar("K", int, str, bytes, EventKey, ObjectKey, tuple[str, str, int], TimerKey)
V = TypeVar("V")
_ROWS = 100
"""Rows in one statement."""
_RUN = 4_096
"""Keys that are sorted in one go."""


def write_checkpoint(connection: apsw.Connection, lsn: int, layers: Sequence[Layer]) -> int:
    """Commit what the layers (one per partition) hold; returns `lsn`.

    Errors: CheckpointFailed; StoreUnreadable (PD0201) when it meets a damaged page. Nothing is written then.
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
        for partition, layer in enumerate(layers):
            _LayerWriter(connection, partition).write(layer)
        put_applied_lsn(connection, lsn)
        connection.execute("COMMIT")
    except Exception as error:  # whatever it was: a node that goes on without checkpoints would fill memory and disk
        _roll_back(connection)
        if isinstance(error, apsw.Error) and is_damage(error):
            raise unreadable(connection.filename, error) from error
        raise CheckpointFailed(
            f"The checkpoint at LSN {lsn} could not be written: {type(error).__name__}: {error}.",
            "Free space or repair the disk, then start again: the log still has everything.",
            no_space=isinstance(error, apsw.FullError),
        ) from error
    return lsn


def _roll_back(connection: apsw.Connection) -> None:
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except apsw.Error:  # then the next BEGIN fails; what matters is the first error
        pass


class _LayerWriter:
    def __init__(self, connection: apsw.Connection, partition: int) -> None:
        self._execute = connection.execute
        self._partition = partition

    def write(self, layer: Layer) -> None:
        if layer.meta is not None:
            self._put("partition_meta", [self._row((), encode(layer.meta))])
        self._write_invocations(layer)
        self._write_journals(layer)
        self._write_events(layer)
        self._write_named("state", layer.states)
        self._write_named("promise", layer.promises)
        self._write_keys(layer)
        self._write_timers(layer)
        self._write_outboxes(layer)
        self._write_deployments(layer)

    def _write_invocations(self, layer: Layer) -> None:
        rows = layer.invocations
        self._delete("invocation", ("seq",), ((seq,) for seq in _gone(rows)))
        self._put("invocation", (self._invocation(seq, row) for seq, row in _kept(rows)))
        self._delete("invocation_id", ("id",), ((key,) for key in _gone(layer.ids)))
        self._put("invocation_id", (self._number((key,), seq) for key, seq in _kept(layer.ids)))

    def _invocation(self, seq: int, row: Invocation) -> Row:
        partition, blob = self._partition, encode(row)
        return (partition, seq, int(row.status), row.expires_at_ms, blob, row_crc((partition, seq), blob))

    def _write_journals(self, layer: Layer) -> None:
        self._delete("journal", ("seq",), ((seq,) for seq in _in_order(layer.dropped_journals)))
        self._put("journal", (self._row((seq, chunk.first), encode(chunk)) for seq, chunk in _kept(layer.chunks)))

    def _write_events(self, layer: Layer) -> None:
        self._delete("event", ("seq", "number"), _gone(layer.events))
        self._put("event", (self._row(key, encode(event)) for key, event in _kept(layer.events)))

    def _write_named(self, table: str, overlays: Mapping[ObjectKey, Overlay[V]]) -> None:
        places = _in_order(overlays)
        self._delete(table, ("service", "key"), (place for place in places if overlays[place].hides))
        gone = ((*place, name) for place in places for name in _gone(overlays[place].values))
        self._delete(table, ("service", "key", "name"), gone)
        self._put(
            table,
            (
                self._row((*place, name), value if isinstance(value, bytes) else encode(value))
                for place in places
                for name, value in _kept(overlays[place].values)
            ),
        )

    def _write_keys(self, layer: Layer) -> None:
        self._delete("key_queue", ("service", "key"), _gone(layer.key_queues))
        self._put("key_queue", (self._row(place, encode(queue)) for place, queue in _kept(layer.key_queues)))
        self._delete("inbox", ("service", "key", "position"), _gone(layer.inbox))
        self._put("inbox", (self._number(place, seq) for place, seq in _kept(layer.inbox)))

    def _write_timers(self, layer: Layer) -> None:
        timers = layer.timers.rows
        self._delete("timer", ("wake_at_ms", "seq", "completion_id"), _gone(timers))
        self._put("timer", (self._row(key, encode(timer)) for key, timer in _kept(timers)))

    def _write_deployments(self, layer: Layer) -> None:
        self._delete("deployment", ("id",), ((key,) for key in _gone(layer.deployments)))
        self._put("deployment", (self._row((key,), encode(row)) for key, row in _kept(layer.deployments)))

    def _write_outboxes(self, layer: Layer) -> None:
        for target, outbox in sorted(layer.outboxes.items()):
            if outbox.dropped_to >= 0:
                self._execute(
                    "DELETE FROM outbox WHERE partition = ? AND target = ? AND outbox_seq <= ?",
                    (self._partition, target, outbox.dropped_to),
                )
            messages = outbox.messages
            self._put("outbox", (self._row((target, number), encode(messages[number])) for number in messages))

    def _row(self, key: Key, blob: bytes) -> Row:
        place = (self._partition, *key)
        return (*place, blob, row_crc(place, blob))

    def _number(self, key: Key, number: int) -> Row:
        row = (self._partition, *key, number)
        return (*row, row_crc(row))

    def _put(self, table: str, rows: Iterable[Row]) -> None:
        for some in _slices(rows):
            query = _insert(table, len(some[0]), len(some))
            self._execute(query, [value for row in some for value in row])

    def _delete(self, table: str, columns: tuple[str, ...], keys: Iterable[Row]) -> None:
        for some in _slices(keys):
            query = _delete(table, columns, len(some))
            self._execute(query, [self._partition, *(value for key in some for value in key)])


@cache
def _insert(table: str, columns: int, rows: int) -> str:
    return f"INSERT OR REPLACE INTO {table} VALUES {_marks(columns, rows)}"


@cache
def _delete(table: str, columns: tuple[str, ...], rows: int) -> str:
    return f"DELETE FROM {table} WHERE partition = ? AND ({','.join(columns)}) IN (VALUES {_marks(len(columns), rows)})"


def _marks(columns: int, rows: int) -> str:
    return ",".join(["(" + ",".join("?" * columns) + ")"] * rows)


def _slices(rows: Iterable[Row]) -> Iterator[list[Row]]:
    left = iter(rows)
    while some := list(islice(left, _ROWS)):
        yield some


def _gone(rows: Mapping[K, V | None]) -> list[K]:
    return _in_order([key for key, row in rows.items() if row is None])


def _kept(rows: Mapping[K, V | None]) -> Iterator[tuple[K, V]]:
    for key in _in_order(rows):
        row = rows[key]
        if row is not None:
            yield key, row


def _in_order(keys: Iterable[K]) -> list[K]:
    """Sorted as the B-tree is, so that a page is visited once; in runs, merged in pairs, to let the loop in between."""
    left = iter(keys)
    runs: list[list[K]] = []
    while run := sorted(islice(left, _RUN)):
        runs.append(run)
    while len(runs) > 1:
        pairs = [runs[at : at + 2] for at in range(0, len(runs), 2)]
        runs = [sorted(pair[0] + pair[1]) if len(pair) == 2 else pair[0] for pair in pairs]
    return runs[0] if runs else []
