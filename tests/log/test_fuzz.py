"""Whatever bytes lie in a log directory: a prefix of records or a clean refusal, never another exception."""

from __future__ import annotations

import shutil
import tempfile
import zlib
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.env.files import SystemFiles
from perdure.log.dump import dump
from perdure.log.errors import LogError
from perdure.log.format import (
    BadBytes,
    FrameKind,
    SegmentHeader,
    UnknownFormat,
    decode_body,
    decode_clean_stop,
    decode_frame_header,
    decode_segment_header,
    encode_frame_header,
    encode_segment_header,
    salt_crc,
    segment_name,
)
from perdure.log.read import read_segments
from perdure.log.recovery import repair, survey
from perdure.log.verify import verify

from ..golden import make_log
from .conftest import flat

FILES = SystemFiles()
GOLDEN = Path(__file__).parents[1] / "golden" / "log" / "format-1"
GOOD = [record for batch in make_log.batches() for record in batch]
SALT = b"saltsalt"


@given(st.binary(max_size=300), st.integers(0, 5))
def test_any_bytes_are_decoded_or_refused(data: bytes, count: int) -> None:
    for decode in (
        lambda: decode_segment_header(data),
        lambda: decode_clean_stop(data),
        lambda: decode_body(data, count),
        lambda: decode_frame_header(data.ljust(36, b"\0"), 0, data[:8].ljust(8, b"\0")),
    ):
        try:
            decode()
        except (BadBytes, UnknownFormat):
            pass


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Msgpack that is close to a batch: nested arrays, maps, integers, broken strings."""
    shape = draw(st.recursive(st.binary(max_size=4), lambda inner: st.lists(inner, max_size=4), max_leaves=8))

    def pack(value: object) -> bytes:
        if isinstance(value, list):
            return bytes([0x90 + len(value)]) + b"".join(map(pack, value))
        assert isinstance(value, bytes)
        return value

    return pack([shape]) if draw(st.booleans()) else pack(shape)


@given(bodies(), st.integers(1, 3))
def test_a_batch_with_good_checksums_and_any_body(body: bytes, count: int) -> None:
    header = encode_segment_header(SegmentHeader(1, 1, 512, SALT, "fsync", 0))
    frame = encode_frame_header(SALT, salt_crc(SALT), FrameKind.BATCH, 1, count, body) + body
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / segment_name(1)).write_bytes((header + frame).ljust(512, b"\0"))
        found = survey(FILES, directory, 0)
        assert found.next_lsn == 1 + count
        report = verify(FILES, directory)
        try:
            flat(list(read_segments(FILES, [found.segments[0].path], 1, count)))
            list(dump(FILES, directory, as_json=True))
            list(dump(FILES, directory))
        except LogError as error:
            assert error.code == "PD0109" and report.problem is not None
        else:
            assert report.problem is None


edits = st.lists(
    st.tuples(
        st.sampled_from(["segment-000000000001.log", "segment-000000000002.log", "clean-stop"]),
        st.sampled_from(["cut", "overwrite", "insert", "forge", "remove", "swap"]),
        st.integers(0, 4096),
        st.binary(min_size=1, max_size=40),
    ),
    min_size=1,
    max_size=4,
)


def edit(directory: Path, name: str, kind: str, at: int, data: bytes) -> None:
    path = directory / name
    if not path.exists():
        return
    old = path.read_bytes()
    at = at % (len(old) + 1)
    match kind:
        case "cut":
            path.write_bytes(old[:at])
        case "overwrite":
            path.write_bytes(old[:at] + data + old[at + len(data) :])
        case "insert":
            path.write_bytes(old[:at] + data + old[at:])
        case "forge":  # a segment header with any bytes and a good checksum
            head = bytearray(old[:60].ljust(60, b"\0"))
            head[at % 60] = data[0]
            path.write_bytes(bytes(head) + zlib.crc32(head).to_bytes(4, "little") + old[64:])
        case "remove":
            path.unlink()
        case "swap":
            path.rename(directory / segment_name(at % 4 + 1))


@settings(deadline=None)
@given(edits, st.sampled_from([0, 5, 26]))
def test_a_damaged_golden_log_gives_a_prefix_or_a_refusal(
    changes: list[tuple[str, str, int, bytes]], checkpoint_lsn: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / "log"
        shutil.copytree(GOLDEN, directory)
        for change in changes:
            edit(directory, *change)
        report = verify(FILES, directory, checkpoint_lsn=checkpoint_lsn)
        try:
            found = survey(FILES, directory, checkpoint_lsn)
            repair(FILES, directory, found)
            paths = [each.path for each in found.segments]
            first = found.segments[0].header.base_lsn if paths else 1
            records = [record for _, record in flat(list(read_segments(FILES, paths, first, found.next_lsn - 1)))]
        except LogError as error:
            assert error.code.startswith("PD01") and report.problem is not None
        else:
            assert records == GOOD[first - 1 : first - 1 + len(records)]
            assert found.next_lsn > checkpoint_lsn and first <= checkpoint_lsn + 1
