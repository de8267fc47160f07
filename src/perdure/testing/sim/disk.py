"""A disk on which only what was synced survives a power cut.

Files and names are kept twice: as the running process sees them, and as they are on the platter. What always holds: a sync
moves exactly what it covers from the first to the second; a power cut keeps of everything else any part, torn at
sectors and out of order; a process that is killed loses nothing that it had handed over, but its last write may be cut
short. Every operation is counted and is a place to be killed at. Knows nothing of what the bytes mean.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import NamedTuple

SECTOR_BYTES = 512
LATE_MAX = 5


class Killed(BaseException):
    """The process that did this is dead. Whatever its code still does has no effect on the disk."""


class Write(NamedTuple):
    """`data` None: the file was cut to `offset` bytes."""

    offset: int
    data: bytes | None


class Inode:
    """The content of a file, whatever its names. `pending` is what was done since the last sync, in order."""

    __slots__ = ("data", "durable", "last_write", "pending", "synced_write")

    def __init__(self) -> None:
        self.data = bytearray()
        self.durable = bytearray()
        self.pending: list[Write] = []
        self.last_write = 0
        """Offset of the latest write."""
        self.synced_write = 0
        """Offset of the latest write that a sync made sure of."""

    def copy(self) -> Inode:
        """As a file at rest, all of it durable."""
        copy = Inode()
        copy.data, copy.durable = bytearray(self.data), bytearray(self.data)
        copy.last_write, copy.synced_write = self.last_write, self.synced_write
        return copy


class NameChange(NamedTuple):
    """`inode` None: the name is gone. `old`: the name it was renamed from."""

    path: str
    inode: Inode | None
    old: str | None = None


class Faults(NamedTuple):
    """Chances per operation, for the while."""

    read_error: float = 0.0
    sync_error: float = 0.0
    write_error: float = 0.0
    full: bool = False


NO_FAULTS = Faults()


class Disk:
    """`random` decides what a crash leaves and what fails; `wait(seconds)` is how a slow operation takes its time."""

    def __init__(self, random: Random, note: Callable[[str], None]) -> None:
        self.names: dict[str, Inode] = {}
        self.locks: set[str] = set()
        self.faults = NO_FAULTS
        self.sync_s: Callable[[], float] = float
        """How long the next sync takes."""
        self.wait: Callable[[float], None] = lambda seconds: None
        self.on_kill: Callable[[], None] = lambda: None
        self.dead = False
        self.operations = 0
        self.kill_at: int | None = None
        """The process is killed at the operation with this number, of those that `kill_kind` names."""
        self.kill_kind = ""
        """Beginning of `KIND PATH`; empty: all operations count."""
        self.kill_then = 0
        """Operations of any kind that it still does after that one."""
        self.errors = 0
        """Faults that were handed out."""
        self.at_rest = False
        """The engine says that it has come to its end."""
        self.late: list[str] = []
        """What was done all the same; the first few."""
        self.refusals = 0
        """Those of them that only said that the disk is full."""
        self._random = random
        self._note = note
        self._durable_names: dict[str, Inode] = {}
        self._name_changes: list[NameChange] = []

    # --- what a process does ----------------------------------------------------------------------------------------------

    def find(self, path: str) -> Inode:
        inode = self.names.get(path)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return inode

    def create(self, path: str) -> Inode:
        self._operation("create", path)
        if path in self.names:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        if self.faults.full and self._random.random() < 0.5:  # there may be room for a name, and for nothing in it
            raise self._error(errno.ENOSPC, "create", path)
        inode = Inode()
        self._change(NameChange(path, inode))
        return inode

    def rename(self, old: str, new: str) -> None:
        self._operation("rename", f"{old} {new}")
        self._change(NameChange(new, self.find(old), old))

    def unlink(self, path: str) -> None:
        self._operation("unlink", path)
        self.find(path)
        self._change(NameChange(path, None))

    def sync_directory(self, path: str) -> None:
        self._operation("syncdir", path)
        self.wait(self.sync_s())
        left: list[NameChange] = []
        for change in self._name_changes:
            if os.path.dirname(change.path) == path:  # noqa: PTH120 names of a simulated disk
                _apply(self._durable_names, change)
            else:
                left.append(change)
        self._name_changes = left

    def read(self, path: str, inode: Inode, count: int, offset: int) -> bytes:
        self._operation("read", path)
        if self.faults.read_error and self._random.random() < self.faults.read_error:
            raise self._error(errno.EIO, "read", path)
        return bytes(inode.data[offset : offset + count])

    def write(self, path: str, inode: Inode, data: bytes, offset: int) -> None:
        if self._dies_at("write", path):  # a part of what its process was writing is there
            part = data[: self._random.randrange(0, len(data) + 1, SECTOR_BYTES)]
            _put(inode.data, offset, part)
            inode.pending.append(Write(offset, part))
        self._operation("write", path)
        if self.faults.write_error and self._random.random() < self.faults.write_error:
            raise self._error(errno.EIO, "write", path)
        if self.faults.full and offset + len(data) > len(inode.data):
            raise self._error(errno.ENOSPC, "write", path)
        _put(inode.data, offset, data)
        inode.pending.append(Write(offset, data))
        inode.last_write = offset

    def truncate(self, path: str, inode: Inode, size: int) -> None:
        self._operation("truncate", path)
        _cut(inode.data, size)
        inode.pending.append(Write(size, None))

    def sync(self, path: str, inode: Inode) -> None:
        self._operation("sync", path)
        self.wait(self.sync_s())
        if self.faults.sync_error and self._random.random() < self.faults.sync_error:
            # What the disk did not take reads well from memory, and no later sync writes it: memory thinks that it is clean.
            self._keep_some(inode)
            inode.pending = []
            raise self._error(errno.EIO, "sync", path)
        for write in inode.pending:
            _do(inode.durable, write)
        inode.pending = []
        inode.synced_write = inode.last_write

    def _dies_at(self, kind: str, path: str) -> bool:
        """Whether the next operation is the one that the process does not survive."""
        wanted = f"{kind} {path}".startswith(self.kill_kind)
        return wanted and not self.dead and not self.kill_then and self.kill_at == self.operations + 1

    @contextmanager
    def unwatched(self) -> Iterator[None]:
        """Somebody else reads: nothing fails, is counted or kills meanwhile."""
        faults, kill_at, operations = self.faults, self.kill_at, self.operations
        self.faults, self.kill_at = NO_FAULTS, None
        try:
            yield
        finally:
            self.faults, self.kill_at, self.operations = faults, kill_at, operations

    def _operation(self, kind: str, path: str) -> None:
        if self.dead:
            raise Killed
        what = f"{kind} {path}"
        if self.at_rest and len(self.late) < LATE_MAX:
            self.late.append(what)
        if kind != "read":
            self._note(what)
        if not what.startswith(self.kill_kind):
            return
        self.operations += 1
        if self.operations == self.kill_at:
            if self.kill_then:
                self.kill_at, self.kill_kind, self.kill_then = self.operations + self.kill_then, "", 0
                return
            self.kill()
            raise Killed

    def _error(self, number: int, kind: str, path: str) -> OSError:
        self.errors += 1
        self.refusals += number == errno.ENOSPC
        self._note(f"{errno.errorcode[number]} at {kind} {path}")
        return OSError(number, os.strerror(number), path)

    def _change(self, change: NameChange) -> None:
        _apply(self.names, change)
        self._name_changes.append(change)

    def names_in(self, beginning: str) -> list[str]:
        return sorted(name for name in self.names if name.startswith(beginning))

    # --- what happens to it -------------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """From now on the process has no hand on the disk."""
        self.dead = True
        self.kill_at = None
        self.on_kill()

    def new_process(self) -> None:
        self.dead = False
        self.locks.clear()
        self.operations = self.errors = self.refusals = 0
        self.at_rest = False
        self.late = []
        self.kill_at, self.kill_kind, self.kill_then = None, "", 0
        self.faults = NO_FAULTS

    def cut_power(self) -> None:
        """Only what was synced is sure to be there; of the rest some is."""
        changes, self._name_changes = self._name_changes, []
        whole = self._random.choice((0.5, self._random.random()))
        kept = [change for change in changes if self._random.random() < whole]
        for change in kept:
            _apply(self._durable_names, change)
        for inode in self._inodes():
            self._keep_some(inode)
            inode.pending = []
            inode.data = bytearray(inode.durable)
        self.names = dict(self._durable_names)
        self._note(f"power cut, {len(changes) - len(kept)} of {len(changes)} name changes lost")

    def _inodes(self) -> Iterator[Inode]:
        seen: set[int] = set()
        for inode in (*self.names.values(), *self._durable_names.values()):
            if id(inode) not in seen:
                seen.add(id(inode))
                yield inode

    def _keep_some(self, inode: Inode) -> None:
        """Of the pending writes none, all, some from the front, all with the last one torn, or any sectors get there."""
        how = self._random.choice(("none", "all", "front", "torn", "torn", "any", "any"))
        if how == "none":
            return
        pending = inode.pending
        if how == "front":
            pending = pending[: self._random.randint(0, len(pending))]
        share = self._random.random() if how == "any" else 1.0
        if how == "torn" and pending:
            pending = [*pending[:-1], _cut_short(pending[-1], self._random)]
        for write in pending:
            if write.data is None:
                if share == 1.0 or self._random.random() < share:
                    _do(inode.durable, write)
                continue
            for offset, piece in _sectors(write.offset, write.data):
                if share == 1.0 or self._random.random() < share:
                    _put(inode.durable, offset, piece)

    def flip(self, path: str, offset: int, bit: int) -> None:
        """Damage that nobody notices until it is read."""
        inode = self.names[path]
        inode.data[offset] ^= 1 << bit
        if offset < len(inode.durable):
            inode.durable[offset] ^= 1 << bit
        self._note(f"bit {bit} of byte {offset} of {path} flips")

    def replace(self, path: str, data: bytes | Inode | None) -> None:
        """Somebody else has put this file there, or taken it away (None), durably. Of a disk at rest."""
        self.names.pop(path, None)
        if isinstance(data, Inode):
            self.names[path] = data
        elif data is not None:
            inode = self.names[path] = Inode()
            inode.data, inode.durable = bytearray(data), bytearray(data)
        self._durable_names = dict(self.names)
        self._name_changes = []
        self._note(f"{path} {'is gone' if data is None else 'is another'}")

    def copy(self) -> dict[str, Inode]:
        """Of a disk at rest: every file."""
        return {name: inode.copy() for name, inode in self.names.items()}

    def restore(self, files: dict[str, Inode]) -> None:
        """Put a copy back, durably."""
        self.names = {name: inode.copy() for name, inode in files.items()}
        self._durable_names = dict(self.names)
        self._name_changes = []
        self._note("restored from a copy")

    def free_bytes(self) -> int:
        return 0 if self.faults.full else 1 << 40


class Mount:
    """The disk as one process has it; nothing that the process leaves behind reaches the disk after `unmount`.

    `on_second_try` hears of files that are written or synced after that has failed: what is on the platter is unknown then.
    """

    def __init__(self, disk: Disk, on_second_try: Callable[[str], None] = lambda path: None) -> None:
        self.disk = disk
        self.failed: set[str] = set()
        """Files whose writing or syncing failed, and not for want of space."""
        self.on_second_try = on_second_try

    def unmount(self) -> None:
        self.disk = _Nowhere(Random(0), lambda note: None)


class _Nowhere(Disk):
    """What is done here has no effect, and nobody is told: it is the garbage collector that closes what was left open."""

    def create(self, path: str) -> Inode:
        return Inode()

    def rename(self, old: str, new: str) -> None: ...

    def unlink(self, path: str) -> None: ...

    def sync_directory(self, path: str) -> None: ...

    def write(self, path: str, inode: Inode, data: bytes, offset: int) -> None: ...

    def truncate(self, path: str, inode: Inode, size: int) -> None: ...

    def sync(self, path: str, inode: Inode) -> None: ...


def _apply(names: dict[str, Inode], change: NameChange) -> None:
    if change.old is not None and names.get(change.old) is change.inode:
        del names[change.old]
    if change.inode is None:
        names.pop(change.path, None)
    else:
        names[change.path] = change.inode


def _do(content: bytearray, write: Write) -> None:
    if write.data is None:
        _cut(content, write.offset)
    else:
        _put(content, write.offset, write.data)


def _put(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def _cut(content: bytearray, size: int) -> None:
    if len(content) > size:
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))


def _cut_short(write: Write, random: Random) -> Write:
    if write.data is None:
        return write
    sectors = [piece for _, piece in _sectors(write.offset, write.data)]
    return Write(write.offset, b"".join(sectors[: random.randint(1, max(1, len(sectors) - 1))]))


def _sectors(offset: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        step = min(SECTOR_BYTES - (offset + at) % SECTOR_BYTES, len(data) - at)
        yield offset + at, data[at : at + step]
        at += step
