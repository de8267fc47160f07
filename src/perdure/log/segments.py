"""Segment files as things on the disk: making, naming, filling, sealing and recycling them.

Everything here blocks and is called from one thread at a time per object. What always holds: a file has its full size,
zeros or old content synced, before it becomes a spare; a good synced header before it becomes a segment; and its name is
synced before anything in it is acknowledged. It does not know when any of this is due (`segment_log` does).
"""

from __future__ import annotations

from pathlib import Path

from perdure.env.clock import Clock
from perdure.env.files import File, Files
from perdure.env.random import Random
from perdure.log.format import (
    CLEAN_STOP_NAME,
    FRAME_HEADER_BYTES,
    SALT_BYTES,
    SEGMENT_HEADER_BYTES,
    UNDER_CONSTRUCTION,
    CleanStop,
    Durability,
    FrameKind,
    SegmentHeader,
    encode_clean_stop,
    encode_frame_header,
    encode_segment_header,
    salt_crc,
    segment_name,
    spare_name,
    spare_number,
)

_ZEROS = bytes(256 * 1024)


def write_zeros(file: File, begin: int, end: int) -> None:
    """Really write them (fallocate leaves extents that cost a journal commit at first use), and sync them.

    In pieces that are synced one by one: a log that is being synced meanwhile waits for one piece at most.
    """
    for offset in range(begin, end, len(_ZEROS)):
        file.pwritev([_ZEROS[: end - offset]], offset)
        file.datasync()


def body_room(segment_bytes: int) -> int:
    """The largest body that fits into an empty segment of this size."""
    return segment_bytes - SEGMENT_HEADER_BYTES - 2 * FRAME_HEADER_BYTES


class ActiveSegment:
    """The segment that is being filled; one writer."""

    def __init__(self, file: File, path: Path, header: SegmentHeader, position: int) -> None:
        self.file = file
        self.path = path
        self.header = header
        self.position = position
        """Offset of the next frame."""
        self._salt = header.salt
        self._seed = salt_crc(header.salt)
        # Behind every batch there is room for a seal or an end mark.
        self._body_end = header.segment_bytes - 2 * FRAME_HEADER_BYTES

    def fits(self, body_bytes: int) -> bool:
        return self.position + body_bytes <= self._body_end

    def append(self, first_lsn: int, count: int, body: bytes) -> None:
        head = encode_frame_header(self._salt, self._seed, 1, first_lsn, count, body)
        self.file.pwritev((head, body), self.position)
        self.position += FRAME_HEADER_BYTES + len(body)

    def mark(self, kind: FrameKind, next_lsn: int) -> int:
        """Write a seal or an end mark and sync it; returns its offset."""
        offset = self.position
        self.file.pwritev((encode_frame_header(self._salt, self._seed, kind, next_lsn, 0, b""),), offset)
        self.file.datasync()
        if kind is FrameKind.SEAL:
            self.position = offset + FRAME_HEADER_BYTES
        return offset

    def sync(self) -> None:
        self.file.datasync()

    def probe(self) -> None:
        """Write and sync as a batch does, where the next batch comes, leaving nothing that counts."""
        self.file.pwritev((_ZEROS[:FRAME_HEADER_BYTES],), self.position)
        self.file.datasync()


class SegmentDirectory:
    def __init__(self, files: Files, path: Path, *, clock: Clock, random: Random, segment_bytes: int) -> None:
        self.path = path
        self._files = files
        self._clock = clock
        self._random = random
        self._segment_bytes = segment_bytes
        self._next_spare = 1

    def adopt_spares(self) -> list[Path]:
        """Spares that an earlier run left, if they have the right size; others are removed."""
        spares: list[Path] = []
        for name in self._files.names(self.path):
            number = spare_number(name)
            if number is None:
                continue
            self._next_spare = max(self._next_spare, number + 1)
            path = self.path / name
            file = self._files.open(path, write=False)
            try:
                size = file.size()
            finally:
                file.close()
            if size == self._segment_bytes:
                spares.append(path)
            else:
                self._files.unlink(path)
        return spares

    def make_spare(self, size: int | None = None) -> Path:
        """Write a file of zeros. Errors: OSError (ENOSPC among them), after removing what was begun."""
        path = self._new_spare()
        begun = path.with_name(path.name + UNDER_CONSTRUCTION)
        file = self._files.open(begun, create=True)
        try:
            write_zeros(file, 0, size or self._segment_bytes)
            file.sync()
        except BaseException:
            file.close()
            self._files.unlink(begun)
            raise
        file.close()
        self._files.rename(begun, path)
        return path

    def _new_spare(self) -> Path:
        self._next_spare += 1
        return self.path / spare_name(self._next_spare - 1)

    def activate(self, spare: Path, number: int, base_lsn: int, durability: Durability) -> ActiveSegment:
        """Give a spare a new life as the segment with this number."""
        file = self._files.open(spare)
        try:
            salt = self._random.bytes(SALT_BYTES)
            header = SegmentHeader(number, base_lsn, file.size(), salt, durability, self._clock.now_ms())
            file.pwritev((encode_segment_header(header),), 0)
            file.sync()
            path = self.path / segment_name(number)
            self._files.rename(spare, path)
            self._files.sync_directory(self.path)
        except BaseException:
            file.close()
            raise
        return ActiveSegment(file, path, header, SEGMENT_HEADER_BYTES)

    def reopen(self, path: Path, header: SegmentHeader, position: int) -> ActiveSegment:
        return ActiveSegment(self._files.open(path), path, header, position)

    def recycle(self, path: Path, *, keep: bool) -> Path | None:
        """Take a trimmed segment out of the log; with `keep` it becomes a spare, which is returned.

        Call it for the oldest first: the name is synced each time, so that no crash leaves a gap between segments.
        """
        spare = None
        if keep:
            spare = self._new_spare()
            self._files.rename(path, spare)
        else:
            self._files.unlink(path)
        self._files.sync_directory(self.path)
        return spare

    def write_clean_stop(self, stop: CleanStop) -> None:
        path = self.path / CLEAN_STOP_NAME
        begun = path.with_name(path.name + UNDER_CONSTRUCTION)
        file = self._files.open(begun, create=True)
        try:
            file.pwritev((encode_clean_stop(stop),), 0)
            file.sync()
        finally:
            file.close()
        self._files.rename(begun, path)
        self._files.sync_directory(self.path)
