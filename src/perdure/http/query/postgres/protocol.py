"""The messages of the PostgreSQL wire, version 3: how they are read, and how answers are written. Pure.

A message is one byte that says what it is, a length that counts itself, and a body; the first one has no such byte.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

VERSION_3 = 3
SSL_REQUEST, GSS_REQUEST, CANCEL_REQUEST = 80877103, 80877104, 80877102
STARTUP_BYTES_MAX = 10_000
MESSAGE_BYTES_MAX = 2 * 1024 * 1024


class ProtocolViolation(Exception):
    """The other side does not speak this protocol."""


class Body:
    """What is left of a message's body."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._raw) - self._at

    def bytes(self, count: int) -> bytes:
        part = self._raw[self._at : self._at + count]
        if count < 0 or len(part) != count:
            raise ProtocolViolation("a message is shorter than it says")
        self._at += count
        return part

    def int16(self) -> int:
        (value,) = struct.unpack("!h", self.bytes(2))
        return int(value)

    def int32(self) -> int:
        (value,) = struct.unpack("!i", self.bytes(4))
        return int(value)

    def text(self) -> str:
        end = self._raw.find(b"\0", self._at)
        if end < 0:
            raise ProtocolViolation("a text does not end")
        part = self.bytes(end - self._at)
        self._at += 1
        try:
            return part.decode()
        except UnicodeDecodeError:
            raise ProtocolViolation("a text is no UTF-8") from None


@dataclass(frozen=True)
class Parse:
    name: str
    sql: str
    types: tuple[int, ...]


@dataclass(frozen=True)
class Bind:
    portal: str
    statement: str
    formats: tuple[int, ...]
    values: tuple[bytes | None, ...]
    result_formats: tuple[int, ...]


def parse(body: Body) -> Parse:
    name, sql = body.text(), body.text()
    return Parse(name, sql, tuple(body.int32() for _ in range(body.int16())))


def bind(body: Body) -> Bind:
    portal, statement = body.text(), body.text()
    formats = tuple(body.int16() for _ in range(body.int16()))
    values: list[bytes | None] = []
    for _ in range(body.int16()):
        length = body.int32()
        values.append(None if length == -1 else body.bytes(length))
    return Bind(portal, statement, formats, tuple(values), tuple(body.int16() for _ in range(body.int16())))


def startup_parameters(body: Body) -> dict[str, str]:
    parameters: dict[str, str] = {}
    while body.left > 1 and (name := body.text()):
        parameters[name] = body.text()
    return parameters


# --- answers ------------------------------------------------------------------------------------------------------------------


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


AUTHENTICATION_OK = message(b"R", struct.pack("!i", 0))
PARSE_COMPLETE, BIND_COMPLETE, CLOSE_COMPLETE = message(b"1"), message(b"2"), message(b"3")
NO_DATA, EMPTY_QUERY, PORTAL_SUSPENDED = message(b"n"), message(b"I"), message(b"s")


def parameter_status(name: str, value: str) -> bytes:
    return message(b"S", _text(name) + _text(value))


def negotiate_version(unknown: Sequence[str]) -> bytes:
    """We speak 3.0, and none of these options."""
    return message(b"v", struct.pack("!ii", VERSION_3 << 16, len(unknown)) + b"".join(map(_text, unknown)))


def backend_key(process: int, secret: int) -> bytes:
    return message(b"K", struct.pack("!iI", process, secret))


def ready(status: bytes) -> bytes:
    """`I`: idle, `T`: in a transaction, `E`: in one that has failed."""
    return message(b"Z", status)


def parameter_description(types: Sequence[int]) -> bytes:
    return message(b"t", struct.pack(f"!h{len(types)}i", len(types), *types))


def command_complete(tag: str) -> bytes:
    return message(b"C", _text(tag))


def error(severity: str, sqlstate: str, text: str, hint: str = "") -> bytes:
    fields: Mapping[bytes, str] = {b"S": severity, b"V": severity, b"C": sqlstate, b"M": text, b"H": hint}
    return message(b"E", b"".join(code + _text(value) for code, value in fields.items() if value) + b"\0")


def row_description(columns: Sequence[tuple[str, int]]) -> bytes:
    """Of columns given as text: (name, type)."""
    fields = b"".join(_text(name) + struct.pack("!ihihih", 0, 0, oid, -1, -1, 0) for name, oid in columns)
    return message(b"T", struct.pack("!h", len(columns)) + fields)


def data_row(cells: Sequence[str | None]) -> bytes:
    parts = [struct.pack("!h", len(cells))]
    for cell in cells:
        raw = None if cell is None else cell.encode()
        parts.append(struct.pack("!i", -1) if raw is None else struct.pack("!i", len(raw)) + raw)
    return message(b"D", b"".join(parts))


def split_rows(rows: bytes, at: int, count: int) -> int:
    """Where `count` row messages behind `at` end, or all there are."""
    while count > 0 and at < len(rows):
        (length,) = struct.unpack_from("!i", rows, at + 1)
        at += 1 + int(length)
        count -= 1
    return at


def _text(value: str) -> bytes:
    return value.encode().replace(b"\0", b"") + b"\0"
