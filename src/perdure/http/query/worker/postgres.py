"""Answers in the messages of the PostgreSQL wire: a description of the columns, and one message for each row."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pyarrow as pa
import pyarrow.types as t

from perdure.http.query.messages import Answer
from perdure.http.query.worker.encoding import Parts
from perdure.http.query.worker.values import timestamps

TEXT, BINARY = 0, 1
_NULL = struct.pack("!i", -1)
_2000_US = 946_684_800_000_000
"""PostgreSQL counts from the year 2000. Unix time in µs."""
_US_PER = {"s": (1_000_000, 1), "ms": (1_000, 1), "us": (1, 1), "ns": (1, 1_000)}
Encode = Callable[[object], bytes]


class PostgresEncoder:
    """`formats`: as a client's Bind gives them: none (all text), one for all columns, or one each."""

    def __init__(self, schema: pa.Schema, formats: list[int], bytes_max: int) -> None:
        self._parts = Parts(bytes_max)
        kinds = [_Kind(field.type) for field in schema]
        if len(formats) not in (0, 1, len(kinds)):
            raise ValueError(f"{len(formats)} formats for {len(kinds)} columns")
        self._formats = (formats or [TEXT]) * len(kinds) if len(formats) < 2 else formats
        self._kinds = kinds
        self._shape = _row_description(schema.names, kinds, self._formats)
        self._head = struct.Struct("!ciH")

    def add(self, batch: pa.RecordBatch) -> None:
        columns = [
            kind.encoded(column, form)
            for kind, column, form in zip(self._kinds, batch.columns, self._formats, strict=True)
        ]
        rows = []
        for cells in zip(*columns, strict=True) if columns else [()] * batch.num_rows:
            body = b"".join(cells)
            rows.append(self._head.pack(b"D", 6 + len(body), len(cells)) + body)
        self._parts.add(b"".join(rows), len(rows))

    def answer(self) -> Answer:
        return Answer(self._parts.joined(), self._parts.rows, self._shape)


def _row_description(names: list[str], kinds: list[_Kind], formats: list[int]) -> bytes:
    fields = b"".join(
        name.encode().replace(b"\0", b"") + b"\0" + struct.pack("!ihihih", 0, 0, kind.oid, kind.size, -1, form)
        for name, kind, form in zip(names, kinds, formats, strict=True)
    )
    return b"T" + struct.pack("!iH", 6 + len(fields), len(names)) + fields


class _Kind:
    """PostgreSQL's type for one of Arrow's, and how its values are written."""

    def __init__(self, arrow: pa.DataType) -> None:
        self._arrow = arrow
        self.oid, self.size = _type_of(arrow)

    def encoded(self, column: pa.Array, form: int) -> list[bytes]:
        """Each value with its length in front."""
        arrow = self._arrow
        if t.is_timestamp(arrow) and form == TEXT:
            return [_NULL if each is None else _with_length(str(each).encode()) for each in _moments(column)]
        if t.is_timestamp(arrow) or t.is_duration(arrow):
            column = column.cast(pa.int64())
        elif t.is_dictionary(arrow):
            column = column.dictionary_decode()
        encode = _binary(self.oid, arrow) if form == BINARY else _text(arrow)
        return [_NULL if value is None else _with_length(encode(value)) for value in column.to_pylist()]


def _with_length(cell: bytes) -> bytes:
    return struct.pack("!i", len(cell)) + cell


def _moments(column: pa.Array) -> list[object]:
    if column.type.unit == "ns":  # there it is more than there is
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    return timestamps(column, "%Y-%m-%d %H:%M:%S" + ("" if column.type.tz is None else "+00"))


_BOOL, _BYTEA, _INT8, _INT2, _INT4, _TEXT_OID, _FLOAT4, _FLOAT8 = 16, 17, 20, 21, 23, 25, 700, 701
_DATE, _TIMESTAMP, _TIMESTAMPTZ, _INTERVAL, _NUMERIC, _INT8S, _TEXTS = 1082, 1114, 1184, 1186, 1700, 1016, 1009


