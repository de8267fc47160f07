"""Writes a frozen layer to SQLite, in one transaction, together with the LSN it stands for.

Runs on the executor's lane "store", beside a busy event loop: rows go out a hundred to a statement, because each statement
takes and drops the interpreter lock once (a row at a time starves behind the loop).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias, TypeVar

import apsw

from perdure.store.codec import crc32, encode, id_crc, number_crc
from perdure.store.errors import CheckpointFailed
from perdure.store.layer import Layer, ObjectKey, Overlay
from perdure.store.rows import Invocation

Value: TypeAlias = int | str | bytes
Row: TypeAlias = Sequence[Value]
V = TypeVar("V")
_ROWS = 100
"""Rows in one statement."""


def write_checkpoint(connection: apsw.Connection, lsn: int, layers: Sequence[Layer]) -> int:
    """Commit what the layers (one per partition) hold; returns `lsn`. Errors: CheckpointFailed, nothing is written then."""
    try:
        with connection:
            for partition, layer in enumerate(layers):
                _LayerWriter(connection, partition).write(layer)
            connection.execute("UPDATE store SET value = ? WHERE name = 'applied_lsn'", (lsn,))
    except apsw.Error as error:
        raise CheckpointFailed(
            f"The checkpoint at LSN {lsn} could not be written: {type(error).__name__}: {error}.",
            "Free space or repair the disk, then start again: the log still has everything.",
        ) from error
    return lsn


class _LayerWriter:
    def __init__(self, connection: apsw.Connection, partition: int) -> None:
        self._connection = connection
        self._partition = partition

    def write(self, layer: Layer) -> None:
        if layer.meta is not None:
            self._put("partition_meta", [self._blob(encode(layer.meta))])
        self._write_invocations(layer)
        self._write_journals(layer)
        self._write_named("state", layer.states)
        self._write_named("promise", layer.promises)
        self._write_keys(layer)
        self._write_timers(layer)
        self._write_outboxes(layer)

    def _blob(self, blob: bytes, *key: Value) -> Row:
        return (self._partition, *key, blob, crc32(blob))

    def _write_invocations(self, layer: Layer) -> None:
        rows = sorted(layer.invocations.items())
        self._delete("invocation", ("seq",), [(seq,) for seq, row in rows if row is None])
        self._put("invocation", [self._invocation(seq, row) for seq, row in rows if row is not None])
        ids = sorted(layer.ids.items())
        self._delete("invocation_id", ("id",), [(key,) for key, seq in ids if seq is None])
        self._put(
            "invocation_id", [(self._partition, key, seq, id_crc(key, seq)) for key, seq in ids if seq is not None]
        )

    def _invocation(self, seq: int, row: Invocation) -> Row:
        blob = encode(row)
        return (self._partition, seq, int(row.status), row.expires_at_ms, blob, crc32(blob))

    def _write_journals(self, layer: Layer) -> None:
        self._delete("journal", ("seq",), [(seq,) for seq in sorted(layer.dropped_journals)])
        chunks = sorted(layer.chunks.items())
        self._put("journal", [self._blob(encode(chunk), seq, chunk.first) for seq, chunk in chunks])

    def _write_named(self, table: str, overlays: Mapping[ObjectKey, Overlay[V]]) -> None:
        cleared: list[Row] = []
        gone: list[Row] = []
        rows: list[Row] = []
        for (service, key), overlay in sorted(overlays.items()):
            if overlay.hides:
                cleared.append((service, key))
            for name, value in sorted(overlay.values.items()):
                if value is None:
                    gone.append((service, key, name))
                else:
                    blob = value if isinstance(value, bytes) else encode(value)
                    rows.append(self._blob(blob, service, key, name))
        self._delete(table, ("service", "key"), cleared)
        self._delete(table, ("service", "key", "name"), gone)
        self._put(table, rows)

    def _write_keys(self, layer: Layer) -> None:
        queues = sorted(layer.key_queues.items())
        self._delete("key_queue", ("service", "key"), [place for place, queue in queues if queue is None])
        self._put("key_queue", [self._blob(encode(queue), *place) for place, queue in queues if queue is not None])
        inbox = sorted(layer.inbox.items())
        self._delete("inbox", ("service", "key", "position"), [place for place, seq in inbox if seq is None])
        waiting = [(self._partition, *place, seq, number_crc(place[2], seq)) for place, seq in inbox if seq is not None]
        self._put("inbox", waiting)

    def _write_timers(self, layer: Layer) -> None:
        timers = sorted(layer.timers.rows.items())
        self._delete("timer", ("wake_at_ms", "seq", "completion_id"), [key for key, timer in timers if timer is None])
        self._put("timer", [self._blob(encode(timer), *key) for key, timer in timers if timer is not None])

    def _write_outboxes(self, layer: Layer) -> None:
        for target, outbox in sorted(layer.outboxes.items()):
            if outbox.dropped_to >= 0:
                self._connection.execute(
                    "DELETE FROM outbox WHERE partition = ? AND target = ? AND outbox_seq <= ?",
                    (self._partition, target, outbox.dropped_to),
                )
            messages = sorted(outbox.messages.items())
            self._put("outbox", [self._blob(encode(message), target, number) for number, message in messages])

    def _put(self, table: str, rows: Sequence[Row]) -> None:
        for some in _slices(rows):
            marks = "(" + ",".join("?" * len(some[0])) + ")"
            query = f"INSERT OR REPLACE INTO {table} VALUES " + ",".join([marks] * len(some))
            self._connection.execute(query, [value for row in some for value in row])

    def _delete(self, table: str, columns: tuple[str, ...], keys: Sequence[Row]) -> None:
        for some in _slices(keys):
            marks = "(" + ",".join("?" * len(columns)) + ")"
            names = ",".join(columns)
            query = f"DELETE FROM {table} WHERE partition = ? AND ({names}) IN (VALUES {','.join([marks] * len(some))})"
            self._connection.execute(query, [self._partition, *(value for key in some for value in key)])


def _slices(rows: Sequence[Row]) -> Iterable[Sequence[Row]]:
    return (rows[at : at + _ROWS] for at in range(0, len(rows), _ROWS))
