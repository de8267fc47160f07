"""A small protobuf codec: as much of proto3 as the service protocol uses, driven by tables of fields.

A message is a plain struct whose attributes are declared by `message(...)`. What always holds: unknown fields are skipped;
repeated numbers are read packed or not; the last of a oneof counts; what is not well-formed raises ProtocolViolation.
Presence: an `optional` field is None when absent and written when it is not None; any other is left out at its default.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import msgspec

from perdure.wire.errors import AwaitTooDeep, ProtocolViolation

M = TypeVar("M", bound=msgspec.Struct)

NESTING_MAX = 300
"""Messages inside messages; decoding is recursive."""


class Kind(enum.Enum):
    UINT32 = enum.auto()
    UINT64 = enum.auto()
    BOOL = enum.auto()
    STRING = enum.auto()
    BYTES = enum.auto()
    MESSAGE = enum.auto()


class Field(NamedTuple):
    number: int
    name: str
    kind: Kind
    optional: bool = False
    repeated: bool = False
    of: type[msgspec.Struct] | None = None
    """The class of a MESSAGE; None: the message's own."""
    oneof: str | None = None


def uint32(
    number: int, name: str, *, optional: bool = False, repeated: bool = False, oneof: str | None = None
) -> Field:
    return Field(number, name, Kind.UINT32, optional or oneof is not None, repeated, oneof=oneof)


def uint64(number: int, name: str, *, optional: bool = False) -> Field:
    return Field(number, name, Kind.UINT64, optional)


def boolean(number: int, name: str) -> Field:
    return Field(number, name, Kind.BOOL)


def string(
    number: int, name: str, *, optional: bool = False, repeated: bool = False, oneof: str | None = None
) -> Field:
    return Field(number, name, Kind.STRING, optional or oneof is not None, repeated, oneof=oneof)


def raw(number: int, name: str, *, repeated: bool = False, oneof: str | None = None) -> Field:
    return Field(number, name, Kind.BYTES, oneof is not None, repeated, oneof=oneof)


def nested(
    number: int, name: str, of: type[msgspec.Struct] | None, *, repeated: bool = False, oneof: str | None = None
) -> Field:
    return Field(number, name, Kind.MESSAGE, not repeated, repeated, of, oneof)


class _Table(NamedTuple):
    fields: tuple[Field, ...]
    """In the order of their numbers, as they are written."""
    by_number: dict[int, Field]
    rivals: dict[str, tuple[str, ...]]
    """By the name of a field: the others of its oneof."""


_TABLES: dict[type[msgspec.Struct], _Table] = {}


def message(*fields: Field) -> Callable[[type[M]], type[M]]:
    """Declare the fields of a struct; each is one of its attributes."""

    def declare(cls: type[M]) -> type[M]:
        resolved = tuple(
            sorted(f._replace(of=cls) if f.kind is Kind.MESSAGE and f.of is None else f for f in fields),
        )
        assert {f.name for f in resolved} == set(cls.__struct_fields__), cls
        rivals = {
            f.name: tuple(other.name for other in resolved if other.oneof == f.oneof and other is not f)
            for f in resolved
            if f.oneof is not None
        }
        _TABLES[cls] = _Table(resolved, {f.number: f for f in resolved}, rivals)
        return cls

    return declare


# --- writing ------------------------------------------------------------------------------------------------------------


def encode(value: msgspec.Struct) -> bytes:
    out = bytearray()
    for field in _TABLES[type(value)].fields:
        content = getattr(value, field.name)
        if field.repeated:
            if content and field.kind in _NUMBERS:
                packed = bytearray()
                for number in content:
                    _write_varint(packed, number)
                _write_bytes(out, field.number, packed)
            else:
                for item in content:
                    _write_bytes(out, field.number, _content(field.kind, item))
        elif content is None or (not field.optional and not content):
            continue
        elif field.kind in _NUMBERS:
            _write_varint(out, field.number << 3)
            _write_varint(out, int(content))
        else:
            _write_bytes(out, field.number, _content(field.kind, content))
    return bytes(out)


