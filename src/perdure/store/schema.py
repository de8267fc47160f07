"""The SQLite file: its tables, its version, and how connections to it are opened (docs/store-format.md).

What always holds: one copy of SQLite (apsw's own) and one process use the file; one connection writes and checkpoints the
WAL, all others only read. Every commit of the writer is synced before it returns.
"""

from __future__ import annotations

import contextlib
from typing import cast

import apsw

from perdure.store.checksums import RESERVED_BYTES, checksum_vfs, is_damage, require_checksums
from perdure.store.codec import checked_number, row_crc
from perdure.store.errors import PartitionsDiffer, StoreTooNew, StoreUnreadable

SCHEMA_VERSION = 1
WAL_PAGES = 4_000
"""Pages in the WAL after which the writer moves them into the file."""
WAL_BYTES_KEPT = 64 * 1024 * 1024
BUSY_MS = 10_000
STATEMENTS_CACHED = 64
_IN_MEMORY = ":memory:"

_TABLES = """
CREATE TABLE store (name TEXT PRIMARY KEY, value INTEGER NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE partition_meta (partition INTEGER PRIMARY KEY, row BLOB NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE invocation (
  partition INTEGER, seq INTEGER, status INTEGER NOT NULL, expires_at_ms INTEGER NOT NULL,
  row BLOB NOT NULL, crc INTEGER NOT NULL,
  PRIMARY KEY (partition, seq)) WITHOUT ROWID;
CREATE INDEX invocation_expiry ON invocation (partition, expires_at_ms, seq) WHERE expires_at_ms > 0;
CREATE INDEX invocation_invoked ON invocation (partition, seq) WHERE status = 2;
CREATE TABLE invocation_id (
  partition INTEGER, id BLOB, seq INTEGER NOT NULL, crc INTEGER NOT NULL,
  PRIMARY KEY (partition, id)) WITHOUT ROWID;
CREATE TABLE journal (
  partition INTEGER, seq INTEGER, first INTEGER, row BLOB NOT NULL, crc INTEGER NOT NULL,
  PRIMARY KEY (partition, seq, first)) WITHOUT ROWID;
CREATE TABLE event (
  partition INTEGER, seq INTEGER, number INTEGER, row BLOB NOT NULL, crc INTEGER NOT NULL,
  PRIMARY KEY (partition, seq, number)) WITHOUT ROWID;
CREATE TABLE state (
  partition INTEGER, service TEXT, key TEXT, name TEXT, row BLOB NOT NULL, crc INTEGER NOT NULL,
  PRIMARY KEY (partition, service, key, name)) WITHOUT ROWID;
CREATE TABLE key_queue (
  partition INTEGER, service TEXT, key TEXT, row BLOB NOT NULL, crc INTEGER NOT NULL,
  PRIMARY KEY (partition, service, key)) WITHOUT ROWID;
CREATE TABLE inbox (
  partition INTEGER, service TEXT, key TEXT, position INTEGER, seq INTEGER NOT NULL, crc INTEGER NOT NULL,
  PRIMARY KEY (partition, service, key, position)) WITHOUT ROWID;
CREATE TABLE timer (
  partition INTEGER, wake_at_ms INTEGER, seq INTEGER, completion_id INTEGER, row BLOB NOT NULL, crc INTEGER NOT NULL,
  PRIMARY KEY (partition, wake_at_ms, seq, completion_id)) WITHOUT ROWID;
CREATE TABLE outbox (
  partition INTEGER, target INTEGER, outbox_seq INTEGER, row BLOB NOT NULL, crc INTEGER NOT NULL,
  PRIMARY KEY (partition, target, outbox_seq)) WITHOUT ROWID;
CREATE TABLE deployment (
  partition INTEGER, id TEXT, row BLOB NOT NULL, crc INTEGER NOT NULL,
  PRIMARY KEY (partition, id)) WITHOUT ROWID;
CREATE TABLE promise (
  partition INTEGER, service TEXT, key TEXT, name TEXT, row BLOB NOT NULL, crc INTEGER NOT NULL,
  PRIMARY KEY (partition, service, key, name)) WITHOUT ROWID;
"""


