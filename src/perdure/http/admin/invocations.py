"""One invocation as JSON, for a person who wants to know what it did and what it waits for.

Read from the tables as they are; nothing here changes anything. Bytes that are text are shown as text, others in base64.
"""

from __future__ import annotations

import base64
import enum
from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from perdure.model.ids import INVOCATION_ID_BYTES, format_invocation_id
from perdure.model.journal import Entry
from perdure.model.target import Target
from perdure.store.rows import Invocation, JournalChunk

Plain: TypeAlias = bool | int | float | str | list["Plain"] | dict[str, "Plain"] | None
_HIDDEN = frozenset(("request", "seed", "callers", "inbox_position"))
"""The engine's own bookkeeping."""


def described(row: Invocation, journal: JournalChunk) -> dict[str, Plain]:
    shown = _fields(row)
    shown["status"] = row.status.name.lower()
    shown["handler_kind"] = row.handler_kind.name.lower()
    shown["journal"] = [
        _entry(journal.first + index, entry, at_ms)
        for index, (entry, at_ms) in enumerate(zip(journal.entries, journal.times, strict=True))
    ]
    return shown


def _entry(index: int, entry: Entry, at_ms: int) -> Plain:
    return {"index": index, "type": type(entry).__name__, "at_ms": at_ms, **_fields(entry)}


def _fields(struct: msgspec.Struct) -> dict[str, Plain]:
    """Fields that say something; times that have not come yet are left out."""
    shown: dict[str, Plain] = {}
    for name in struct.__struct_fields__:
        value = getattr(struct, name)
        if name in _HIDDEN or value is None or (value == 0 and name.endswith("_at_ms")):
            continue
        shown[name] = _invocation_id(value) if name in ("id", "invocation_id") else _plain(value)
    return shown


def _plain(value: object) -> Plain:
    match value:
        case enum.Enum():
            return value.name.lower()
        case None | bool() | int() | float() | str():
            return value
        case bytes():
            return _text(value)
        case Target():
            return str(value)
        case msgspec.Struct():
            return dict(_fields(value))
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
    return str(value)


def _invocation_id(value: object) -> Plain:
    if isinstance(value, bytes) and len(value) == INVOCATION_ID_BYTES:
        return format_invocation_id(value)
    return _plain(value)


def _text(value: bytes) -> Plain:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        return {"base64": base64.b64encode(value).decode()}
    return text
