"""What the tests of the log share: real files, records to write, a disk that counts and fails on demand."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from perdure.env.clock import SystemClock
from perdure.env.executor import ThreadExecutor
from perdure.env.files import File, FileLock, SystemFiles
from perdure.env.random import SystemRandom
from perdure.log.errors import LogFailed
from perdure.log.segment_log import SegmentLog
from perdure.model.journal import Completion, CompletionCode, Run
from perdure.model.records import Progress, Record


def record(number: int, size: int = 10) -> Progress:
    """A record that can be told from the others."""
    entries = [Run(number, f"step-{number}"), Completion(number, CompletionCode.RUN, b"x" * size)]
    return Progress(0, 1_700_000_000_000 + number, number, 1, list(entries))


class Seen:
    """What a log told its node."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, list[Record]]] = []
        self.failures: list[LogFailed] = []
        self.refused: list[int] = []
        self._changed = asyncio.Event()

    def on_durable(self, first_lsn: int, records: list[Record]) -> None:
        self.batches.append((first_lsn, list(records)))
        self._changed.set()

    def on_failure(self, error: LogFailed) -> None:
        self.failures.append(error)
        self._changed.set()

    def on_refused(self, lsn: int, record: Record, error: Exception) -> None:
        self.refused.append(lsn)
        self._changed.set()

    @property
    def records(self) -> list[tuple[int, Record]]:
        return flat(self.batches)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


def flat(batches: Sequence[tuple[int, list[Record]]]) -> list[tuple[int, Record]]:
    return [(first + position, each) for first, records in batches for position, each in enumerate(records)]


class WatchedFile:
    def __init__(self, file: File, path: Path, disk: WatchedFiles, *, new: bool) -> None:
        self._file, self._path, self._disk, self._new = file, path, disk, new

    def pread(self, count: int, offset: int) -> bytes:
        return self._file.pread(count, offset)

    def pwritev(self, buffers: Sequence[bytes], offset: int) -> None:
        if self._new and self._disk.full:
            raise OSError(errno.ENOSPC, "no space left", str(self._path))
        self._disk.happened("write", self._path)
        self._disk.written.append((self._path.name, offset, sum(map(len, buffers))))
        self._file.pwritev(buffers, offset)

    def datasync(self) -> None:
        self._disk.happened("sync", self._path)
        self._file.datasync()

    def sync(self) -> None:
        self._disk.happened("sync", self._path)
        self._file.sync()

    def size(self) -> int:
        return self._file.size()

    def close(self) -> None:
        self._file.close()


class WatchedFiles:
    """The real disk, counting what happens; `fail` names operations that raise, `full` refuses bytes for new files."""

    def __init__(self) -> None:
        self.real = SystemFiles()
        self.events: list[tuple[str, str]] = []
        self.written: list[tuple[str, int, int]] = []
        """(name at opening, offset, length)"""
        self.fail: Callable[[str, str], BaseException | None] = lambda operation, name: None
        self.full = False

    def happened(self, operation: str, path: Path) -> None:
        self.events.append((operation, path.name))
        error = self.fail(operation, path.name)
        if error is not None:
            raise error

    def count(self, operation: str, prefix: str = "") -> int:
        return sum(each == operation and name.startswith(prefix) for each, name in self.events)

    def open(self, path: Path, *, create: bool = False, write: bool = True) -> WatchedFile:
        self.happened("create" if create else "open", path)
        return WatchedFile(self.real.open(path, create=create, write=write), path, self, new=create)

    def rename(self, old: Path, new: Path) -> None:
        self.happened("rename", new)
        self.real.rename(old, new)

    def unlink(self, path: Path) -> None:
        self.happened("unlink", path)
        self.real.unlink(path)

    def names(self, directory: Path) -> list[str]:
        return self.real.names(directory)

    def make_directory(self, path: Path) -> None:
        self.real.make_directory(path)

    def sync_directory(self, path: Path) -> None:
        self.happened("sync_directory", path)
        self.real.sync_directory(path)

    def free_bytes(self, path: Path) -> int:
        return self.real.free_bytes(path)

    def lock(self, path: Path) -> FileLock:
        return self.real.lock(path)


OpenLog = Callable[..., Awaitable[tuple[SegmentLog, Seen]]]


@pytest.fixture
def executor() -> Iterator[ThreadExecutor]:
    lanes = ThreadExecutor(1)
    yield lanes
    lanes.shutdown(wait=True)


@pytest.fixture
async def open_log(tmp_path: Path, executor: ThreadExecutor) -> AsyncIterator[OpenLog]:
    """Open a log in small segments; every log is closed at the end, without a clean stop unless the test did it."""
    logs: list[SegmentLog] = []

    async def open_(files: Any = None, directory: Path = tmp_path / "log", **settings: Any) -> tuple[SegmentLog, Seen]:
        seen = Seen()
        settings = {"segment_first_bytes": 2048, "segment_bytes": 4096, **settings}
        log = await SegmentLog.open(
            files or SystemFiles(),
            directory,
            loop=asyncio.get_running_loop(),
            executor=executor,
            clock=SystemClock(),
            random=SystemRandom(),
            on_durable=seen.on_durable,
            on_failure=seen.on_failure,
            on_refused=seen.on_refused,
            **settings,
        )
        logs.append(log)
        return log, seen

    yield open_
    for log in logs:
        await log.close(clean=False)
