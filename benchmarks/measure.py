"""What the benchmarks share: the raw floor of the disk, memory of a process, medians."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path


def median(values: list[float]) -> float:
    return statistics.median(values)


def percentile(values: list[float], fraction: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * fraction))]


class RawFloor:
    """Single writes, each with its fdatasync, into one zero-filled file: what the disk alone takes.

    The file stays as long as whatever is measured beside it: files that come and go keep the file system's journal busy, and
    everybody's syncs with it.
    """

    _BYTES = 1 << 20

    def __init__(self, directory: Path) -> None:
        self._descriptor = os.open(directory / "raw-floor", os.O_RDWR | os.O_CREAT, 0o644)
        os.pwrite(self._descriptor, bytes(self._BYTES), 0)
        os.fsync(self._descriptor)
        self._at = 0

    def seconds(self, size: int, count: int, pause_s: float = 0.0) -> list[float]:
        """Of each of `count` writes of `size` bytes, with a busy pause behind each."""
        data = os.urandom(size)
        seconds = []
        for _ in range(count):
            if self._at + size > self._BYTES:
                self._at = 0
            began = time.perf_counter()
            os.pwrite(self._descriptor, data, self._at)
            os.fdatasync(self._descriptor)
            ended = time.perf_counter()
            seconds.append(ended - began)
            self._at += size
            while time.perf_counter() - ended < pause_s:
                pass
        return seconds


def resident_mib(pid: int | str = "self") -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
