"""The two ways to the simulated disk: `Files` of the environment, and a VFS for SQLite.

Between SQLite and the simulated disk lies what lies there in production: the VFS that keeps the checksums of pages. It binds
for good to the VFS under it, so here is another copy of it, with a VFS under it that stays as long as the Python process and
is handed the file of the right disk each time that a database is opened.

SQLite's shared memory (`-shm`) and locks are the one thing that stays real: a scratch file of its own for each process,
so that they go with it.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from random import Random

import apsw
import apsw.sqlite_extra

from perdure.env.files import File, FileLock, FileLocked
from perdure.testing.sim.disk import Disk, Inode, Mount


class SimFiles:
    """`env.Files` on a `Disk`, for one process: its locks go with it."""

    def __init__(self, mount: Mount) -> None:
        self._mount = mount
        self._directories: set[str] = set()

    def open(self, path: Path, *, create: bool = False, write: bool = True) -> File:
        name = str(path)
        return SimFile(self._mount, name, self._mount.disk.create(name) if create else self._mount.disk.find(name))

    def rename(self, old: Path, new: Path) -> None:
        self._mount.disk.rename(str(old), str(new))

    def unlink(self, path: Path) -> None:
        self._mount.disk.unlink(str(path))

    def names(self, directory: Path) -> list[str]:
        inside = f"{directory}/"
        return sorted(
            name[len(inside) :]
            for name in self._mount.disk.names
            if name.startswith(inside) and "/" not in name[len(inside) :]
        )

    def make_directory(self, path: Path) -> None:
        """Directories are there whenever they are asked for: their making is durable by the seam's contract."""

    def sync_directory(self, path: Path) -> None:
        self._mount.disk.sync_directory(str(path))

    def free_bytes(self, path: Path) -> int:
        return self._mount.disk.free_bytes()

    def lock(self, path: Path) -> FileLock:
        if str(path) in self._mount.disk.locks:
            raise FileLocked(path, "another engine of this simulation")
        self._mount.disk.locks.add(str(path))
        return SimLock(self._mount, str(path))


class SimFile:
    __slots__ = ("_closed", "_inode", "_mount", "_path")

    def __init__(self, mount: Mount, path: str, inode: Inode) -> None:
        self._mount = mount
        self._path = path
        self._inode = inode
        self._closed = False

    def pread(self, count: int, offset: int) -> bytes:
        return self._disk().read(self._path, self._inode, count, offset)

    def pwritev(self, buffers: Sequence[bytes], offset: int) -> None:
        with self._tried():
            self._disk().write(self._path, self._inode, b"".join(buffers), offset)

    def datasync(self) -> None:
        with self._tried():
            self._disk().sync(self._path, self._inode)

    def sync(self) -> None:
        with self._tried():
            self._disk().sync(self._path, self._inode)

    def size(self) -> int:
        self._disk()
        return len(self._inode.data)

    def close(self) -> None:
        self._closed = True

    @contextmanager
    def _tried(self) -> Iterator[None]:
        if self._path in self._mount.failed:
            self._mount.on_second_try(self._path)
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EBADF):
                self._mount.failed.add(self._path)
            raise

    def _disk(self) -> Disk:
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), self._path)
        return self._mount.disk


class SimLock:
    def __init__(self, mount: Mount, path: str) -> None:
        self._mount = mount
        self._path = path

    def release(self) -> None:
        if not self._mount.disk.dead:
            self._mount.disk.locks.discard(self._path)


def _nowhere() -> Mount:
    mount = Mount(Disk(Random(0), lambda note: None))
    mount.unmount()
    return mount


class SimVFS(apsw.VFS):
    """SQLite's disk. One for each process of a simulation; `name` is what a connection asks for."""

    _mount = _nowhere()
    """All that is left to a connection that is collected after the attributes of its VFS."""

    def __init__(self, name: str, mount: Mount, scratch: Path) -> None:
        self.name = name
        self._mount = mount
        self._scratch = scratch / name
        super().__init__(name, base=_checksums().name)

    def xFullPathname(self, name: str) -> str:
        return name

    def xAccess(self, pathname: str, flags: int) -> bool:
        return pathname in self._mount.disk.names

    def xDelete(self, filename: str, syncdir: bool) -> None:
        try:
            self._mount.disk.unlink(filename)
            if syncdir:
                self._mount.disk.sync_directory(str(Path(filename).parent))
        except FileNotFoundError:
            raise _error(apsw.IOError, apsw.SQLITE_IOERR_DELETE_NOENT) from None

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        assert path is not None, "temporary files are kept in memory"
        disk = self._mount.disk
        created = path not in disk.names
        if created and not flags[0] & apsw.SQLITE_OPEN_CREATE:
            raise _error(apsw.CantOpenError, apsw.SQLITE_CANTOPEN)
        try:
            inode = disk.create(path) if created else disk.find(path)
        except OSError as error:
            raise _error(apsw.CantOpenError, apsw.SQLITE_CANTOPEN) from error
        flags[1] = flags[0]
        if flags[0] & apsw.SQLITE_OPEN_MAIN_DB:
            write = bool(flags[0] & apsw.SQLITE_OPEN_READWRITE)
            _checksums().under.next_file = _DatabaseFile(self._mount, path, inode, str(self._scratch), write=write)
            return apsw.VFSFile(_checksums().name, name, flags)
        return _PlainFile(self._mount, path, inode, dirsync=bool(flags[0] & apsw.SQLITE_OPEN_CREATE))  # type: ignore[return-value]

    def xRandomness(self, numbytes: int) -> bytes:
        return bytes(index * 37 & 255 for index in range(numbytes))

    def xSleep(self, microseconds: int) -> int:
        return microseconds

    def xCurrentTime(self) -> float:
        return 2_460_000.5


