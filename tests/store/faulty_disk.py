"""SQLite's disk, which refuses reads or writes when a test says so."""

from __future__ import annotations

import apsw

from perdure.store.checksums import checksum_vfs


class FaultyDisk(apsw.VFS):
    def __init__(self, name: str) -> None:
        self.name = name
        self.full = False
        """Nothing can be written."""
        self.unreadable = False
        super().__init__(name, checksum_vfs())

    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> apsw.VFSFile:
        return _File(self, name, flags)


class _File(apsw.VFSFile):
    def __init__(self, disk: FaultyDisk, name: apsw.URIFilename | str | None, flags: list[int]) -> None:
        self._disk = disk
        super().__init__(checksum_vfs(), name, flags)

    def xRead(self, amount: int, offset: int) -> bytes:
        if self._disk.unreadable:
            raise apsw.IOError
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:
        if self._disk.full:
            raise apsw.FullError
        super().xWrite(data, offset)
