"""Columns of an answer as values that JSON has."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pyarrow as pa
import pyarrow.types as t

_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}


def json_values(column: pa.Array) -> list[object]:
    """One value per row; None for what is null."""
    kind = column.type
    if t.is_timestamp(kind):
        return [None if each is None else timestamp(each, kind) for each in column.cast(pa.int64()).to_pylist()]
    if t.is_duration(kind):
        return [None if each is None else duration(each, kind) for each in column.cast(pa.int64()).to_pylist()]
    if t.is_dictionary(kind):
        return json_values(column.dictionary_decode())
    return [_json(each) for each in column.to_pylist()]


def timestamp(value: int, kind: pa.DataType) -> str:
    """`2026-11-20T15:50:43.493Z`; without the Z where no time zone is meant."""
    seconds, fraction = divmod(value, _PER_SECOND[kind.unit])
    text = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    digits = _DIGITS[kind.unit]
    return text + (f".{fraction:0{digits}d}" if digits else "") + ("" if kind.tz is None else "Z")


def duration(value: int, kind: pa.DataType) -> str:
    """`PT86400S`."""
    sign = "-" if value < 0 else ""
    seconds, fraction = divmod(abs(value), _PER_SECOND[kind.unit])
    part = f".{fraction:0{_DIGITS[kind.unit]}d}".rstrip("0") if fraction else ""
    return f"{sign}PT{seconds}{part}S"


def _json(value: object) -> object:
    match value:
        case bytes():
            return value.hex()
        case float() if value != value or value in (float("inf"), float("-inf")):
            return None
        case None | bool() | int() | float() | str():
            return value
        case Decimal():
            return float(value)
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return f"PT{value.total_seconds():g}S"
        case list() | tuple():
            return [_json(each) for each in value]
        case dict():
            return {str(key): _json(each) for key, each in value.items()}
        case _:
            return str(value)
