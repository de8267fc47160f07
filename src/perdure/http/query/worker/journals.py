"""The tables `sys_journal` and `sys_journal_events`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias, cast

import msgspec
import pyarrow as pa

from perdure.http.query.messages import Need, Rows
from perdure.http.query.worker.building import Columns, Known
from perdure.http.query.worker.entries import Workflows, entry_json, entry_lite_json, entry_type, is_command
from perdure.http.query.worker.invocations import Seen, seen_of
from perdure.model.ids import format_invocation_id, partition_key
from perdure.model.journal import Completion, Entry, Signal
from perdure.store.codec import decode_chunk, decode_invocation
from perdure.store.rows import Status
from perdure.wire.commands import encode_command
from perdure.wire.notifications import encode_notification

JOURNAL_VERSION = 2
FRAME_HEADER_BYTES = 8
_PROTOCOL = 6


@dataclass(slots=True)
class Line:
    """One entry of a journal."""

    invocation_id: bytes
    id: str
    index: int
    entry: Entry
    at_ms: int
    workflows: Workflows


def raw(line: Line) -> bytes:
    """The payload of the message that this entry is on the wire to a deployment."""
    entry = line.entry
    if isinstance(entry, Completion | Signal):
        return encode_notification(entry, _PROTOCOL)[FRAME_HEADER_BYTES:]
    return encode_command(entry, _PROTOCOL)[FRAME_HEADER_BYTES:]


_Columns: TypeAlias = Mapping[str, Callable[[Line], object]]
_JOURNAL: _Columns = MappingProxyType(
    {
        "partition_key": lambda line: partition_key(line.invocation_id),
        "id": lambda line: line.id,
        "index": lambda line: line.index,
        "entry_type": lambda line: entry_type(line.entry),
        "name": lambda line: getattr(line.entry, "name", "") if is_command(line.entry) else None,
        "raw": raw,
        "raw_length": lambda line: len(raw(line)),
        "version": lambda line: JOURNAL_VERSION,
        "entry_json": lambda line: entry_json(line.entry, line.workflows),
        "entry_lite_json": lambda line: entry_lite_json(line.entry, line.workflows),
        "appended_at": lambda line: line.at_ms,
    }
)


class JournalTable:
    """Needs the invocations first, and then their journals: a chunk does not say whose it is by id."""

    def __init__(self, need: Need, known: Known) -> None:
        self._columns = Columns(need, _JOURNAL)
        self._workflows = frozenset(each.name for each in known.facts.services if each.kind == "workflow")
        self._ids: dict[tuple[int, int], bytes] = {}

    def take(self, rows: Rows) -> None:
        if rows.source == "invocation":
            for partition, seq, row, crc in rows.rows:
                place = (cast(int, partition), cast(int, seq))
                self._ids[place] = decode_invocation(row, crc, place).id
            return
        for stored in rows.rows:
            partition, seq, first, row, crc = cast("tuple[int, int, int, bytes, int]", stored)
            chunk = decode_chunk(row, crc, (partition, seq, first))
            invocation_id = self._ids[partition, seq]
            text = format_invocation_id(invocation_id)
            entries = enumerate(zip(chunk.entries, chunk.times, strict=True), chunk.first)
            self._columns.extend(
                [Line(invocation_id, text, index, entry, at_ms, self._workflows) for index, (entry, at_ms) in entries]
            )

    def finish(self) -> list[pa.RecordBatch]:
        return self._columns.finish()


@dataclass(slots=True)
class Event:
    seen: Seen
    type: str
    at_ms: int
    json: dict[str, object]


_EVENTS: Mapping[str, Callable[[Event], object]] = MappingProxyType(
    {
        "partition_key": lambda event: partition_key(event.seen.row.id),
        "id": lambda event: event.seen.id,
        "after_journal_entry_index": lambda event: max(event.seen.row.journal_length - 1, 0),
        "appended_at": lambda event: event.at_ms,
        "event_type": lambda event: event.type,
        "event_json": lambda event: msgspec.json.encode(event.json).decode(),
    }
)


class EventTable:
    """As far as an invocation's row remembers: its last failure while it has not gone on since, and why it is paused."""

    def __init__(self, need: Need, known: Known) -> None:
        self._columns = Columns(need, _EVENTS)
        self._known = known

    def take(self, rows: Rows) -> None:
        for stored in rows.rows:
            self._columns.extend(list(_events(seen_of(stored, self._known))))

    def finish(self) -> list[pa.RecordBatch]:
        return self._columns.finish()


def _events(seen: Seen) -> Iterator[Event]:
    row = seen.row
    failure: dict[str, object] | None = None
    if seen.error is not None:
        error = seen.error
        failure = {
            "ty": "TransientError",
            "error_code": error.code,
            "error_message": error.message,
            "error_stacktrace": error.stacktrace,
            "restate_doc_error_code": error.doc_code,
        }
        related = {
            "related_command_index": error.command_index,
            "related_command_name": error.command_name,
            "related_command_type": error.command_type,
        }
        failure |= {name: value for name, value in related.items() if value is not None}
        yield Event(seen, "TransientError", row.modified_at_ms, failure)
    if row.status is Status.PAUSED:
        last = {name: value for name, value in (failure or {}).items() if name != "ty"}
        paused: dict[str, object] = {"ty": "Paused"} | ({"last_failure": last} if last else {})
        yield Event(seen, "Paused", row.modified_at_ms, paused)