_NUMBERS = (Kind.UINT32, Kind.UINT64, Kind.BOOL)


def _content(kind: Kind, value: object) -> bytes:
    if kind is Kind.STRING:
        assert isinstance(value, str)
        return value.encode()
    if kind is Kind.BYTES:
        assert isinstance(value, bytes)
        return value
    assert isinstance(value, msgspec.Struct)
    return encode(value)


def _write_bytes(out: bytearray, number: int, content: bytes | bytearray) -> None:
    _write_varint(out, number << 3 | 2)
    _write_varint(out, len(content))
    out += content


def _write_varint(out: bytearray, value: int) -> None:
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


# --- reading ------------------------------------------------------------------------------------------------------------


def decode(cls: type[M], data: bytes, *, depth: int = 0) -> M:
    """Errors: ProtocolViolation; AwaitTooDeep beyond NESTING_MAX."""
    if depth > NESTING_MAX:
        raise AwaitTooDeep(f"messages are nested more than {NESTING_MAX} deep.")
    table = _TABLES[cls]
    values: dict[str, object] = {}
    position, end = 0, len(data)
    while position < end:
        tag, position = _read_varint(data, position)
        number, wire = tag >> 3, tag & 7
        content: int | bytes
        if wire == 0:
            content, position = _read_varint(data, position)
        elif wire == 2:
            length, position = _read_varint(data, position)
            content = data[position : position + length]
            position += length
        elif wire in (1, 5):
            content = b""
            position += 8 if wire == 1 else 4
        else:
            raise ProtocolViolation(f"{cls.__name__}: wire type {wire} in field {number}.")
        if position > end:
            raise ProtocolViolation(f"{cls.__name__}: field {number} reaches beyond the message.")
        if not number:
            raise ProtocolViolation(f"{cls.__name__}: a field without a number.")
        field = table.by_number.get(number)
        if field is not None:
            _take(cls, table, values, field, wire, content, depth)
    return cls(**values)


def _take(
    cls: type[msgspec.Struct],
    table: _Table,
    values: dict[str, object],
    field: Field,
    wire: int,
    content: int | bytes,
    depth: int,
) -> None:
    kind = field.kind
    if field.repeated:
        items = values.setdefault(field.name, [])
        assert isinstance(items, list)
        if wire == 2 and kind in _NUMBERS:
            assert isinstance(content, bytes)
            position = 0
            while position < len(content):
                number, position = _read_varint(content, position)
                items.append(_number(kind, number))
        else:
            items.append(_value(cls, field, wire, content, depth))
        return
    for rival in table.rivals.get(field.name, ()):
        values.pop(rival, None)
    values[field.name] = _value(cls, field, wire, content, depth)


def _value(cls: type[msgspec.Struct], field: Field, wire: int, content: int | bytes, depth: int) -> object:
    kind = field.kind
    if wire != (0 if kind in _NUMBERS else 2):
        raise ProtocolViolation(f"{cls.__name__}.{field.name}: wire type {wire}.")
    if isinstance(content, int):
        return _number(kind, content)
    if kind is Kind.BYTES:
        return content
    if kind is Kind.STRING:
        try:
            return content.decode()
        except UnicodeDecodeError:
            raise ProtocolViolation(f"{cls.__name__}.{field.name} is not UTF-8.") from None
    assert field.of is not None
    return decode(field.of, content, depth=depth + 1)


def _number(kind: Kind, value: int) -> int | bool:
    if kind is Kind.BOOL:
        return value != 0
    return value & 0xFFFF_FFFF if kind is Kind.UINT32 else value


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value, shift = 0, 0
    end = len(data)
    while position < end:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position
        shift += 7
        if shift > 63:
            raise ProtocolViolation("a number of more than ten bytes.")
    raise ProtocolViolation("a message ends in the middle of a number.")