def open_writer(path: str | None, partitions: int, cache_bytes: int, vfs: str | None) -> apsw.Connection:
    """The one connection that writes. The file is made when it is missing; None: in memory.

    Errors: StoreUnreadable (PD0201), StoreTooNew (PD0203), PartitionsDiffer (PD0204), ChecksumsMissing (PD0207).
    """
    where = path or "in memory"
    try:
        connection = _connect(path or _IN_MEMORY, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE, vfs)
    except apsw.Error as error:
        raise unreadable(where, error) from error
    try:
        connection.reserve_bytes("main", RESERVED_BYTES)  # counts when the file is made, and not afterwards
        # The journal mode first: reading it is also what recovers a WAL left behind by a crash.
        connection.pragma("journal_mode", "WAL")
        _settle(connection, cache_bytes)
        connection.pragma("synchronous", "FULL")
        connection.pragma("wal_autocheckpoint", WAL_PAGES)
        connection.pragma("journal_size_limit", WAL_BYTES_KEPT)
        _check_or_create(connection, partitions, where)
    except apsw.Error as error:
        let_go(connection)
        raise unreadable(where, error) from error
    except BaseException:
        let_go(connection)
        raise
    return connection


def open_reader(path: str, cache_bytes: int, vfs: str | None) -> apsw.Connection:
    """A connection that only reads, and never touches the WAL. Errors: StoreUnreadable (PD0201)."""
    try:
        connection = _connect(path, apsw.SQLITE_OPEN_READONLY, vfs)
    except apsw.Error as error:
        raise unreadable(path, error) from error
    try:
        connection.pragma("query_only", 1)
        connection.pragma("wal_autocheckpoint", 0)
        _settle(connection, cache_bytes)
        require_checksums(connection, path)
    except apsw.Error as error:
        let_go(connection)
        raise unreadable(path, error) from error
    except BaseException:
        let_go(connection)
        raise
    return connection


def let_go(connection: apsw.Connection) -> None:
    """Close it, whatever the disk says to the last of it: the first error is the one that counts."""
    with contextlib.suppress(apsw.Error):
        connection.close(True)


def applied_lsn(connection: apsw.Connection) -> int:
    return _number(connection, "applied_lsn")


def put_applied_lsn(connection: apsw.Connection, lsn: int) -> None:
    _put_number(connection, "applied_lsn", lsn)


def unreadable(where: str, error: apsw.Error) -> StoreUnreadable:
    if is_damage(error) and isinstance(error, apsw.IOError):
        return StoreUnreadable(f"A page of the store {where} is damaged: its checksum does not match.", _RESTORE)
    return StoreUnreadable(f"The store {where} cannot be read: {type(error).__name__}: {error}.", _RESTORE)


_RESTORE = "Restore the data directory, or move the file away to rebuild it when the log is complete."


def _connect(path: str, flags: int, vfs: str | None) -> apsw.Connection:
    if vfs is None and path != _IN_MEMORY:
        vfs = checksum_vfs()
    return apsw.Connection(path, flags=flags, vfs=vfs, statementcachesize=STATEMENTS_CACHED)


def _settle(connection: apsw.Connection, cache_bytes: int) -> None:
    connection.set_busy_timeout(BUSY_MS)
    connection.pragma("mmap_size", 0)
    connection.pragma("cache_size", -max(cache_bytes // 1024, 64))
    connection.pragma("temp_store", "MEMORY")


def _check_or_create(connection: apsw.Connection, partitions: int, where: str) -> None:
    version = cast(int, connection.pragma("user_version"))
    if version > SCHEMA_VERSION:
        raise StoreTooNew(
            f"The store {where} has format {version}; this release of perdure reads up to {SCHEMA_VERSION}.",
            "Start it with the release that wrote it, or a later one.",
        )
    if version == 0 and connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall():
        raise StoreUnreadable(f"The file {where} is a database of another program.", _RESTORE)
    if connection.filename:
        require_checksums(connection, where)
    if version == 0:
        _create(connection, partitions)
    held = _number(connection, "partitions")
    if held != partitions:
        raise PartitionsDiffer(
            f"The store {where} holds {held} partitions, not {partitions}; the number is fixed when it is made.",
            f"Start with {held} partitions, or with a new data directory.",
        )


def _create(connection: apsw.Connection, partitions: int) -> None:
    # One transaction, so that a crash leaves either no table or all of them with their version.
    with connection:
        connection.execute(_TABLES)
        _put_number(connection, "partitions", partitions)
        _put_number(connection, "applied_lsn", 0)
        connection.pragma("user_version", SCHEMA_VERSION)


def _number(connection: apsw.Connection, name: str) -> int:
    rows = connection.execute("SELECT value, crc FROM store WHERE name = ?", (name,)).fetchall()
    if not rows:
        raise StoreUnreadable(f"The store has no '{name}': it was not written by perdure, or is damaged.", _RESTORE)
    return checked_number("store", rows[0][0], rows[0][1], (name,))


def _put_number(connection: apsw.Connection, name: str, value: int) -> None:
    crc = row_crc((name, value))
    connection.execute("INSERT OR REPLACE INTO store VALUES (?, ?, ?)", (name, value, crc))
