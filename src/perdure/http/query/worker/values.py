"""Columns of an answer as values that JSON has."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as t

_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}


_ZEROS = re.compile(r"\.?(?:000)+(?=Z?$)")


def json_values(column: pa.Array) -> list[object]:
    """One value per row; None for what is null."""
    kind = column.type
    if t.is_timestamp(kind):
        # As few digits behind the second as it takes, three at a time, as in Restate.
        texts = timestamps(column, "%Y-%m-%dT%H:%M:%S" + ("" if kind.tz is None else "Z"))
        return [_ZEROS.sub("", each) if isinstance(each, str) else each for each in texts]
    if t.is_duration(kind):
        return [None if each is None else duration(each, kind) for each in column.cast(pa.int64()).to_pylist()]
    if t.is_dictionary(kind):
        return json_values(column.dictionary_decode())
    values: list[object] = column.to_pylist()
    return values if _is_plain(kind) else [_json(each) for each in values]


def timestamps(column: pa.Array, pattern: str) -> list[object]:
    """In UTC, with as many digits behind the second as the unit has."""
    naive = column.cast(pa.int64()).cast(pa.timestamp(column.type.unit))
    texts: list[object] = pc.strftime(naive, pattern).to_pylist()
    return texts


def _is_plain(kind: pa.DataType) -> bool:
    """Its values are what JSON has."""
    tests = (t.is_string, t.is_large_string, t.is_string_view, t.is_integer, t.is_boolean)
    return any(test(kind) for test in tests)


def duration(value: int, kind: pa.DataType) -> str:
    """`PT86400S`; `P0D` for none, as in Restate."""
    if value == 0:
        return "P0D"
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
