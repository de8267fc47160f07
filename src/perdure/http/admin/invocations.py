"""Invocations as JSON, for people who want to know what they did and what they wait for.

Read from the tables as they are; nothing here changes anything. Bytes that are text are shown as text, others in base64.
"""

from __future__ import annotations

import base64
import enum
from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from perdure.model.ids import INVOCATION_ID_BYTES, format_invocation_id
from perdure.model.journal import Entry, Failure
from perdure.model.target import Target
from perdure.node.inspection import Details, status_name
from perdure.store.rows import Invocation, Status

Plain: TypeAlias = bool | int | float | str | list["Plain"] | dict[str, "Plain"] | None
_HIDDEN = frozenset(("request", "seed", "callers", "inbox_position"))
"""The engine's own bookkeeping."""


def summary(row: Invocation) -> dict[str, Plain]:
    """One invocation of a list. What is not there (yet) is left out."""
    target = row.target
    shown: dict[str, Plain | None] = {
        "id": format_invocation_id(row.id),
        "status": status_name(row),
        "target": str(target),
        "service": target.service,
        "handler": target.handler,
        "key": target.key,
        "created_at_ms": row.created_at_ms,
        "modified_at_ms": row.modified_at_ms,
        "execute_at_ms": row.execute_at_ms or None,
        "started_at_ms": row.started_at_ms or None,
        "completed_at_ms": row.completed_at_ms or None,
        "retry_at_ms": row.retry_at_ms or None,
        "attempts": row.epoch,
        "idempotency_key": row.idempotency_key,
        "origin": None if row.origin is None else _plain(row.origin),
    }
    return {name: value for name, value in shown.items() if value is not None} | _errors(row)


def _errors(row: Invocation) -> dict[str, Plain]:
    """How it has ended, if with an error; of one that has not: how its last attempt did."""
    if row.status is not Status.COMPLETED:
        error = row.last_error
        return {} if error is None else {"last_error": {"code": error.code, "message": error.message}}
    failure = row.result
    return {"failure": {"code": failure.code, "message": failure.message}} if isinstance(failure, Failure) else {}


def described(details: Details) -> dict[str, Plain]:
    """Everything: the row, what it waits for, the journal as it is and as a timeline."""
    row, journal = details.row, details.journal
    shown = _fields(row)
    shown["status"] = status_name(row)
    shown["handler_kind"] = row.handler_kind.name.lower()
    shown["attempts"] = row.epoch
    shown = {**_errors(row), **shown}
    shown["waits_for"] = msgspec.to_builtins(details.waits_for)
    shown["timeline"] = msgspec.to_builtins(details.timeline)
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
            return shown_bytes(value)
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


def shown_bytes(value: bytes) -> Plain:
    """Text as it is, anything else in base64."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        return {"base64": base64.b64encode(value).decode()}
    return text
