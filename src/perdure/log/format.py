"""The bytes of log format 1 (docs/log-format.md): segment header, frame header, clean-stop file, batch body.

Pure: bytes in, values out. It knows no files and no rules of recovery.
"""

from __future__ import annotations

import enum
import re
import struct
import zlib
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from perdure.model.records import Record

FORMAT_VERSION = 1
SEGMENT_HEADER_BYTES = 64
FRAME_HEADER_BYTES = 36
SALT_BYTES = 8
CLEAN_STOP_BYTES = 44

CLEAN_STOP_NAME = "clean-stop"
LOCK_NAME = "lock"
UNDER_CONSTRUCTION = ".new"
"""Ending of the name of a file that is not finished; its content means nothing."""

Durability: TypeAlias = Literal["fsync", "os"]
Buffer: TypeAlias = bytes | memoryview

_DURABILITY_CODES: dict[Durability, int] = {"fsync": 0, "os": 1}
_SEGMENT_MAGIC = b"PERDURE\n"
_CLEAN_STOP_MAGIC = b"PDCLEAN\n"
_CRC = struct.Struct("<I")
_SEGMENT = struct.Struct("<8sHB5xQQQ8sQ4x")
_FRAME = struct.Struct("<8sQIIIHH")
_FRAME_AND_CRC = struct.Struct("<8sQIIIHHI")
_CLEAN_STOP = struct.Struct("<8sH6xQQQ")
_SEGMENT_NAME = re.compile(r"segment-(\d{12})\.log")
_SPARE_NAME = re.compile(r"spare-(\d{12})\.log")


class BadBytes(Exception):
    """These bytes are not what they should be; the message says why."""


class UnknownFormat(Exception):
    """These bytes are intact and of a newer format."""


# --- segment header ---------------------------------------------------------------------------------------------------


class SegmentHeader(NamedTuple):
    number: int
    base_lsn: int
    segment_bytes: int
    salt: bytes
    durability: Durability
    created_at_ms: int


def segment_name(number: int) -> str:
    return f"segment-{number:012d}.log"


def segment_number(name: str) -> int | None:
    """The number in a segment's file name, or None for other files."""
    match = _SEGMENT_NAME.fullmatch(name)
    return int(match.group(1)) if match else None


def spare_name(number: int) -> str:
    return f"spare-{number:012d}.log"


def spare_number(name: str) -> int | None:
    match = _SPARE_NAME.fullmatch(name)
    return int(match.group(1)) if match else None


def encode_segment_header(header: SegmentHeader) -> bytes:
    head = _SEGMENT.pack(
        _SEGMENT_MAGIC,
        FORMAT_VERSION,
        _DURABILITY_CODES[header.durability],
        header.number,
        header.base_lsn,
        header.segment_bytes,
        header.salt,
        header.created_at_ms,
    )
    return head + _CRC.pack(zlib.crc32(head))


def decode_segment_header(data: bytes) -> SegmentHeader:
    """Errors: BadBytes, UnknownFormat."""
    if len(data) < SEGMENT_HEADER_BYTES:
        raise BadBytes("the segment header is cut short")
    if data[:8] != _SEGMENT_MAGIC:
        raise BadBytes("no segment header")
    if zlib.crc32(data[:60]) != _CRC.unpack_from(data, 60)[0]:
        raise BadBytes("the checksum of the segment header does not match")
    _, version, durability_code, number, base_lsn, segment_bytes, salt, created_at_ms = _SEGMENT.unpack_from(data)
    if version != FORMAT_VERSION:
        raise UnknownFormat(f"log format {version}")
    for durability, code in _DURABILITY_CODES.items():
        if code == durability_code:
            return SegmentHeader(number, base_lsn, segment_bytes, salt, durability, created_at_ms)
    raise UnknownFormat(f"durability mode {durability_code}")


# --- frames -----------------------------------------------------------------------------------------------------------


class FrameKind(enum.IntEnum):
    BATCH = 1
    SEAL = 2
    END_MARK = 3


