"""Walking the frames of one segment, and saying where and why the walk ends.

Read only. What always holds: a frame that is given out is good (docs/log-format.md: salt, both CRCs, within the segment,
the LSN that must come next). Whether an end is a torn write or a loss is not decided here but in `recovery`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from perdure.env.files import File, Files
from perdure.log.errors import LogCorrupt, LogFormatUnknown
from perdure.log.format import (
    FRAME_HEADER_BYTES,
    SALT_BYTES,
    SEGMENT_HEADER_BYTES,
    BadBytes,
    FrameHeader,
    FrameKind,
    SegmentHeader,
    UnknownFormat,
    decode_frame_header,
    decode_segment_header,
    salt_crc,
    segment_number,
)

_WINDOW_BYTES = 1 << 20


class Frame(NamedTuple):
    offset: int
    header: FrameHeader
    body: memoryview

    @property
    def end(self) -> int:
        return self.offset + FRAME_HEADER_BYTES + self.header.body_bytes


class SegmentReader:
    """One open segment. Iterate `frames()`; then `stop_offset` and `stop_reason` say where it ended and why."""

    def __init__(self, files: Files, path: Path) -> None:
        """Errors: LogCorrupt, LogFormatUnknown, when the segment header is not good."""
        self.path = path
        self.file = files.open(path, write=False)
        try:
            self.file_bytes = self.file.size()
            self.header = self._read_header()
        except BaseException:
            self.file.close()
            raise
        self.size = min(self.header.segment_bytes, self.file_bytes)
        self.stop_offset = SEGMENT_HEADER_BYTES
        self.stop_reason = ""
        self.ending: FrameKind | None = None
        self._window = _Window(self.file, self.size)

    def _read_header(self) -> SegmentHeader:
        try:
            header = decode_segment_header(self.file.pread(SEGMENT_HEADER_BYTES, 0))
        except BadBytes as error:
            raise LogCorrupt(self.path.name, 0, str(error)) from None
        except UnknownFormat as error:
            raise LogFormatUnknown(self.path.name, 0, str(error)) from None
        if header.number != segment_number(self.path.name):
            raise LogCorrupt(self.path.name, 16, f"its header says segment {header.number}")
        return header

    def frames(self) -> Iterator[Frame]:
        """The good frames in order; the last one is a seal or an end mark, if one stands there."""
        offset, next_lsn = SEGMENT_HEADER_BYTES, self.header.base_lsn
        seed = salt_crc(self.header.salt)
        while True:
            self.stop_offset = offset
            try:
                frame = self._frame_at(offset, next_lsn, seed)
            except BadBytes as error:
                self.stop_reason = str(error)
                return
            yield frame
            if frame.header.kind is not FrameKind.BATCH:
                self.ending = frame.header.kind
                self.stop_reason = "a seal" if self.ending is FrameKind.SEAL else "an end mark"
                return
            offset, next_lsn = frame.end, next_lsn + frame.header.records

    def _frame_at(self, offset: int, next_lsn: int, seed: int) -> Frame:
        if offset + FRAME_HEADER_BYTES > self.size:
            raise BadBytes("the segment ends without a seal")
        header = self._header_at(offset)
        body_at = offset + FRAME_HEADER_BYTES
        if body_at + header.body_bytes > self.size:
            raise BadBytes("a batch is cut short by the end of the file")
        if header.first_lsn != next_lsn or (header.kind is FrameKind.BATCH) != (header.records > 0):
            # Its checksum is right, so this is no torn write, and cutting it off would hide what happened.
            raise LogCorrupt(
                self.path.name, offset, f"a {header.kind.name} of LSN {header.first_lsn} where {next_lsn} must come"
            )
        body = self._window.view(body_at, header.body_bytes)
        if zlib.crc32(body, seed) != header.body_crc:
            raise BadBytes("the checksum of a batch does not match")
        return Frame(offset, header, body)

    def _header_at(self, offset: int) -> FrameHeader:
        try:
            return decode_frame_header(self._window.view(offset, FRAME_HEADER_BYTES), 0, self.header.salt)
        except UnknownFormat as error:
            raise LogFormatUnknown(self.path.name, offset, str(error)) from None

    def header_behind(self, offset: int) -> int | None:
        """Offset of the first good frame header of this life at or behind `offset`, wherever it may begin."""
        for found in self._salt_from(offset):
            try:
                self._header_at(found)
            except BadBytes:
                continue
            return found
        return None

    def holds_salt_from(self, offset: int) -> bool:
        return next(self._salt_from(offset), None) is not None

    def _salt_from(self, offset: int) -> Iterator[int]:
        while offset + SALT_BYTES <= self.size:
            data = self.file.pread(min(_WINDOW_BYTES, self.size - offset), offset)
            position = data.find(self.header.salt)
            while position >= 0:
                yield offset + position
                position = data.find(self.header.salt, position + 1)
            # Windows overlap, so that a salt on a border is seen, once.
            offset += max(len(data) - SALT_BYTES + 1, 1)

    def close(self) -> None:
        self.file.close()


class _Window:
    """Reads ahead in large pieces; a view stays valid when the window moves on."""

    def __init__(self, file: File, size: int) -> None:
        self._file = file
        self._size = size
        self._start = 0
        self._data = memoryview(b"")

    def view(self, offset: int, count: int) -> memoryview:
        begin = offset - self._start
        if begin < 0 or begin + count > len(self._data):
            wanted = min(max(count, _WINDOW_BYTES), self._size - offset)
            self._data = memoryview(self._file.pread(wanted, offset))
            self._start, begin = offset, 0
        piece = self._data[begin : begin + count]
        if len(piece) < count:
            raise BadBytes("the file ends here")
        return piece
