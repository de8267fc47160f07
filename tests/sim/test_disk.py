"""The simulated disk: what survives what, and that SQLite lives on it."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from random import Random

import apsw
import pytest

from perdure.testing.sim.disk import Disk, Faults, Killed, Mount
from perdure.testing.sim.files import SimFiles, SimVFS, scratch_directory


def new_disk(seed: int = 1) -> tuple[Disk, list[str]]:
    notes: list[str] = []
    return Disk(Random(seed), notes.append), notes


def test_what_was_synced_survives_and_the_rest_may_not() -> None:
    contents = set()
    for seed in range(60):
        disk, _ = new_disk(seed)
        files = SimFiles(Mount(disk))
        file = files.open(Path("/d/a"), create=True)
        file.pwritev([b"s" * 1024], 0)
        file.sync()
        files.sync_directory(Path("/d"))
        file.pwritev([b"n" * 1024], 0)
        disk.cut_power()
        contents.add(bytes(disk.find("/d/a").data))
    assert b"s" * 1024 in contents
    assert b"n" * 1024 in contents
    assert b"s" * 512 + b"n" * 512 in contents, "torn, and the later half alone"
    assert b"n" * 512 + b"s" * 512 in contents
    assert len(contents) == 4, "a sector is old or new, never mixed"


def test_names_need_a_sync_of_their_directory() -> None:
    left = set()
    for seed in range(40):
        disk, _ = new_disk(seed)
        files = SimFiles(Mount(disk))
        for name in ("a", "b"):
            files.open(Path(f"/d/{name}"), create=True).sync()
        files.sync_directory(Path("/d"))
        files.rename(Path("/d/a"), Path("/d/c"))
        files.unlink(Path("/d/b"))
        disk.cut_power()
        left.add(tuple(files.names(Path("/d"))))
    assert left == {("a", "b"), ("a",), ("b", "c"), ("c",)}


def test_a_killed_process_loses_nothing_but_may_cut_its_last_write_short() -> None:
    disk, _ = new_disk(3)
    file = SimFiles(Mount(disk)).open(Path("/d/a"), create=True)
    file.pwritev([b"1" * 2048], 0)
    disk.kill_at = disk.operations + 1
    with pytest.raises(Killed):
        file.pwritev([b"2" * 2048], 2048)
    with pytest.raises(Killed):
        file.pread(1, 0)
    disk.new_process()
    data = bytes(disk.find("/d/a").data)
    assert data[:2048] == b"1" * 2048
    assert set(data[2048:]) <= {ord("2")}
    assert len(data) % 512 == 0


def test_after_a_failed_sync_memory_says_what_the_platter_does_not() -> None:
    kept = set()
    for seed in range(20):
        disk, _ = new_disk(seed)
        files = SimFiles(Mount(disk))
        file = files.open(Path("/d/a"), create=True)
        file.pwritev([b"0" * 512], 0)
        file.sync()
        files.sync_directory(Path("/d"))
        file.pwritev([b"1" * 512], 0)
        disk.faults = Faults(sync_error=1.0)
        with pytest.raises(OSError):
            file.sync()
        disk.faults = Faults()
        file.sync()
        assert file.pread(512, 0) == b"1" * 512
        disk.cut_power()
        kept.add(bytes(disk.find("/d/a").data[:1]))
    assert kept == {b"0", b"1"}


def test_a_full_disk_takes_no_more_but_lets_what_is_there_be_written_over() -> None:
    disk, _ = new_disk()
    files = SimFiles(Mount(disk))
    file = files.open(Path("/d/a"), create=True)
    file.pwritev([b"x" * 100], 0)
    disk.faults = Faults(full=True)
    file.pwritev([b"y" * 100], 0)
    with pytest.raises(OSError, match="No space"):
        file.pwritev([b"z"], 100)
    made = 0
    for number in range(20):  # there may be room for a name
        with contextlib.suppress(OSError):
            new = files.open(Path(f"/d/{number}"), create=True)
            made += 1
            with pytest.raises(OSError, match="No space"):
                new.pwritev([b"z"], 0)
    assert 0 < made < 20


def test_sqlite_keeps_what_it_committed_and_only_that() -> None:
    """Two connections in WAL mode, a commit that was synced, one that was not, and the power."""
    lost = 0
    with scratch_directory() as scratch:
        for seed in range(30):
            disk, _ = new_disk(seed)
            vfs = SimVFS(f"test{seed}", Mount(disk), Path(scratch))
            writer = apsw.Connection("/d/db", vfs=vfs.name)
            writer.pragma("journal_mode", "WAL")
            writer.pragma("synchronous", "FULL")
            writer.execute("CREATE TABLE t (x); INSERT INTO t VALUES (1)")
            writer.pragma("synchronous", "NORMAL")
            writer.execute("INSERT INTO t VALUES (2)")
            reader = apsw.Connection("/d/db", vfs=vfs.name)
            assert reader.execute("SELECT count(*) FROM t").fetchall() == [(2,)]
            disk.dead = True
            for connection in (reader, writer):
                with contextlib.suppress(Killed):
                    connection.close()
            vfs.unregister()
            disk.new_process()
            disk.cut_power()
            vfs = SimVFS(f"again{seed}", Mount(disk), Path(scratch))
            again = apsw.Connection("/d/db", vfs=vfs.name)
            rows = [row[0] for row in again.execute("SELECT x FROM t ORDER BY x")]
            assert rows in ([1], [1, 2])
            lost += rows == [1]
            again.close()
            vfs.unregister()
    assert 0 < lost < 30


def test_what_a_process_leaves_behind_has_no_hand_on_the_disk() -> None:
    disk, _ = new_disk()
    mount = Mount(disk)
    file = SimFiles(mount).open(Path("/d/a"), create=True)
    file.pwritev([b"x"], 0)
    mount.unmount()
    file.pwritev([b"y"], 0)
    file.sync()
    assert disk.find("/d/a").data == b"x"


def test_a_connection_may_outlive_what_its_disk_knew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The garbage collector clears both of them in any order; SQLite still asks its disk to delete the WAL then."""
    raised: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", raised.append)
    monkeypatch.setattr(sys, "excepthook", lambda *error: raised.append(error))
    disk, _ = new_disk()
    with scratch_directory() as scratch:
        vfs = SimVFS("cleared", Mount(disk), Path(scratch))
        connection = apsw.Connection("/d/db", vfs=vfs.name)
        connection.pragma("journal_mode", "WAL")
        connection.execute("CREATE TABLE t (x)")
        vfs.unregister()
        vars(vfs).clear()
        connection.close(True)
    assert raised == []
    assert "/d/db-wal" in disk.names
