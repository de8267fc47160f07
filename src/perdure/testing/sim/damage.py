"""Damage to a disk at rest: what a process finds that nobody of the engine did. It must be refused by a code, or be harmless.

After a crash nobody can tell a torn end of the log from one that was damaged later, nor a log that lost its end from one that
never had it: `Damage` then leaves the last batch alone. After a stop in order nothing is left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from random import Random
from typing import Any

import apsw

from perdure.log.format import FRAME_HEADER_BYTES, SALT_BYTES, SEGMENT_HEADER_BYTES
from perdure.testing.sim.disk import Disk, Inode

LOG = "/data/log/"
STORE = "/data/store"
SALT_AT = 40
"""In the header of a segment."""
PAGE_BYTES = 4096
"""Of SQLite."""
PAGE_CELLS_AT = 4
"""Where a page says how many rows it has: the byte that counts up to 255."""
_ROWS = ("invocation", "journal", "event", "state", "key_queue", "timer", "outbox", "promise", "partition_meta")
_NUMBERS = {"invocation_id": "seq", "inbox": "seq", "store": "value"}

Kind = Callable[[], bool]


class Damage:
    """`begin` damages one thing; False: there was nothing to damage. `stopped`: the last process stopped in order."""

    def __init__(
        self, disk: Disk, random: Random, connected: Callable[[], AbstractContextManager[apsw.Connection]]
    ) -> None:
        self._disk = disk
        self._random = random
        self._connected = connected
        self._stopped = False
        self._older: dict[str, Inode] = {}
        """What the disk held once when it was at rest."""

    def begin(self, *, of_store: bool, stopped: bool, torn_ends: bool) -> bool:
        """`torn_ends`: a log that ends anywhere is one that a crash leaves (durability `os`)."""
        self._stopped = stopped
        kinds: list[Kind]
        if of_store:
            kinds = [*[self._flip_page] * 4, self._row, self._row, self._old_store]
        elif stopped or not torn_ends:
            kinds = [
                self._flip_any,
                self._flip_any,
                self._flip_header,
                self._cut,
                self._remove,
                self._swap,
                self._old_log,
            ]
        else:
            return False
        self._random.shuffle(kinds)
        return any(kind() for kind in kinds)

    def remember(self) -> None:
        """What is there now may come back later."""
        if self._random.random() < 0.5:
            self._older = self._disk.copy()

    def _paths(self, prefix: str) -> list[str]:
        return sorted(name for name, inode in self._disk.names.items() if inode.data and name.startswith(prefix))

    def _segments(self) -> list[str]:
        return self._paths(f"{LOG}segment-")

    def _end(self, path: str) -> int:
        """Behind what counts of a file, as far as its damage can be told."""
        inode = self._disk.names[path]
        if not path.startswith(f"{LOG}segment-"):
            return len(inode.data)
        whole = self._stopped or path != self._segments()[-1]
        return min(len(inode.data), inode.last_write + FRAME_HEADER_BYTES if whole else inode.synced_write)

    # --- bits ---------------------------------------------------------------------------------------------------------------

    def _flip_any(self) -> bool:
        paths = [*self._segments(), *self._paths(f"{LOG}clean-stop")]
        if not paths:
            return False
        path = self._random.choice(paths)
        end = self._end(path)
        return self._flip(path, max(0, end - 500) if self._random.random() < 0.5 else 0, end)

    def _flip_header(self) -> bool:
        """Of any segment; or what says which frames are of this life, in the newest."""
        segments = self._segments()
        if segments and self._random.random() < 0.5:
            return self._flip(segments[-1], SALT_AT, SALT_AT + SALT_BYTES)
        return bool(segments) and self._flip(self._random.choice(segments), 0, SEGMENT_HEADER_BYTES)

    def _flip_page(self) -> bool:
        """Rows are hidden, or come back; or anything else in a page."""
        paths = self._paths(STORE)
        if not paths:
            return False
        path = self._random.choice(paths)
        end = len(self._disk.names[path].data)
        if self._random.random() < 0.3:
            return self._flip(path, 0, end)
        at = self._random.randrange(0, end, PAGE_BYTES) + PAGE_CELLS_AT
        return self._flip(path, at, at + 1)

    def _flip(self, path: str, begin: int, end: int) -> bool:
        end = min(end, len(self._disk.names[path].data))
        if end <= begin:
            return False
        self._disk.flip(path, self._random.randrange(begin, end), self._random.randrange(8))
        return True

    # --- files --------------------------------------------------------------------------------------------------------------

    def _cut(self) -> bool:
        paths = [*self._segments(), *self._paths(f"{LOG}clean-stop")]
        path = self._random.choice(paths) if paths else ""
        if not path or (path == self._segments()[-1] and not self._stopped):
            return False
        size = len(self._disk.names[path].data)
        return self._replace(path, bytes(self._disk.names[path].data[: self._random.randrange(size)]))

    def _remove(self) -> bool:
        """A segment is gone, or all of them are, or only the newest. An older one may be one that nobody needs."""
        segments = self._segments()
        lost = segments if self._random.random() < 0.2 else self._random.sample(segments, min(1, len(segments)))
        if not lost or (segments[-1] in lost and not self._stopped):
            return False
        for path in lost:
            self._replace(path, None)
        return True

    def _swap(self) -> bool:
        """A segment and another file of the log have each other's content: a segment, or a spare with its former life."""
        segments = self._segments()
        one = self._random.choice(segments) if segments else ""
        others = [path for path in self._paths(f"{LOG}s") if path != one]
        if not one or not others:
            return False
        other = self._random.choice(others)
        held = bytes(self._disk.names[one].data)
        self._replace(one, bytes(self._disk.names[other].data))
        return self._replace(other, held)

    def _old_log(self) -> bool:
        """Files of the log are what they were: one of them, or all. The store knows more, or the newest file does."""
        if not self._stopped or not self._older:
            return False
        now, then = (
            {name: bytes(inode.data) for name, inode in files.items() if name.startswith(LOG)}
            for files in (self._disk.copy(), self._older)
        )
        changed = [name for name in sorted(now.keys() & then.keys()) if now[name] != then[name]]
        if not changed:
            return False
        if self._random.random() < 0.5:
            path = self._random.choice(changed)
            return self._replace(path, then[path])
        for name in sorted(now.keys() | then.keys()):
            self._replace(name, then.get(name))
        return True

    def _old_store(self) -> bool:
        """The store is what it was, beside a log that goes on: it catches up, or finds that the log begins too late."""
        then = {name: bytes(inode.data) for name, inode in self._older.items() if name.startswith(STORE)}
        if not then:
            return False
        for name in sorted({*then, *self._paths(STORE)}):
            self._replace(name, then.get(name))
        return True

    def _replace(self, path: str, data: bytes | None) -> bool:
        self._disk.replace(path, data)
        return True

    # --- rows ---------------------------------------------------------------------------------------------------------------

    def _row(self) -> bool:
        """Somebody changes a row with a tool that knows how to keep the checksums of pages."""
        if not self._paths(STORE):
            return False
        with self._disk.unwatched(), self._connected() as connection:
            tables = {name for (name,) in _all(connection, "SELECT name FROM sqlite_schema WHERE type = 'table'")}
            if "store" not in tables:
                return False
            kinds = (self._change_row, self._change_row, self._swap_rows, self._number, self._lose)
            return self._random.choice(kinds)(connection)

    def _some_table(self, connection: apsw.Connection, least: int) -> str | None:
        full = [table for table in _ROWS if _all(connection, f"SELECT count(*) FROM {table}")[0][0] >= least]
        return self._random.choice(full) if full else None

    def _change_row(self, connection: apsw.Connection) -> bool:
        table = self._some_table(connection, 1)
        if table is None:
            return False
        rows = _all(connection, f"SELECT {_key(connection, table)}, row FROM {table}")
        *key, held = self._random.choice(rows)
        if not held:
            return False
        changed = bytearray(held)
        changed[self._random.randrange(len(changed))] ^= 1 << self._random.randrange(8)
        return self._update(connection, table, "row", bytes(changed), key)

    def _swap_rows(self, connection: apsw.Connection) -> bool:
        """Each stands under the other's key, with its checksum."""
        table = self._some_table(connection, 2)
        if table is None:
            return False
        rows = _all(connection, f"SELECT {_key(connection, table)}, row, crc FROM {table}")
        (*one, row, crc), (*other, other_row, other_crc) = self._random.sample(rows, 2)
        self._update(connection, table, "row", other_row, one)
        self._update(connection, table, "crc", other_crc, one)
        self._update(connection, table, "row", row, other)
        return self._update(connection, table, "crc", crc, other) and row != other_row

    def _number(self, connection: apsw.Connection) -> bool:
        table, column = self._random.choice(sorted(_NUMBERS.items()))
        rows = _all(connection, f"SELECT {_key(connection, table)}, {column} FROM {table}")
        if not rows:
            return False
        *key, number = self._random.choice(rows)
        return self._update(connection, table, column, number + self._random.choice((-1, 1)), key)

    def _lose(self, connection: apsw.Connection) -> bool:
        """An inner chunk of a journal goes: what is left has a gap."""
        gaps = _all(connection, "SELECT partition, seq, min(first) FROM journal GROUP BY 1, 2 HAVING count(*) > 1")
        if not gaps:
            return False
        connection.execute("DELETE FROM journal WHERE (partition, seq, first) = (?, ?, ?)", self._random.choice(gaps))
        return True

    def _update(self, connection: apsw.Connection, table: str, column: str, value: Any, key: list[Any]) -> bool:
        names = _key(connection, table)
        marks = ", ".join("?" * len(key))
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE ({names}) = ({marks})", (value, *key))
        return True


def _all(connection: apsw.Connection, query: str) -> list[tuple[Any, ...]]:
    return connection.execute(query).fetchall()


def _key(connection: apsw.Connection, table: str) -> str:
    columns = [(place, name) for _, name, _, _, _, place in _all(connection, f"PRAGMA table_info({table})") if place]
    return ", ".join(name for _, name in sorted(columns))
