"""What `perdure log dump` prints: one line per record, for people or as JSON.

Reads and changes nothing. A payload is `{"bytes": n, "text": …}` where it is printable UTF-8, else `{"bytes": n, "base64":
…}`; a line for people shortens it. Nothing that a user sent reaches the terminal raw, and salts are never shown.
"""

from __future__ import annotations

import base64
import enum
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import msgspec

from perdure.env.files import Files
from perdure.log.errors import LogCorrupt
from perdure.log.format import segment_number
from perdure.log.read import StoredBatch, read_batches
from perdure.log.scan import SegmentReader
from perdure.model.ids import INVOCATION_ID_BYTES, format_invocation_id
from perdure.model.target import Target

Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"

_SHOWN_CHARACTERS = 120


def dump(files: Files, directory: Path, *, from_lsn: int = 1, as_json: bool = False) -> Iterator[str]:
    """The records from `from_lsn` on, as far as the log can be read.

    Errors: LogCorrupt at a place where a segment that is followed by another breaks off, LogFormatUnknown, RecordUnknown.
    """
    for fact in records(files, directory, from_lsn=from_lsn):
        yield msgspec.json.encode(fact).decode() if as_json else _line(fact)


def records(files: Files, directory: Path, *, from_lsn: int = 1) -> Iterator[dict[str, Plain]]:
    """One dict per LSN: lsn, segment, offset, type, and the record's fields (`type` is `void` for an unused LSN)."""
    names = [name for name in files.names(directory) if segment_number(name) is not None]
    for name in names:
        reader = SegmentReader(files, directory / name)
        try:
            for batch in read_batches(reader, from_lsn, 1 << 64):
                yield from _facts(batch, from_lsn)
            if name != names[-1] and reader.ending is None:
                raise LogCorrupt(name, reader.stop_offset, reader.stop_reason)
        finally:
            reader.close()


def _facts(batch: StoredBatch, from_lsn: int) -> Iterator[dict[str, Plain]]:
    for lsn, slot in enumerate(batch.slots, batch.first_lsn):
        if lsn < from_lsn:
            continue
        fact: dict[str, Plain] = {"lsn": lsn, "segment": batch.segment, "offset": batch.offset}
        if slot is None:
            fact["type"] = "void"
        else:
            fact["type"] = type(slot).__name__
            for field in slot.__struct_fields__:
                fact[field] = _plain(field, getattr(slot, field))
        yield fact


def _plain(name: str, value: object) -> Plain:
    """A field as JSON can carry it: ids in their text form, payloads shown safely, structs as dicts with their type."""
    match value:
        case Target():
            return str(value)
        case msgspec.Struct():
            fields: dict[str, Plain] = {"type": type(value).__name__}
            for field in value.__struct_fields__:
                shown = _plain(field, getattr(value, field))
                if shown is not None and shown != "":
                    fields[field] = shown
            return fields
        case bytes():
            if name == "invocation_id" and len(value) == INVOCATION_ID_BYTES:
                return format_invocation_id(value)
            return _payload(value)
        case enum.Enum():
            return value.name
        case list() | tuple():
            return [_plain(name, item) for item in value]
        case dict():
            return {str(key): _plain(str(key), item) for key, item in value.items()}
        case None | bool() | int() | float() | str():
            return value
        case _:
            return repr(value)


def _payload(value: bytes) -> Plain:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    if text.isprintable():
        return {"bytes": len(value), "text": text}
    return {"bytes": len(value), "base64": base64.b64encode(value).decode()}


def _line(fact: dict[str, Plain]) -> str:
    head = f"{fact['lsn']:>10}  {fact['type']:<15}"
    fields = {name: value for name, value in fact.items() if name not in ("lsn", "segment", "offset", "type")}
    return f"{head} {_pairs({name: value for name, value in fields.items() if value is not None})}".rstrip()


def _short(value: Plain) -> str:
    if isinstance(value, dict):
        return _short_dict(value)
    if isinstance(value, list):
        return "[" + ", ".join(map(_short, value)) + "]"
    if isinstance(value, str) and (not value or " " in value or not value.isprintable()):
        return repr(value)
    return str(value)


def _short_dict(value: dict[str, Plain]) -> str:
    match value:
        case {"bytes": int(count), "text": str(text), **rest} if not rest:
            return repr(text) if len(text) <= _SHOWN_CHARACTERS else f"({count} bytes: {text[:_SHOWN_CHARACTERS]!r}…)"
        case {"bytes": int(count), "base64": str(text), **rest} if not rest:
            return f"({count} bytes: {text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + '…'})"
        case {"type": str(kind), **fields}:
            return f"{kind}({_pairs(fields)})"
        case _:
            return "{" + _pairs(value) + "}"


def _pairs(fields: dict[str, Plain]) -> str:
    return " ".join(f"{name}={_short(item)}" for name, item in fields.items())