def _type_of(arrow: pa.DataType) -> tuple[int, int]:
    """(oid, size in bytes or -1)."""
    if t.is_boolean(arrow):
        return _BOOL, 1
    if t.is_uint64(arrow) or t.is_decimal(arrow):
        return _NUMERIC, -1
    if t.is_integer(arrow):
        if arrow.bit_width == 64 or t.is_uint32(arrow):
            return _INT8, 8
        return (_INT4, 4) if arrow.bit_width == 32 or t.is_uint16(arrow) else (_INT2, 2)
    if t.is_floating(arrow):
        return (_FLOAT8, 8) if arrow.bit_width == 64 else (_FLOAT4, 4)
    if t.is_binary(arrow) or t.is_large_binary(arrow) or t.is_fixed_size_binary(arrow):
        return _BYTEA, -1
    if t.is_timestamp(arrow):
        return (_TIMESTAMP if arrow.tz is None else _TIMESTAMPTZ), 8
    if t.is_duration(arrow):
        return _INTERVAL, 16
    if t.is_date(arrow):
        return _DATE, 4
    if t.is_list(arrow) or t.is_large_list(arrow):
        return (_INT8S if t.is_integer(arrow.value_type) else _TEXTS), -1
    return _TEXT_OID, -1


# --- as text ------------------------------------------------------------------------------------------------------------------


def _text(arrow: pa.DataType) -> Encode:
    if t.is_boolean(arrow):
        return lambda value: b"t" if value else b"f"
    if t.is_duration(arrow):
        return lambda value: _interval_text(_microseconds(value, arrow))
    return _plain_text


def _plain_text(value: object) -> bytes:
    match value:
        case bytes():
            return b"\\x" + value.hex().encode()
        case list():
            return b"{" + b",".join(_in_array(each) for each in value) + b"}"
        case _:
            # Text there holds no NUL.
            return str(value).replace("\0", "").encode()


def _in_array(value: object) -> bytes:
    if value is None:
        return b"NULL"
    if isinstance(value, str):
        return b'"' + value.replace("\\", "\\\\").replace('"', '\\"').encode() + b'"'
    return _plain_text(value)


def _interval_text(microseconds: int) -> bytes:
    sign = "-" if microseconds < 0 else ""
    seconds, fraction = divmod(abs(microseconds), 1_000_000)
    hours, rest = divmod(seconds, 3600)
    text = f"{sign}{hours:02}:{rest // 60:02}:{rest % 60:02}"
    return (text + (f".{fraction:06}".rstrip("0") if fraction else "")).encode()


def _microseconds(value: object, arrow: pa.DataType) -> int:
    assert isinstance(value, int)
    times, over = _US_PER[arrow.unit]
    return value * times // over


# --- as bytes -----------------------------------------------------------------------------------------------------------------


def _binary(oid: int, arrow: pa.DataType) -> Encode:
    """Errors: ValueError for a type of which only text is given."""
    match oid:
        case 16:
            return lambda value: b"\1" if value else b"\0"
        case 17:
            return lambda value: value if isinstance(value, bytes) else b""
        case 20 | 21 | 23 | 700 | 701:
            pack = struct.Struct({20: "!q", 21: "!h", 23: "!i", 700: "!f", 701: "!d"}[oid]).pack
            return lambda value: pack(value)
        case 25:
            return _plain_text
        case 1114 | 1184:
            return lambda value: struct.pack("!q", _microseconds(value, arrow) - _2000_US)
        case 1186:
            return lambda value: struct.pack("!qii", _microseconds(value, arrow), 0, 0)
        case 1700:
            return _numeric
        case 1009 | 1016:
            return lambda value: _array(value, oid)
        case _:
            raise ValueError(f"columns of type {arrow} are given as text only")


def _numeric(value: object) -> bytes:
    """A whole number in digits of base 10,000."""
    number = int(str(value))
    digits: list[int] = []
    rest = abs(number)
    while rest:
        rest, digit = divmod(rest, 10_000)
        digits.insert(0, digit)
    weight = max(len(digits) - 1, 0)
    return struct.pack(f"!hhHh{len(digits)}h", len(digits), weight, 0x4000 if number < 0 else 0, 0, *digits)


def _array(value: object, oid: int) -> bytes:
    assert isinstance(value, list)
    element = _INT8 if oid == _INT8S else _TEXT_OID
    parts = [struct.pack("!iii", 1 if value else 0, int(None in value), element)]
    if value:
        parts.append(struct.pack("!ii", len(value), 1))
    for each in value:
        if each is None:
            parts.append(_NULL)
            continue
        parts.append(_with_length(struct.pack("!q", each) if element == _INT8 else _plain_text(each)))
    return b"".join(parts)
