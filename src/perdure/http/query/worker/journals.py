"""The tables `sys_journal` and `sys_journal_events`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias, cast

import msgspec
import pyarrow as pa

from perdure.http.query.messages import Need, Rows
from perdure.http.query.worker.building import Columns, Known
from perdure.http.query.worker.entries import Workflows, entry_json, entry_lite_json, entry_type, is_command
from perdure.http.query.worker.invocations import awaited
from perdure.model.ids import format_invocation_id, partition_key
from perdure.model.journal import Completion, Entry, Signal
from perdure.model.records import AttemptError
from perdure.store.codec import decode_chunk, decode_event, decode_invocation
from perdure.store.rows import Event, EventKind
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
            self._ids |= _ids(rows)
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
class Happened:
    """One event of an invocation."""

    invocation_id: bytes
    id: str
    event: Event


_TYPES = {EventKind.ATTEMPT_FAILED: "TransientError", EventKind.PAUSED: "Paused", EventKind.SUSPENDED: "Suspended"}
_EVENTS: Mapping[str, Callable[[Happened], object]] = MappingProxyType(
    {
        "partition_key": lambda happened: partition_key(happened.invocation_id),
        "id": lambda happened: happened.id,
        "after_journal_entry_index": lambda happened: happened.event.after,
        "appended_at": lambda happened: happened.event.at_ms,
        "event_type": lambda happened: _TYPES[happened.event.kind],
        "event_json": lambda happened: msgspec.json.encode(_event_json(happened.event)).decode(),
    }
)


class EventTable:
    """Needs the invocations first, and then their events: an event does not say whose it is by id."""

    def __init__(self, need: Need, known: Known) -> None:
        self._columns = Columns(need, _EVENTS)
        self._ids: dict[tuple[int, int], bytes] = {}

    def take(self, rows: Rows) -> None:
        if rows.source == "invocation":
            self._ids |= _ids(rows)
            return
        found: list[Happened] = []
        for stored in rows.rows:
            partition, seq, number, row, crc = cast("tuple[int, int, int, bytes, int]", stored)
            invocation_id = self._ids[partition, seq]
            event = decode_event(row, crc, (partition, seq, number))
            found.append(Happened(invocation_id, format_invocation_id(invocation_id), event))
        self._columns.extend(found)

    def finish(self) -> list[pa.RecordBatch]:
        return self._columns.finish()


def _ids(rows: Rows) -> dict[tuple[int, int], bytes]:
    """By (partition, seq)."""
    found: dict[tuple[int, int], bytes] = {}
    for partition, seq, row, crc in rows.rows:
        place = (cast(int, partition), cast(int, seq))
        found[place] = decode_invocation(row, crc, place).id
    return found


def _event_json(event: Event) -> dict[str, object]:
    shown: dict[str, object] = {"ty": _TYPES[event.kind]}
    if event.awaiting is not None:
        shown["awaiting_on"] = awaited(event.awaiting)
    if event.error is not None:
        error = _error_json(event.error)
        shown |= {"last_failure": error} if event.kind is EventKind.PAUSED else error
    return shown


def _error_json(error: AttemptError) -> dict[str, object]:
    """What is not known is left out."""
    shown: dict[str, object] = {"error_code": error.code, "error_message": error.message}
    further = {
        "error_stacktrace": error.stacktrace or None,
        "restate_doc_error_code": error.doc_code or None,
        "related_command_index": error.command_index,
        "related_command_name": error.command_name,
        "related_command_type": error.command_type,
    }
    return shown | {name: value for name, value in further.items() if value is not None}
