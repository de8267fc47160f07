"""What a log directory holds, and whether an end that it comes to is a torn write or a loss (docs/log-format.md, reading).

`survey` reads and judges, and changes nothing; `log verify` uses it too. `repair` then makes what was judged true on the
disk: a cut stays cut, and what counts as durable is durable. What always holds: nothing that was acknowledged and synced is
skipped silently; a refusal names segment and offset.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from perdure.env.files import Files
from perdure.log.errors import LogCorrupt, LogFormatUnknown, LogTrimmed, StoreAheadOfLog
from perdure.log.format import (
    CLEAN_STOP_BYTES,
    CLEAN_STOP_NAME,
    FRAME_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    UNDER_CONSTRUCTION,
    BadBytes,
    CleanStop,
    FrameKind,
    SegmentHeader,
    UnknownFormat,
    decode_clean_stop,
    segment_name,
    segment_number,
)
from perdure.log.scan import SegmentReader
from perdure.log.segments import write_zeros

_COPY_BYTES = 1 << 20


class SegmentSummary(NamedTuple):
    """A segment as far as its frames are good."""

    path: Path
    header: SegmentHeader
    file_bytes: int
    batches: int
    records: int
    """LSNs used, voids included."""
    last_frame_offset: int | None
    stop_offset: int
    """Offset of the seal or end mark, or of the first place where no good frame begins."""
    stop_reason: str
    ending: FrameKind | None
    """SEAL, END_MARK, or None when it just stops."""

    @property
    def next_lsn(self) -> int:
        return self.header.base_lsn + self.records

    @property
    def end(self) -> int:
        """Offset behind the last good frame."""
        return self.stop_offset if self.ending is None else self.stop_offset + FRAME_HEADER_BYTES


class Survey(NamedTuple):
    segments: list[SegmentSummary]
    clean: bool
    """The last run closed the log in order."""
    torn: bool
    """The last segment holds something of this life behind its end, to be cut off."""

    @property
    def next_lsn(self) -> int:
        return self.segments[-1].next_lsn if self.segments else 1


def survey(files: Files, directory: Path, checkpoint_lsn: int) -> Survey:
    """Read the whole log, oldest segment first.

    Errors: LogCorrupt, LogFormatUnknown, StoreAheadOfLog, LogTrimmed. Blocks: reads every kept segment once.
    """
    names = files.names(directory)
    numbers = sorted(number for name in names if (number := segment_number(name)) is not None)
    clean_stop = _read_clean_stop(files, directory) if CLEAN_STOP_NAME in names else None
    if not numbers:
        if clean_stop is not None:
            raise LogCorrupt(segment_name(clean_stop.number), 0, "the segment is missing")
        if checkpoint_lsn > 0:
            raise StoreAheadOfLog(checkpoint_lsn, 0, f"no segment in {directory}")
        return Survey([], clean=False, torn=False)

    segments: list[SegmentSummary] = []
    torn = False
    for position, number in enumerate(numbers):
        if number != numbers[0] + position:
            raise LogCorrupt(segment_name(numbers[0] + position), 0, "the segment is missing")
        reader = SegmentReader(files, directory / segment_name(number))
        try:
            if segments and reader.header.base_lsn != segments[-1].next_lsn:
                lsns = f"its base LSN is {reader.header.base_lsn}, LSN {segments[-1].next_lsn} must come"
                raise LogCorrupt(reader.path.name, 24, lsns)
            summary = _summarize(reader)
            if number < numbers[-1] or clean_stop is not None:
                _require_whole(summary, clean_stop if number == numbers[-1] else None)
            else:
                torn = _judge_end(reader, summary, checkpoint_lsn)
        finally:
            reader.close()
        segments.append(summary)
    _require_fit(segments, checkpoint_lsn)
    return Survey(segments, clean_stop is not None, torn)


def _read_clean_stop(files: Files, directory: Path) -> CleanStop:
    file = files.open(directory / CLEAN_STOP_NAME, write=False)
    try:
        data = file.pread(CLEAN_STOP_BYTES + 1, 0)
    finally:
        file.close()
    try:
        return decode_clean_stop(data)
    except BadBytes as error:
        raise LogCorrupt(CLEAN_STOP_NAME, 0, str(error)) from None
    except UnknownFormat as error:
        raise LogFormatUnknown(CLEAN_STOP_NAME, 0, str(error)) from None


def _summarize(reader: SegmentReader) -> SegmentSummary:
    batches = records = 0
    last_frame: int | None = None
    for frame in reader.frames():
        last_frame = frame.offset
        if frame.header.kind is FrameKind.BATCH:
            batches += 1
            records += frame.header.records
    return SegmentSummary(
        reader.path,
        reader.header,
        reader.file_bytes,
        batches,
        records,
        last_frame,
        reader.stop_offset,
        reader.stop_reason,
        reader.ending,
    )


def _require_whole(summary: SegmentSummary, clean_stop: CleanStop | None) -> None:
    """A segment that ended in order: with a seal, or the last one with the end mark that `clean_stop` names."""
    name, stop = summary.path.name, summary.stop_offset
    wanted = FrameKind.SEAL if clean_stop is None else FrameKind.END_MARK
    if summary.ending is not wanted:
        raise LogCorrupt(name, stop, summary.stop_reason)
    if clean_stop is not None and clean_stop != (summary.header.number, stop, summary.next_lsn):
        raise LogCorrupt(
            name, stop, f"it ends here, but was closed in segment {clean_stop.number} at {clean_stop.offset}"
        )
    if summary.file_bytes != summary.header.segment_bytes:
        at = min(summary.file_bytes, summary.header.segment_bytes)
        raise LogCorrupt(name, at, f"the file has {summary.file_bytes} bytes, not {summary.header.segment_bytes}")


def _judge_end(reader: SegmentReader, summary: SegmentSummary, checkpoint_lsn: int) -> bool:
    """Whether something is to be cut off behind the end of the last segment. Errors: LogCorrupt, when it is a loss."""
    name, stop = summary.path.name, summary.stop_offset
    if summary.ending is FrameKind.SEAL:
        return False
    if summary.next_lsn - 1 < checkpoint_lsn:
        raise LogCorrupt(name, stop, f"{summary.stop_reason}, but records up to LSN {checkpoint_lsn} were synced")
    if not reader.holds_salt_from(summary.end):
        return False
    if summary.header.durability == "fsync":
        # A torn batch may have a good header itself; a header behind it was written after this one was synced.
        good = reader.header_behind(stop + 1)
        if good is not None:
            raise LogCorrupt(name, stop, f"{summary.stop_reason}, and a good frame follows at byte {good}")
    return True


def _require_fit(segments: list[SegmentSummary], checkpoint_lsn: int) -> None:
    last, first = segments[-1], segments[0]
    if last.next_lsn - 1 < checkpoint_lsn:
        raise StoreAheadOfLog(checkpoint_lsn, last.next_lsn - 1, f"{last.path.name}, byte {last.stop_offset}")
    if first.header.base_lsn > checkpoint_lsn + 1:
        raise LogTrimmed(checkpoint_lsn + 1, first.header.base_lsn)


def repair(files: Files, directory: Path, found: Survey) -> None:
    """Make the survey true on the disk. Blocks; safe to repeat after a crash at any point of it."""
    for name in files.names(directory):
        if name.endswith(UNDER_CONSTRUCTION):
            files.unlink(directory / name)
    if found.segments:
        _repair_last(files, found.segments[-1], torn=found.torn)
    if found.clean:
        files.unlink(directory / CLEAN_STOP_NAME)
    files.sync_directory(directory)


def _repair_last(files: Files, last: SegmentSummary, *, torn: bool) -> None:
    size = last.header.segment_bytes
    file = files.open(last.path)
    try:
        if last.file_bytes < size:
            write_zeros(file, last.file_bytes, size)
        if torn:
            write_zeros(file, last.end, size)
        # What a failed sync left in the page cache reads well and is not on the disk: dirty it again.
        begin = last.last_frame_offset if last.header.durability == "fsync" else SEGMENT_HEADER_BYTES
        for offset in range(last.end if begin is None else begin, last.end, _COPY_BYTES):
            file.pwritev([file.pread(min(_COPY_BYTES, last.end - offset), offset)], offset)
        file.sync()
    finally:
        file.close()
