"""The log in segment files: group commit on the loop, writes and syncs where the disk's speed says.

What always holds: the next batch is written only after the sync of the last; all state changes on the event loop, while
work that blocks runs on the lanes `log` (batches, rotation, in order) and `log-segments` (spares, trimming); after a failed
write or sync nothing is written any more. A spare is kept in reserve, so that a full disk lets running work finish:
while the reserve cannot be replaced, `accepting` is false. The format and the rules of opening are in docs/log-format.md.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from perdure.env.clock import Clock
from perdure.env.executor import Executor
from perdure.env.files import FileLock, FileLocked, Files
from perdure.env.random import Random
from perdure.log.errors import LogFailed, LogLocked, LogStopped, LogTrimmed
from perdure.log.format import FRAME_HEADER_BYTES, LOCK_NAME, SEGMENT_HEADER_BYTES, CleanStop, Durability, FrameKind
from perdure.log.group_commit import Batch, GroupCommit
from perdure.log.log import OnDurable, OnFailure, OnRefused
from perdure.log.pace import SyncPace
from perdure.log.read import read_segments
from perdure.log.recovery import Survey, repair, survey
from perdure.log.segments import ActiveSegment, SegmentDirectory, body_room
from perdure.model.limits import BATCH_BYTES_MAX, BATCH_LINGER_MS, SEGMENT_BYTES, SEGMENT_FIRST_BYTES
from perdure.model.records import Record

T = TypeVar("T")
_logger = logging.getLogger("perdure.log")

SPARES_MAX = 2
"""Files kept for new lives: the reserve and one trimmed segment. More are removed."""
SPACE_RETRY_MS = 1_000
"""How often a full disk is tried again."""
_FULL = {errno.ENOSPC, errno.EDQUOT}


class SegmentRef(NamedTuple):
    path: Path
    base_lsn: int
    segment_bytes: int


class SegmentLog(GroupCommit):
    """Made by `open`; see `perdure.log.log.Log` for what its methods promise."""

    def __init__(
        self,
        opened: _Opened,
        *,
        files: Files,
        loop: asyncio.AbstractEventLoop,
        executor: Executor,
        durability: Durability,
        segment_bytes: int,
        keep_bytes: int,
        space_retry_ms: float,
        linger_ms: float,
        on_durable: OnDurable,
        on_failure: OnFailure,
        on_refused: OnRefused | None,
    ) -> None:
        super().__init__(
            loop=loop,
            next_lsn=opened.next_lsn,
            body_bytes_max=min(BATCH_BYTES_MAX, body_room(segment_bytes)),
            on_durable=on_durable,
            on_failure=on_failure,
            on_refused=on_refused,
            linger_ms=linger_ms,
        )
        self.accepting = True
        self.found = opened.found
        """What was in the directory at open, for a start-up message."""
        self._files = files
        self._executor = executor
        self._fsync = durability == "fsync"
        self._durability = durability
        self._segment_bytes = segment_bytes
        self._keep_bytes = keep_bytes
        self._space_retry_s = space_retry_ms / 1000
        self._directory = opened.directory
        self._lock = opened.lock
        self._active = opened.active
        self._segments = opened.segments
        self._spares = opened.spares
        self.pace = opened.pace
        """What a sync costs (`estimate_s`), and whether it runs inline."""

        self._waiting: Batch | None = None
        """Encoded, and waiting for a segment that has room."""
        self._rotating = False
        self._preparing = False
        self._recycling = 0
        self._retry: asyncio.TimerHandle | None = None
        self._prepare_at = 0
        self._jobs: set[concurrent.futures.Future[object]] = set()
        self._idle: asyncio.Future[None] | None = None
        self._closed = False
        self.written_bytes = 0
        """Bytes of the batches written since open."""
        self._plan_spare()

    @classmethod
    async def open(
        cls,
        files: Files,
        directory: Path,
        *,
        loop: asyncio.AbstractEventLoop,
        executor: Executor,
        clock: Clock,
        random: Random,
        on_durable: OnDurable,
        on_failure: OnFailure,
        on_refused: OnRefused | None = None,
        checkpoint_lsn: int = 0,
        durability: Durability = "fsync",
        keep_bytes: int = 0,
        segment_first_bytes: int = SEGMENT_FIRST_BYTES,
        segment_bytes: int = SEGMENT_BYTES,
        space_retry_ms: float = SPACE_RETRY_MS,
        linger_ms: float = BATCH_LINGER_MS,
    ) -> SegmentLog:
        """Lock, read, judge and repair the log in `directory` (made if missing), ready for the next record.

        `checkpoint_lsn` is the LSN that the store has applied, synced. `keep_bytes`: how much of the trimmed log is kept
        all the same. Errors: LogLocked, LogCorrupt, LogFormatUnknown, StoreAheadOfLog, LogTrimmed, OSError.
        """
        opening = _Opening(
            files,
            directory,
            clock,
            random,
            checkpoint_lsn,
            durability,
            min(segment_first_bytes, segment_bytes),
            segment_bytes,
        )
        opened = await asyncio.wrap_future(executor.submit("log", opening.run), loop=loop)
        return cls(
            opened,
            files=files,
            loop=loop,
            executor=executor,
            durability=durability,
            segment_bytes=segment_bytes,
            keep_bytes=keep_bytes,
            space_retry_ms=space_retry_ms,
            linger_ms=linger_ms,
            on_durable=on_durable,
            on_failure=on_failure,
            on_refused=on_refused,
        )

    @property
    def first_lsn(self) -> int:
        return self._segments[0].base_lsn

    # --- batches

    def _write(self, batch: Batch) -> None:
        active = self._active
        if not active.fits(len(batch.body)):
            self._waiting = batch
            self._rotate()
        elif self.pace.inline and self.pace.is_small(len(batch.body)):
            try:
                self._commit(active, batch)
            except Exception as error:
                self._fail(LogFailed(f"writing to {active.path}", error))
            else:
                self._committed(batch)
        else:
            self._start(
                "log",
                lambda: self._commit(active, batch),
                lambda _: self._committed(batch),
                f"writing to {active.path}",
            )

    def _commit(self, active: ActiveSegment, batch: Batch) -> None:
        active.append(batch.first_lsn, len(batch.slots), batch.body)
        if self._fsync:
            with self.pace:
                active.sync()

    def _committed(self, batch: Batch) -> None:
        self.written_bytes += FRAME_HEADER_BYTES + len(batch.body)
        if self._active.position >= self._prepare_at:
            self._prepare()
        self._written(batch)

    async def sync(self) -> None:
        await super().sync()
        if not self._fsync:
            done: asyncio.Future[None] = self._loop.create_future()
            # A segment that was left is synced already, so it does not matter which one this sees.
            active = self._active
            self._start("log", active.sync, lambda _: _resolve(done), f"syncing {active.path}", done)
            await done

    # --- the next segment

    def _rotate(self) -> None:
        """Go on in the next segment, as soon as there is one."""
        if self._rotating or self._waiting is None:
            return
        if not self._spares:
            self._prepare()
            return
        self._rotating = True
        spare, old, base_lsn = self._spares.pop(0), self._active, self._waiting.first_lsn

        def change() -> ActiveSegment:
            old.mark(FrameKind.SEAL, base_lsn)
            return self._directory.activate(spare, old.header.number + 1, base_lsn, self._durability)

        def changed(active: ActiveSegment) -> None:
            self._active = active
            self._segments.append(SegmentRef(active.path, base_lsn, active.header.segment_bytes))
            self._rotating = False
            # On the lane, behind a sync of it that may still be due there.
            self._start("log", old.file.close, lambda _: None, f"closing {old.path}")
            self._plan_spare()
            batch, self._waiting = self._waiting, None
            if batch is not None:
                self._write(batch)

        self._start("log", change, changed, f"starting a segment in {self._directory.path}")

    def _plan_spare(self) -> None:
        """The reserve is made at once, only a first small segment waits until it is used at all."""
        size = self._active.header.segment_bytes
        self._prepare_at = 0 if size >= self._segment_bytes else size // 4
        if self._active.position >= self._prepare_at:
            self._prepare()

    def _prepare(self) -> None:
        self._prepare_at = self._segment_bytes + 1
        if self._spares or self._preparing or self._stopped is not None:
            return
        self._preparing = True

        def prepared(made: concurrent.futures.Future[Path]) -> None:
            self._preparing = False
            error = made.exception()
            if error is None:
                self._add_spare(made.result())
            elif isinstance(error, OSError) and error.errno in _FULL:
                self._disk_full(error)
            else:
                self._fail(LogFailed(f"preparing a segment in {self._directory.path}", error))

        self._submit("log-segments", self._directory.make_spare, prepared)

    def _disk_full(self, error: OSError) -> None:
        if self.accepting:
            self.accepting = False
            _logger.error("no space for a reserve segment (%s): new invocations are refused until there is", error)
        if self._retry is None and self._stopped is None:
            self._retry = self._loop.call_later(self._space_retry_s, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self._prepare()

    def _add_spare(self, spare: Path) -> None:
        self._spares.append(spare)
        if not self.accepting:
            self.accepting = True
            _logger.warning("there is space for a reserve segment again: new invocations are accepted")
        self._rotate()

    # --- reading and trimming

    def read(self, from_lsn: int) -> Iterator[tuple[int, list[Record]]]:
        if from_lsn < self.first_lsn:
            raise LogTrimmed(from_lsn, self.first_lsn)
        behind = [segment.base_lsn for segment in self._segments[1:]] + [self.durable_lsn + 1]
        paths = [segment.path for segment, end in zip(self._segments, behind, strict=True) if end > from_lsn]
        return read_segments(self._files, paths, from_lsn, self.durable_lsn)

    def trim(self, lsn: int) -> None:
        lsn = min(lsn, self.durable_lsn)
        kept = sum(segment.segment_bytes for segment in self._segments[:-1] if self._is_covered(segment, lsn))
        while len(self._segments) > 1 and self._is_covered(self._segments[0], lsn):
            oldest = self._segments[0]
            if kept - oldest.segment_bytes < self._keep_bytes:
                break
            kept -= oldest.segment_bytes
            self._segments.pop(0)
            self._recycle(oldest)

    def _is_covered(self, segment: SegmentRef, lsn: int) -> bool:
        position = self._segments.index(segment) + 1
        return position < len(self._segments) and self._segments[position].base_lsn <= lsn + 1

    def _recycle(self, segment: SegmentRef) -> None:
        keep = segment.segment_bytes == self._segment_bytes and len(self._spares) + self._recycling < SPARES_MAX
        self._recycling += keep

        def recycled(spare: Path | None) -> None:
            self._recycling -= keep
            if spare is not None:
                self._add_spare(spare)

        self._start(
            "log-segments",
            lambda: self._directory.recycle(segment.path, keep=keep),
            recycled,
            f"recycling {segment.path}",
        )

    # --- work beside the loop

    def _start(
        self,
        lane: str,
        work: Callable[[], T],
        done: Callable[[T], None],
        doing: str,
        waiter: asyncio.Future[None] | None = None,
    ) -> None:
        """Run `work` on a lane and `done` with its result on the loop; an error is the end of the log."""

        def finished(future: concurrent.futures.Future[T]) -> None:
            error = future.exception()
            if error is None:
                done(future.result())
                return
            self._fail(LogFailed(doing, error))
            if waiter is not None and not waiter.done():
                waiter.set_exception(self._why_stopped())

        self._submit(lane, work, finished)

    def _submit(
        self, lane: str, work: Callable[[], T], finished: Callable[[concurrent.futures.Future[T]], None]
    ) -> None:
        future = self._executor.submit(lane, work)
        self._jobs.add(future)  # type: ignore[arg-type]  # only counted

        def on_loop() -> None:
            self._jobs.discard(future)
            try:
                finished(future)
            finally:
                if not self._jobs and self._idle is not None:
                    _resolve(self._idle)

        future.add_done_callback(lambda _: self._loop.call_soon_threadsafe(on_loop))

    # --- the end

    async def close(self, *, clean: bool) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            while clean and self._stopped is None and self.durable_lsn < self.next_lsn - 1:
                await self.sync()
        finally:
            if self._stopped is None:
                self._stop(LogStopped("the log is closed."))
            if self._retry is not None:
                self._retry.cancel()
            await self._quiet()
            in_order = clean and not isinstance(self._stopped, LogFailed) and self.durable_lsn == self.next_lsn - 1
            work = self._end_in_order if in_order else self._active.file.close
            try:
                await asyncio.wrap_future(self._executor.submit("log", work), loop=self._loop)
            except OSError as error:
                raise LogFailed(f"ending {self._active.path}", error) from error
            finally:
                self._lock.release()

    async def _quiet(self) -> None:
        while self._jobs:
            self._idle = self._loop.create_future()
            await self._idle

    def _end_in_order(self) -> None:
        active = self._active
        offset = active.mark(FrameKind.END_MARK, self.next_lsn)
        try:
            self._directory.write_clean_stop(CleanStop(active.header.number, offset, self.next_lsn))
        except OSError as error:
            if error.errno not in _FULL:
                raise
            _logger.warning(
                "no space to mark the clean stop (%s): the next start reads the log as after a crash", error
            )
        finally:
            active.file.close()


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class _Opened(NamedTuple):
    directory: SegmentDirectory
    lock: FileLock
    found: Survey
    active: ActiveSegment
    segments: list[SegmentRef]
    spares: list[Path]
    pace: SyncPace
    next_lsn: int


class _Opening(NamedTuple):
    """What `open` does beside the loop."""

    files: Files
    directory: Path
    clock: Clock
    random: Random
    checkpoint_lsn: int
    durability: Durability
    segment_first_bytes: int
    segment_bytes: int

    def run(self) -> _Opened:
        self.files.make_directory(self.directory)
        try:
            lock = self.files.lock(self.directory / LOCK_NAME)
        except FileLocked as error:
            raise LogLocked(str(self.directory), error.owner) from None
        try:
            return self._locked(lock)
        except BaseException:
            lock.release()
            raise

    def _locked(self, lock: FileLock) -> _Opened:
        found = survey(self.files, self.directory, self.checkpoint_lsn)
        repair(self.files, self.directory, found)
        directory = SegmentDirectory(
            self.files, self.directory, clock=self.clock, random=self.random, segment_bytes=self.segment_bytes
        )
        spares = directory.adopt_spares()
        active = self._active(directory, spares, found)
        segments = [SegmentRef(each.path, each.header.base_lsn, each.header.segment_bytes) for each in found.segments]
        if not segments or active.path != segments[-1].path:
            segments.append(SegmentRef(active.path, active.header.base_lsn, active.header.segment_bytes))
        pace = SyncPace(self.clock)
        if self.durability == "fsync":
            for _ in range(SyncPace.PROBES):
                with pace:
                    active.probe()
        return _Opened(directory, lock, found, active, segments, spares, pace, found.next_lsn)

    def _active(self, directory: SegmentDirectory, spares: list[Path], found: Survey) -> ActiveSegment:
        number = 1
        if found.segments:
            last = found.segments[-1]
            active = directory.reopen(last.path, last.header, last.stop_offset)
            if last.ending is not FrameKind.SEAL:
                if last.header.durability == self.durability:
                    return active
                # A segment is read by the rules of one mode.
                active.mark(FrameKind.SEAL, found.next_lsn)
            active.file.close()
            number = last.header.number + 1
        spare = spares.pop(0) if spares else directory.make_spare(self.segment_first_bytes)
        return directory.activate(spare, number, found.next_lsn, self.durability)


assert SEGMENT_FIRST_BYTES > 2 * SEGMENT_HEADER_BYTES
