"""Checksums of SQLite's pages: the VFS `cksmvfs`, SQLite's own extension, which comes with apsw.

What always holds: every page that is read from the file is compared with the checksum in its last 8 bytes, and one that
differs is an error (SQLITE_IOERR_DATA), never content. Connections of others in the process keep the VFS and the files they
would have. Frames of the WAL are SQLite's business: it compares their checksums when it opens a WAL that was left behind.
"""

from __future__ import annotations

import apsw

from perdure.store.errors import ChecksumsMissing, StoreUnreadable

RESERVED_BYTES = 8
"""At the end of each page. Any other number and the VFS stands aside."""
_VFS = "cksmvfs"
_EXTENSION = "cksumvfs"


def checksum_vfs() -> str:
    """The name of the VFS, over the one that is the process's default when this is first asked.

    Errors: ChecksumsMissing (PD0207).
    """
    if _VFS not in apsw.vfs_names():
        _load()
    return _VFS


def require_checksums(connection: apsw.Connection, where: str) -> None:
    """Errors: StoreUnreadable (PD0201) unless each page that this connection reads is checked."""
    # The VFS believes the header of the file, which says how many bytes are reserved: a flipped bit there switches it off.
    if str(connection.pragma("checksum_verification")) != "1":
        raise StoreUnreadable(
            f"The pages of the store {where} have no checksums: its header is damaged, or an early build of perdure made it.",
            "Restore the data directory, or move the file away to rebuild it when the log is complete.",
        )


def is_damage(error: apsw.Error) -> bool:
    """Whether SQLite says that what it read is not what was written, as opposed to a disk that fails or is full."""
    code = getattr(error, "extendedresult", 0)
    return isinstance(error, apsw.CorruptError | apsw.NotADBError) or code == apsw.SQLITE_IOERR_DATA


def _load() -> None:
    from apsw import sqlite_extra  # 5 ms that a store in memory need not pay

    default = apsw.vfs_names()[0]
    connection = apsw.Connection(":memory:")
    try:
        sqlite_extra.load(connection, _EXTENSION)
    # An apsw without the file, without the list of files, from a zip, or with a SQLite that loads no extensions.
    except (LookupError, AttributeError, OSError, apsw.Error, sqlite_extra.NotAvailable) as error:
        raise ChecksumsMissing(
            f"This installation of apsw lacks {_EXTENSION}, SQLite's extension for the checksums of the store's pages "
            f"({type(error).__name__}: {error}).",
            "Install apsw from its wheel: pip install --force-reinstall --only-binary=:all: apsw",
        ) from error
    finally:
        connection.close()
    # It has made itself the default of the process.
    apsw.set_default_vfs(default)
