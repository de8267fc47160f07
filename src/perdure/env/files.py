"""The disk, as far as the log and the data directory need it.

`Files` is narrow on purpose: every operation here can be lost, torn, reordered or refused by a simulated disk. What holds
for every implementation: a write is durable only after `datasync` or `sync` of that file returned; a created, renamed or
removed name only after `sync_directory` of its directory; nothing else promises anything. Errors are `OSError`s with
their `errno`. Nothing here knows what the bytes mean.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class File(Protocol):
    """An open file; offsets and counts in bytes. There is no file position."""

    def pread(self, count: int, offset: int) -> bytes:
        """The bytes there; fewer only at the end of the file."""
        ...

    def pwritev(self, buffers: Sequence[bytes], offset: int) -> None:
        """Write all buffers, one behind the other, or raise."""
        ...

    def datasync(self) -> None:
        """Make written bytes durable, and the file's size if it grew. After an error the state of the file is unknown."""
        ...

    def sync(self) -> None:
        """As `datasync`, with the rest of the file's metadata."""
        ...

    def size(self) -> int: ...

    def close(self) -> None: ...


class FileLock(Protocol):
    def release(self) -> None: ...


class FileLocked(OSError):
    """Another process holds the lock; `owner` is what it wrote about itself."""

    def __init__(self, path: Path, owner: str) -> None:
        super().__init__(f"{path} is locked by {owner or 'another process'}")
        self.path = path
        self.owner = owner


class Files(Protocol):
    def open(self, path: Path, *, create: bool = False, write: bool = True) -> File:
        """Open a file; with `create` it must not exist yet."""
        ...

    def rename(self, old: Path, new: Path) -> None:
        """Give a file another name in the same directory, in place of a file that has it."""
        ...

    def unlink(self, path: Path) -> None: ...

    def names(self, directory: Path) -> list[str]:
        """Names in a directory, sorted; FileNotFoundError when there is no such directory."""
        ...

    def make_directory(self, path: Path) -> None:
        """Make a directory and its parents, durably; nothing happens if it is there."""
        ...

    def sync_directory(self, path: Path) -> None: ...

    def free_bytes(self, path: Path) -> int:
        """Bytes that this process may still write on the file system of `path`."""
        ...

    def lock(self, path: Path) -> FileLock:
        """Lock a file (made if missing) for this process until release or death. Errors: FileLocked."""
        ...


class SystemFiles:
    """The machine's disk, through POSIX calls."""

    def open(self, path: Path, *, create: bool = False, write: bool = True) -> SystemFile:
        flags = os.O_RDWR if write else os.O_RDONLY
        if create:
            flags |= os.O_CREAT | os.O_EXCL
        return SystemFile(os.open(path, flags, 0o644))

    def rename(self, old: Path, new: Path) -> None:
        old.replace(new)

    def unlink(self, path: Path) -> None:
        path.unlink()

    def names(self, directory: Path) -> list[str]:
        return sorted(os.listdir(directory))  # noqa: PTH208 names are wanted, not paths

    def make_directory(self, path: Path) -> None:
        if path.is_dir():
            return
        self.make_directory(path.parent)
        path.mkdir(exist_ok=True)
        self.sync_directory(path.parent)

    def sync_directory(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def free_bytes(self, path: Path) -> int:
        status = os.statvfs(path)
        return status.f_bavail * status.f_frsize

    def lock(self, path: Path) -> SystemFileLock:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip()
            os.close(descriptor)
            raise FileLocked(path, owner) from None
        except BaseException:
            os.close(descriptor)
            raise
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()}\n".encode(), 0)
        return SystemFileLock(descriptor)


class SystemFile:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def pread(self, count: int, offset: int) -> bytes:
        data = os.pread(self._descriptor, count, offset)
        if len(data) == count or not data:
            return data
        # A read may end early without being at the end of the file (Linux moves at most 2 GiB at once; a signal cuts it).
        pieces = [data]
        while len(data) < count:
            piece = os.pread(self._descriptor, count - len(data), offset + len(data))
            if not piece:
                break
            pieces.append(piece)
            data = b"".join(pieces)
        return data

    def pwritev(self, buffers: Sequence[bytes], offset: int) -> None:
        written = os.pwritev(self._descriptor, buffers, offset)
        if written != sum(map(len, buffers)):
            self._write_rest(b"".join(buffers), offset, written)

    def _write_rest(self, data: bytes, offset: int, written: int) -> None:
        view = memoryview(data)
        while written < len(data):
            written += os.pwrite(self._descriptor, view[written:], offset + written)

    def datasync(self) -> None:
        if sys.platform == "darwin":
            # fsync on macOS stops at the drive's cache.
            fcntl.fcntl(self._descriptor, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(self._descriptor)

    def sync(self) -> None:
        if sys.platform == "darwin":
            fcntl.fcntl(self._descriptor, fcntl.F_FULLFSYNC)
        else:
            os.fsync(self._descriptor)

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


class SystemFileLock:
    """Held as long as its descriptor is open. The file stays: removing it would let two processes lock two files."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)
