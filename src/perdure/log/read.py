"""Reading records back out of segment files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from perdure.env.files import Files
from perdure.log.errors import LogCorrupt, LogTrimmed, RecordUnknown
from perdure.log.format import BadBytes, FrameKind, Slot, decode_body, runs
from perdure.log.scan import SegmentReader
from perdure.model.records import Record


class StoredBatch(NamedTuple):
    segment: str
    offset: int
    first_lsn: int
    slots: list[Slot]


def read_segments(files: Files, paths: list[Path], from_lsn: int, to_lsn: int) -> Iterator[tuple[int, list[Record]]]:
    """The records `from_lsn` to `to_lsn`, batch by batch, voids left out.

    Errors: LogCorrupt, when good frames end before `to_lsn`; LogTrimmed, when a segment went away meanwhile;
    RecordUnknown.
    """
    next_lsn = from_lsn
    for path in paths:
        if next_lsn > to_lsn:
            return
        try:
            reader = SegmentReader(files, path)
        except FileNotFoundError:
            raise LogTrimmed(next_lsn, to_lsn) from None
        try:
            for batch in read_batches(reader, next_lsn, to_lsn):
                skip = max(0, next_lsn - batch.first_lsn)
                yield from runs(batch.first_lsn + skip, batch.slots[skip:])
                next_lsn = batch.first_lsn + len(batch.slots)
            if next_lsn <= to_lsn and path == paths[-1]:
                raise LogCorrupt(path.name, reader.stop_offset, reader.stop_reason)
        finally:
            reader.close()


def read_batches(reader: SegmentReader, from_lsn: int, to_lsn: int) -> Iterator[StoredBatch]:
    """The batches of one segment that hold anything from `from_lsn` to `to_lsn`, whole. Errors: RecordUnknown."""
    name = reader.path.name
    for frame in reader.frames():
        first_lsn, count = frame.header.first_lsn, frame.header.records
        if frame.header.kind is not FrameKind.BATCH:
            continue
        if first_lsn + count > from_lsn:
            try:
                slots = decode_body(frame.body, count)
            except BadBytes as error:
                raise RecordUnknown(name, frame.offset, first_lsn, str(error)) from None
            yield StoredBatch(name, frame.offset, first_lsn, slots)
        if first_lsn + count > to_lsn:
            # What follows may be on its way right now.
            return