class FrameHeader(NamedTuple):
    first_lsn: int
    records: int
    body_bytes: int
    body_crc: int
    kind: FrameKind


def salt_crc(salt: bytes) -> int:
    """What the CRC of a body starts from."""
    return zlib.crc32(salt)


def encode_frame_header(salt: bytes, seed: int, kind: int, first_lsn: int, count: int, body: bytes) -> bytes:
    """The 36 bytes before a body; `seed` is `salt_crc(salt)`."""
    head = _FRAME.pack(salt, first_lsn, count, len(body), zlib.crc32(body, seed), kind, 0)
    return head + _CRC.pack(zlib.crc32(head))


def decode_frame_header(data: Buffer, offset: int, salt: bytes) -> FrameHeader:
    """The header at `offset` of `data`, which must hold all of it. Errors: BadBytes, UnknownFormat."""
    found, first_lsn, count, body_bytes, body_crc, kind, flags, crc = _FRAME_AND_CRC.unpack_from(data, offset)
    if found != salt:
        raise BadBytes("no frame of this segment begins here")
    if zlib.crc32(data[offset : offset + 32]) != crc:
        raise BadBytes("the checksum of the frame header does not match")
    if flags:
        raise UnknownFormat(f"frame flags {flags:#x}")
    try:
        return FrameHeader(first_lsn, count, body_bytes, body_crc, FrameKind(kind))
    except ValueError:
        raise UnknownFormat(f"a frame of kind {kind}") from None


# --- clean-stop file --------------------------------------------------------------------------------------------------


class CleanStop(NamedTuple):
    """Where the end mark of a log that was closed in order stands."""

    number: int
    offset: int
    next_lsn: int


def encode_clean_stop(stop: CleanStop) -> bytes:
    head = _CLEAN_STOP.pack(_CLEAN_STOP_MAGIC, FORMAT_VERSION, *stop)
    return head + _CRC.pack(zlib.crc32(head))


def decode_clean_stop(data: bytes) -> CleanStop:
    """Errors: BadBytes, UnknownFormat."""
    if len(data) != CLEAN_STOP_BYTES:
        raise BadBytes("it has the wrong length")
    if zlib.crc32(data[:40]) != _CRC.unpack_from(data, 40)[0]:
        raise BadBytes("its checksum does not match")
    magic, version, number, offset, next_lsn = _CLEAN_STOP.unpack_from(data)
    if magic != _CLEAN_STOP_MAGIC:
        raise BadBytes("it is not a clean-stop file")
    if version != FORMAT_VERSION:
        raise UnknownFormat(f"log format {version}")
    return CleanStop(number, offset, next_lsn)


# --- body of a batch --------------------------------------------------------------------------------------------------

Slot: TypeAlias = Record | None
"""One LSN of a batch: its record, or None for a void."""

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(list[Slot])


def encode_body(slots: list[Slot]) -> bytes:
    return _ENCODER.encode(slots)


def encoded_size(record: Record, scratch: bytearray) -> int:
    """Bytes of a record in a body. Errors: those of the encoder, for a record that cannot be encoded."""
    _ENCODER.encode_into(record, scratch)
    return len(scratch)


def decode_body(body: Buffer, count: int) -> list[Slot]:
    """Errors: BadBytes, when the bytes are no batch of `count` records that this version knows."""
    try:
        slots = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise BadBytes(str(error)) from None
    if len(slots) != count:
        raise BadBytes(f"it holds {len(slots)} records, its header says {count}")
    return slots


def runs(first_lsn: int, slots: list[Slot]) -> list[tuple[int, list[Record]]]:
    """The records of a batch without its voids, as runs of consecutive LSNs."""
    found: list[tuple[int, list[Record]]] = []
    run: list[Record] = []
    for position, slot in enumerate(slots):
        if slot is not None:
            if not run:
                found.append((first_lsn + position, run))
            run.append(slot)
        elif run:
            run = []
    return found
