"""The data directory: one process at a time, one format, a number of partitions that never changes.

DIR/lock            held by the process that uses the directory
DIR/perdure.json    format version and number of partitions, written once
DIR/log/            the log's segments
DIR/store.sqlite    the tables
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import msgspec

from perdure.env.files import FileLocked, Files
from perdure.model.errors import PerdureError

FORMAT = 1


class DataDirectoryError(PerdureError):
    code: ClassVar[str] = "PD0210"


class DataDirectoryLocked(PerdureError):
    code: ClassVar[str] = "PD0211"


class WrongPartitions(PerdureError):
    code: ClassVar[str] = "PD0212"


class Identity(msgspec.Struct, frozen=True):
    format: int
    partitions: int


class DataDirectory:
    """Shapes: `log` and `store` are where those two live; `partitions` is fixed for good."""

    def __init__(self, path: Path, files: Files, partitions: int | None) -> None:
        """Lock the directory, making it if it is new. Errors: DataDirectoryError, DataDirectoryLocked, WrongPartitions."""
        self.path = path
        self.log = path / "log"
        self.store = path / "store.sqlite"
        try:
            files.make_directory(self.log)
            self._lock = files.lock(path / "lock")
        except FileLocked as locked:
            raise DataDirectoryLocked(
                f"the data directory {path} is in use by {locked.owner or 'another process'}.",
                "Stop that process, or give this one another directory (--data).",
            ) from None
        except OSError as error:
            raise DataDirectoryError(
                f"the data directory {path} cannot be used: {error}.", "Check its path, its rights and the free space."
            ) from error
        try:
            self.partitions = self._identify(files, partitions)
        except BaseException:
            self._lock.release()
            raise

    def release(self) -> None:
        self._lock.release()

    def _identify(self, files: Files, wanted: int | None) -> int:
        name = "perdure.json"
        if name not in files.names(self.path):
            if files.names(self.log):
                raise DataDirectoryError(
                    f"{self.path} holds a log but no {name}.", "It is damaged: restore the file from a backup."
                )
            identity = Identity(FORMAT, wanted or 1)
            self._write(files, name, identity)
            return identity.partitions
        identity = self._read(files, name)
        if identity.format != FORMAT:
            raise DataDirectoryError(
                f"{self.path} has format {identity.format}; this version of perdure reads format {FORMAT}.",
                "Use the version of perdure that wrote it.",
            )
        if wanted is not None and wanted != identity.partitions:
            raise WrongPartitions(
                f"{self.path} was made with {identity.partitions} partition(s), not {wanted}; the number cannot change.",
                f"Leave --partitions out, or give {identity.partitions}.",
            )
        return identity.partitions

    def _read(self, files: Files, name: str) -> Identity:
        file = files.open(self.path / name, write=False)
        try:
            return msgspec.json.decode(file.pread(file.size(), 0), type=Identity)
        except msgspec.DecodeError as error:
            raise DataDirectoryError(
                f"{self.path / name} is not readable: {error}.", "Restore the file from a backup."
            ) from None
        finally:
            file.close()

    def _write(self, files: Files, name: str, identity: Identity) -> None:
        temporary = self.path / f"{name}.new"
        if temporary.name in files.names(self.path):
            files.unlink(temporary)
        file = files.open(temporary, create=True)
        try:
            file.pwritev([msgspec.json.encode(identity) + b"\n"], 0)
            file.sync()
        finally:
            file.close()
        files.rename(temporary, self.path / name)
        files.sync_directory(self.path)
