"""What is done to the server: SIGKILL at random, in recovery, in a checkpoint; SIGSTOP and SIGCONT; a disk that is full.

When a moment has come (recovery has begun, a checkpoint is being written) is seen from outside, in the files of its data
directory. Nothing here knows what callers do meanwhile.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from perdure.testing.process import ServerProcess

POLL_S = 0.0003
MOMENT_WITHIN_S = 5.0
UPTIME_MAX_S = 0.7
"""The longest that the server lives after it is ready."""
STOPPED_MAX_S = 1.5
FULL_MAX_S = 3.0


class Faults:
    """Each method lets some time pass and ends with the server dead; the name under which it counts is returned."""

    def __init__(self, server: ServerProcess, data: Path, rng: random.Random) -> None:
        self._server = server
        self._data = data
        self._rng = rng

    def kill(self) -> str:
        """At any time after it is ready."""
        self._server.wait_ready()
        time.sleep(self._rng.uniform(0.0, UPTIME_MAX_S))
        self._end()
        return "at random"

    def kill_before_ready(self) -> str:
        """At any time after the process was started, most of them before it serves."""
        time.sleep(self._rng.uniform(0.0, UPTIME_MAX_S))
        self._end()
        return "after the start"

    def kill_in_recovery(self) -> str:
        """As soon as it has taken its data directory, and a little into what it does then."""
        lock = self._data / "lock"
        mine = f"process {self._server.pid}\n"
        if not self._until(lambda: _text(lock) == mine):
            return self.kill()
        time.sleep(self._rng.uniform(0.0, 0.03))
        self._end()
        return "in recovery"

    def kill_in_checkpoint(self) -> str:
        """While SQLite's files change."""
        self._server.wait_ready()
        time.sleep(self._rng.uniform(0.0, UPTIME_MAX_S))
        before = _sizes_and_times(self._data)
        if not self._until(lambda: _sizes_and_times(self._data) != before):
            return self.kill()
        time.sleep(self._rng.uniform(0.0, 0.002))
        self._end()
        return "in a checkpoint"

    def stop_and_go_on(self) -> str:
        """Frozen for a while, as by a debugger or a starved machine, and then either killed or let go on."""
        self._server.wait_ready()
        time.sleep(self._rng.uniform(0.0, UPTIME_MAX_S))
        self._server.check_alive()
        self._server.signal(signal.SIGSTOP)
        time.sleep(self._rng.uniform(0.0, STOPPED_MAX_S))
        if self._rng.random() < 0.3:
            self._end()
            return "while stopped"
        self._server.signal(signal.SIGCONT)
        time.sleep(self._rng.uniform(0.0, UPTIME_MAX_S))
        self._end()
        return "after a stop"

    def fill_disk(self, disk: SmallDisk) -> str:
        """No byte left for a while. Then there is room again, and it goes on; or it is killed while there is none."""
        self._server.wait_ready()
        time.sleep(self._rng.uniform(0.0, UPTIME_MAX_S))
        killed = self._rng.random() < 0.3
        full_until = time.monotonic() + self._rng.uniform(0.5, FULL_MAX_S)
        while time.monotonic() < full_until:
            disk.fill()  # and what the server has freed meanwhile
            time.sleep(0.02)
        if killed:
            self._end()
        disk.empty()
        if killed:
            return "on a full disk"
        time.sleep(self._rng.uniform(0.5, 0.5 + UPTIME_MAX_S))
        self._end()
        return "after a full disk"

    def _end(self) -> None:
        self._server.check_alive()
        self._server.kill()

    def _until(self, condition: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + MOMENT_WITHIN_S
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        return True


class SmallDisk:
    """A file system of a few megabytes, and a file that takes what is left of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        """To the last byte that is free now; what the server frees it may use again."""
        free = shutil.disk_usage(self.path).free
        with self._filler.open("ab") as filler:
            try:
                os.posix_fallocate(filler.fileno(), filler.tell(), max(1, free))
            except OSError:  # somebody was faster
                pass

    def empty(self) -> None:
        self._filler.unlink(missing_ok=True)

    @property
    def is_full(self) -> bool:
        return shutil.disk_usage(self.path).free < 256 * 1024


class NoSmallDisk(Exception):
    """This machine does not let us mount one; the message says why."""


@contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[SmallDisk]:
    """Errors: NoSmallDisk without the right to mount (root on Linux)."""
    path.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "perdure-crash", str(path)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except OSError as error:
        raise NoSmallDisk(str(error)) from error
    if mounted.returncode != 0:
        raise NoSmallDisk(mounted.stderr.strip() or f"mount ended with {mounted.returncode}")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=False, timeout=20)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _sizes_and_times(data: Path) -> list[tuple[int, int]]:
    found = []
    for name in ("store.sqlite", "store.sqlite-wal"):
        try:
            status = (data / name).stat()
        except OSError:
            continue
        found.append((status.st_size, status.st_mtime_ns))
    return found
