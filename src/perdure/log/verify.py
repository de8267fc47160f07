"""What `perdure log verify` reports: what a log directory holds, and whether the node would open it.

Reads and changes nothing. A log in use looks as after a crash, since its last batch may be on its way.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from perdure.env.files import Files
from perdure.log.errors import LogError
from perdure.log.format import FrameKind, segment_number
from perdure.log.read import read_batches
from perdure.log.recovery import Survey, survey
from perdure.log.scan import SegmentReader


class SegmentReport(NamedTuple):
    name: str
    first_lsn: int
    last_lsn: int
    """One less than `first_lsn` when it holds no record."""
    batches: int
    records: int
    """Voids not counted."""
    used_bytes: int
    segment_bytes: int
    durability: str
    ending: str
    """`sealed`, `closed`, or `open`: what comes behind is free space or a torn write."""


class Report(NamedTuple):
    segments: list[SegmentReport]
    clean: bool
    """The last run closed the log in order."""
    torn_at: tuple[str, int] | None
    """(segment, byte offset) behind which the next open cuts off an unfinished write."""
    problem: LogError | None
    """Why a node refuses this log; None when it opens it."""

    @property
    def batches(self) -> int:
        return sum(segment.batches for segment in self.segments)

    @property
    def records(self) -> int:
        return sum(segment.records for segment in self.segments)

    @property
    def last_lsn(self) -> int:
        return self.segments[-1].last_lsn if self.segments else 0

    def lines(self) -> list[str]:
        """The report for a person."""
        text = [
            f"{each.name}  LSN {each.first_lsn} to {each.last_lsn}  {each.records} records in {each.batches} batches  "
            f"{each.used_bytes} of {each.segment_bytes} bytes  {each.durability}  {each.ending}"
            for each in self.segments
        ]
        text.append(f"{self.records} records in {self.batches} batches, last LSN {self.last_lsn}")
        if self.problem is not None:
            text.append(f"REFUSED: {self.problem}")
        elif self.torn_at is not None:
            text.append(
                f"not closed in order: an unfinished write at {self.torn_at[0]}, byte {self.torn_at[1]} will be cut off"
            )
        else:
            text.append("closed in order" if self.clean else "not closed in order; nothing to cut off")
        return text


def verify(files: Files, directory: Path, *, checkpoint_lsn: int = 0) -> Report:
    """Check every byte that counts, decoding every record. Damage is reported, not raised. Errors: OSError."""
    segments: list[SegmentReport] = []
    problem: LogError | None = None
    found: Survey | None = None
    try:
        found = survey(files, directory, checkpoint_lsn)
    except LogError as error:
        problem = error
    for name in files.names(directory):
        if segment_number(name) is not None:
            try:
                segments.append(_segment_report(files, directory / name))
            except LogError as error:
                problem = problem or error
    torn_at = None
    if found is not None and found.torn:
        torn_at = (found.segments[-1].path.name, found.segments[-1].end)
    return Report(segments, found is not None and found.clean, torn_at, problem)


_ENDINGS = {FrameKind.SEAL: "sealed", FrameKind.END_MARK: "closed"}


def _segment_report(files: Files, path: Path) -> SegmentReport:
    reader = SegmentReader(files, path)
    try:
        header = reader.header
        batches = records = 0
        next_lsn = header.base_lsn
        for batch in read_batches(reader, 0, 1 << 64):
            batches += 1
            records += sum(slot is not None for slot in batch.slots)
            next_lsn = batch.first_lsn + len(batch.slots)
        ending = "open" if reader.ending is None else _ENDINGS[reader.ending]
        return SegmentReport(
            path.name,
            header.base_lsn,
            next_lsn - 1,
            batches,
            records,
            reader.stop_offset,
            header.segment_bytes,
            header.durability,
            ending,
        )
    finally:
        reader.close()
