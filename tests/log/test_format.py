"""The bytes of format 1, and that docs/log-format.md tells the truth about them."""

from __future__ import annotations

import re
import typing
import zlib
from pathlib import Path

import msgspec
import pytest

from perdure.log.format import (
    BadBytes,
    CleanStop,
    FrameKind,
    SegmentHeader,
    UnknownFormat,
    decode_body,
    decode_clean_stop,
    decode_frame_header,
    decode_segment_header,
    encode_body,
    encode_clean_stop,
    encode_frame_header,
    encode_segment_header,
    runs,
    salt_crc,
    segment_name,
    segment_number,
)
from perdure.model.records import Record

from .conftest import record

DOCUMENT = (Path(__file__).parents[2] / "docs" / "log-format.md").read_text()
SALT = b"saltsalt"
HEADER = SegmentHeader(3, 42, 1 << 20, SALT, "os", 1_700_000_000_000)


def with_crc(data: bytes) -> bytes:
    return data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "little")


def test_segment_header_is_what_the_document_says() -> None:
    data = encode_segment_header(HEADER)
    assert decode_segment_header(data) == HEADER
    assert (len(data), data[:8], data[8:10], data[10]) == (64, b"PERDURE\n", b"\x01\0", 1)
    at = {16: 3, 24: 42, 32: 1 << 20, 48: 1_700_000_000_000}
    assert {offset: int.from_bytes(data[offset : offset + 8], "little") for offset in at} == at
    assert data[40:48] == SALT and int.from_bytes(data[60:], "little") == zlib.crc32(data[:60])


def test_frame_header_is_what_the_document_says() -> None:
    data = encode_frame_header(SALT, salt_crc(SALT), FrameKind.BATCH, 9, 2, b"body")
    assert len(data) == 36 and data[:8] == SALT
    assert int.from_bytes(data[8:16], "little") == 9
    assert [int.from_bytes(data[at : at + 4], "little") for at in (16, 20, 24)] == [2, 4, zlib.crc32(SALT + b"body")]
    assert (data[28:30], data[30:32]) == (b"\x01\0", b"\0\0")
    assert int.from_bytes(data[32:], "little") == zlib.crc32(data[:32])
    assert decode_frame_header(data, 0, SALT) == (9, 2, 4, zlib.crc32(SALT + b"body"), FrameKind.BATCH)
    with pytest.raises(BadBytes):
        decode_frame_header(data, 0, b"another!")


def test_the_salt_is_part_of_both_checksums() -> None:
    """A frame of another life with the salt field forged still fails."""
    data = encode_frame_header(b"old life", salt_crc(b"old life"), FrameKind.BATCH, 9, 1, b"body")
    with pytest.raises(BadBytes, match="checksum"):
        decode_frame_header(SALT + data[8:], 0, SALT)
    forged = decode_frame_header(with_crc(SALT + data[8:]), 0, SALT)
    assert zlib.crc32(b"body", salt_crc(SALT)) != forged.body_crc


@pytest.mark.parametrize(("offset", "match"), [(8, "log format 9"), (10, "durability mode 9")])
def test_a_newer_segment_header_is_told_from_a_damaged_one(offset: int, match: str) -> None:
    data = bytearray(encode_segment_header(HEADER))
    data[offset] = 9
    with pytest.raises(BadBytes):
        decode_segment_header(bytes(data))
    with pytest.raises(UnknownFormat, match=match):
        decode_segment_header(with_crc(bytes(data)))


@pytest.mark.parametrize(("offset", "match"), [(28, "kind 9"), (30, "flags 0x9")])
def test_a_newer_frame_is_told_from_a_damaged_one(offset: int, match: str) -> None:
    data = bytearray(encode_frame_header(SALT, 0, FrameKind.SEAL, 1, 0, b""))
    data[offset] = 9
    with pytest.raises(BadBytes):
        decode_frame_header(bytes(data), 0, SALT)
    with pytest.raises(UnknownFormat, match=match):
        decode_frame_header(with_crc(bytes(data)), 0, SALT)


def test_clean_stop_is_what_the_document_says() -> None:
    stop = CleanStop(3, 4711, 42)
    data = encode_clean_stop(stop)
    assert len(data) == 44 and data[:10] == b"PDCLEAN\n\x01\0"
    assert [int.from_bytes(data[at : at + 8], "little") for at in (16, 24, 32)] == [3, 4711, 42]
    assert decode_clean_stop(data) == stop
    for bad in (data[:-1], data + b"\0", bytes([data[0] ^ 1]) + data[1:]):
        with pytest.raises(BadBytes):
            decode_clean_stop(bad)


def test_segment_names() -> None:
    assert segment_name(7) == "segment-000000000007.log" and segment_number(segment_name(7)) == 7
    assert [
        segment_number(name) for name in ("spare-000000000007.log", "segment-7.log", "segment-000000000007.log.new")
    ] == [None] * 3


def test_a_body_with_voids() -> None:
    body = encode_body([None, record(1), record(2), None, record(3), None])
    slots = decode_body(body, 6)
    assert runs(10, slots) == [(11, [record(1), record(2)]), (14, [record(3)])]
    assert runs(10, [None]) == [] and runs(10, []) == []
    with pytest.raises(BadBytes, match="holds 6 records, its header says 5"):
        decode_body(body, 5)


def test_readers_skip_fields_they_do_not_know_and_take_defaults_for_missing_ones() -> None:
    known = msgspec.msgpack.decode(msgspec.msgpack.encode(record(1)))
    newer, older = [*known, "a field of a later release"], known[:-1]
    assert decode_body(msgspec.msgpack.encode([newer, older]), 2) == [record(1), record(1)]


def test_a_record_of_a_later_release_is_not_guessed() -> None:
    with pytest.raises(BadBytes, match="99"):
        decode_body(msgspec.msgpack.encode([[99, 0, 0]]), 1)


def test_the_document_lists_every_record_with_its_fields() -> None:
    rows = dict(re.findall(r"^\| (\d+) \| `(\w+)` \| .* \|$", DOCUMENT, re.MULTILINE))
    fields = {tag: row for tag, row in re.findall(r"^\| (\d+) \| `\w+` \| (.*) \|$", DOCUMENT, re.MULTILINE)}
    kinds = typing.get_args(Record)
    assert rows == {str(kind.__struct_config__.tag): kind.__name__ for kind in kinds}
    assert fields == {str(kind.__struct_config__.tag): ", ".join(kind.__struct_fields__[2:]) for kind in kinds}
    assert all(kind.__struct_fields__[:2] == ("partition", "at_ms") for kind in kinds)
