"""Guards of the log and the store, each switched off: what a full, failing or damaged disk does, and what outgrows a page."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from perdure.log import format, scan, segment_log, segments
from perdure.log.group_commit import GroupCommit
from perdure.log.segment_log import SegmentLog
from perdure.node.data_directory import DataDirectory
from perdure.store import codec, schema, writer
from perdure.store.database import Database
from perdure.store.store import Store
from perdure.store.tables import Tables

from .mutations import mutation


@mutation("power")
def trimmed_one_too_far() -> Iterator[None]:
    """A segment goes while the store still needs its last record."""

    def is_covered(self: Any, segment: Any, lsn: int) -> bool:
        position = self._segments.index(segment) + 1
        return position < len(self._segments) and bool(self._segments[position].base_lsn <= lsn + 2)

    with patch.object(SegmentLog, "_is_covered", is_covered):
        yield


@mutation("partitions")
def named_before_its_header() -> Iterator[None]:
    """A segment has its name before it has its header."""

    def activate(self: Any, spare: Any, number: int, base_lsn: int, durability: Any) -> Any:
        file, path = self._files.open(spare), self.path / format.segment_name(number)
        self._files.rename(spare, path)
        self._files.sync_directory(self.path)
        salt, now_ms = self._random.bytes(format.SALT_BYTES), self._clock.now_ms()
        header = format.SegmentHeader(number, base_lsn, file.size(), salt, durability, now_ms)
        file.pwritev((format.encode_segment_header(header),), 0)
        file.sync()
        return segments.ActiveSegment(file, path, header, format.SEGMENT_HEADER_BYTES)

    with patch.object(segments.SegmentDirectory, "activate", activate):
        yield


@mutation()
def lock_is_kept() -> Iterator[None]:
    """A log that was closed is still locked."""
    real = SegmentLog.close

    class Kept:
        def release(self) -> None:
            pass

    async def close(self: Any, *, clean: bool) -> None:
        self._lock = Kept()
        await real(self, clean=clean)

    with patch.object(SegmentLog, "close", close):
        yield


@mutation("errors")
def failures_are_kept_quiet() -> Iterator[None]:
    """The engine does not hear that its log has failed."""
    real = GroupCommit._fail

    def fail(self: Any, failure: Any) -> None:
        self._on_failure = lambda failure: None
        real(self, failure)

    with patch.object(GroupCommit, "_fail", fail):
        yield


@mutation("full")
def full_disk_is_the_end() -> Iterator[None]:
    with patch.object(segment_log, "_FULL", set[int]()):
        yield


@mutation("full")
def full_for_ever() -> Iterator[None]:
    """That there is room again is never found out."""
    with patch.object(SegmentLog, "_try_again", lambda self: None):
        yield


@mutation("store-damage")
def rows_without_checksums() -> Iterator[None]:
    """A row that somebody changed is read as it is."""
    with ExitStack() as stack:
        for module in (codec, schema, writer):
            stack.enter_context(patch.object(module, "row_crc", lambda key, content=b"": 0))
        yield


@mutation()
def one_page_of_timers() -> Iterator[None]:
    """Of the timers in the file only the first few are found."""
    real = Database.timers_after
    with patch.object(Database, "timers_after", lambda self, key, limit: real(self, key, min(limit, 2))):
        yield


@mutation()
def cleared_state_comes_back() -> Iterator[None]:
    """That a key was cleared as a whole is not written."""
    real = writer._LayerWriter._write_named

    def write_named(self: Any, table: str, overlays: Any) -> None:
        hidden = [overlay for overlay in overlays.values() if overlay.hides]
        for overlay in hidden:
            overlay.hides = False
        real(self, table, overlays)
        for overlay in hidden:
            overlay.hides = True

    with patch.object(writer._LayerWriter, "_write_named", write_named):
        yield


@mutation("damage")
def header_without_checksum() -> Iterator[None]:
    """What a segment says of itself is believed."""
    real = scan.decode_segment_header

    def decode(data: bytes) -> Any:
        return real(data[:60] + struct.pack("<I", zlib.crc32(data[:60])))

    with patch.object(scan, "decode_segment_header", decode):
        yield


@mutation("full")
def what_was_begun_is_left() -> Iterator[None]:
    """A segment for which there was no room keeps what room it got."""

    class KeepsFiles:
        def __init__(self, files: Any) -> None:
            self._files = files

        def __getattr__(self, name: str) -> Any:
            return getattr(self._files, name)

        def unlink(self, path: Any) -> None:
            pass

    real = segments.SegmentDirectory.make_spare

    def make_spare(self: Any, size: int | None = None) -> Any:
        files, self._files = self._files, KeepsFiles(self._files)
        try:
            return real(self, size)
        finally:
            self._files = files

    with patch.object(segments.SegmentDirectory, "make_spare", make_spare):
        yield


@mutation()
def head_of_timers_runs_ahead() -> Iterator[None]:
    """The cursor passes timers that are only in memory so far."""
    real = Tables._stored_timers_after

    def stored_timers_after(self: Any, key: Any, limit: int, above: Any, found: Any) -> None:
        alone: dict[Any, Any] = {}
        real(self, key, limit, above, alone)
        found.update(alone)

    with patch.object(Tables, "_stored_timers_after", stored_timers_after):
        yield


@mutation("errands")
def snapshots_move_on() -> Iterator[None]:
    """What is read of a snapshot is what the tables are by then."""
    real = Store.snapshot

    def snapshot(self: Any) -> Any:
        taken = real(self)
        taken._connection.execute("COMMIT")
        return taken

    with patch.object(Store, "snapshot", snapshot):
        yield


@mutation("errands")
def deployments_are_not_written() -> Iterator[None]:
    """A checkpoint leaves out where services run."""
    with patch.object(writer._LayerWriter, "_write_deployments", lambda self, layer: None):
        yield


@mutation()
def any_number_of_partitions() -> Iterator[None]:
    """A directory is opened with whatever number somebody gives."""
    real = DataDirectory._identify
    with patch.object(DataDirectory, "_identify", lambda self, files, wanted: real(self, files, None) and wanted):
        yield