class _Under(apsw.VFS):
    """What the copy of the checksum VFS is bound to: it hands on the file that was made for it."""

    next_file: apsw.VFSFile | None = None

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        file, self.next_file = self.next_file, None
        assert file is not None, "only databases come here, through SimVFS"
        flags[1] = flags[0]
        return file


class _Checksums(apsw.VFS):
    """Another copy of SQLite's checksum VFS, over a VFS of ours, under a name of its own."""

    def __init__(self) -> None:
        self.name = "perdure-sim-checksums"
        default = apsw.vfs_names()[0]
        self.under = _Under("perdure-sim-under", base=default, makedefault=True)
        self._copy = tempfile.TemporaryDirectory(prefix="perdure-sim-")  # the same file again would be the same copy
        path = shutil.copy(apsw.sqlite_extra.path("cksumvfs"), self._copy.name)
        if "cksmvfs" in apsw.vfs_names():
            apsw.unregister_vfs("cksmvfs")  # production's: whoever has it keeps it, and the next to ask loads it again
        loader = apsw.Connection(":memory:", vfs=default)
        loader.enable_load_extension(True)
        loader.load_extension(path)
        loader.close()
        super().__init__(self.name, base="cksmvfs")
        apsw.unregister_vfs("cksmvfs")
        apsw.set_default_vfs(default)


@cache
def _checksums() -> _Checksums:
    return _Checksums()


class _Content:
    """What both kinds of files share: the content on the simulated disk, errors as SQLite knows them."""

    _mount = _nowhere()
    _path = ""
    _inode = Inode()

    def xRead(self, amount: int, offset: int) -> bytes:
        try:
            return self._mount.disk.read(self._path, self._inode, amount, offset)
        except OSError as error:
            raise _error(apsw.IOError, apsw.SQLITE_IOERR_READ) from error

    def xWrite(self, data: bytes, offset: int) -> None:
        try:
            self._mount.disk.write(self._path, self._inode, bytes(data), offset)
        except OSError as error:
            if self._mount.disk.faults.full:
                raise _error(apsw.FullError, apsw.SQLITE_FULL) from error
            raise _error(apsw.IOError, apsw.SQLITE_IOERR_WRITE) from error

    def xTruncate(self, newsize: int) -> None:
        self._mount.disk.truncate(self._path, self._inode, newsize)

    def xSync(self, flags: int) -> None:
        try:
            self._mount.disk.sync(self._path, self._inode)
        except OSError as error:
            raise _error(apsw.IOError, apsw.SQLITE_IOERR_FSYNC) from error

    def xFileSize(self) -> int:
        return len(self._inode.data)

    def xDeviceCharacteristics(self) -> int:
        return apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE


class _DatabaseFile(_Content, apsw.VFSFile):
    """The database: shared memory and locks come from a real, empty file."""

    def __init__(self, mount: Mount, path: str, inode: Inode, scratch: str, *, write: bool) -> None:
        how = apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_READWRITE if write else apsw.SQLITE_OPEN_READONLY
        flags = apsw.SQLITE_OPEN_MAIN_DB | how
        super().__init__("unix", scratch, [flags, flags])
        self._mount = mount
        self._path = path
        self._inode = inode


class _PlainFile(_Content):
    """The WAL and the rollback journal. As on Unix, the first sync of one that may be new syncs its directory too."""

    def __init__(self, mount: Mount, path: str, inode: Inode, *, dirsync: bool) -> None:
        self._mount = mount
        self._path = path
        self._inode = inode
        self._dirsync = dirsync

    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        if self._dirsync:
            self._dirsync = False
            self._mount.disk.sync_directory(str(Path(self._path).parent))

    def xClose(self) -> None:
        pass

    def xLock(self, level: int) -> None:
        pass

    def xUnlock(self, level: int) -> None:
        pass

    def xCheckReservedLock(self) -> bool:
        return False

    def xFileControl(self, op: int, pointer: int) -> bool:
        return False

    def xSectorSize(self) -> int:
        return 4096


def _error(kind: type[apsw.Error], code: int) -> apsw.Error:
    error = kind()
    error.extendedresult = code  # type: ignore[attr-defined]  # read by apsw
    return error


def scratch_directory() -> tempfile.TemporaryDirectory[str]:
    """Where the shared memory of simulated processes lives: in memory, where there is such a place."""
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(prefix="perdure-sim-", dir=memory if memory.is_dir() else None)
