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


def raw_sync_seconds(directory: Path, size: int, count: int) -> list[float]:
    """Seconds of `count` single writes of `size` bytes, each with its fdatasync, into a zero-filled file."""
    path = directory / "raw-floor"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        os.pwrite(descriptor, bytes(size * count), 0)
        os.fsync(descriptor)
        data = os.urandom(size)
        seconds = []
        for turn in range(count):
            began = time.perf_counter()
            os.pwrite(descriptor, data, turn * size)
            os.fdatasync(descriptor)
            seconds.append(time.perf_counter() - began)
        return seconds
    finally:
        os.close(descriptor)
        path.unlink()


def resident_mib(pid: int | str = "self") -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
