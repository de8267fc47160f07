"""Checksums of pages: they are in the file, damage anywhere in it is refused, and nobody else in the process notices them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import apsw
import apsw.sqlite_extra
import pytest

from perdure.env.executor import ThreadExecutor
from perdure.model.errors import PerdureError
from perdure.store import checksums
from perdure.store.checksums import checksum_vfs
from perdure.store.errors import ChecksumsMissing, StoreUnreadable
from perdure.store.store import Store

from .rows import add, checkpoint

PAGE_BYTES = 4096


@pytest.fixture
def filled(path: str, executor: ThreadExecutor) -> Iterator[str]:
    """Enough rows for some levels in the trees, and a file that was closed in order."""
    store = Store.open(path, 1, executor=executor)
    for seq in range(1, 200):
        add(store.tables[0], seq, entries=3)
        store.tables[0].set_state("Cart", f"k{seq % 50}", "total", b"x" * seq)
    checkpoint(store, 9)
    store.close()
    yield path


def digest(path: str, executor: ThreadExecutor) -> str:
    store = Store.open(path, 1, executor=executor, cache_bytes=1 << 16)
    try:
        return store.digest(0)
    finally:
        store.close()


def test_every_page_has_one(filled: str) -> None:
    content = Path(filled).read_bytes()
    pages = [content[at : at + PAGE_BYTES] for at in range(0, len(content), PAGE_BYTES)]
    connection = apsw.Connection(":memory:")
    apsw.sqlite_extra.load(connection, "cksumvfs")
    apsw.set_default_vfs("unix")
    assert len(pages) > 20
    assert {connection.execute("SELECT verify_checksum(?)", (page,)).get for page in pages} == {1}
    connection.close()


@pytest.mark.slow
def test_a_flipped_bit_anywhere_is_refused_or_in_a_page_that_nobody_reads(
    filled: str, executor: ThreadExecutor
) -> None:
    good = Path(filled).read_bytes()
    wanted = digest(filled, executor)
    random, refused = Random(5), 0
    header = [(place, bit) for place in range(0, 108, 7) for bit in (0, 3)]
    for place, bit in [*header, *((random.randrange(len(good)), random.randrange(8)) for _ in range(150))]:
        damaged = bytearray(good)
        damaged[place] ^= 1 << bit
        Path(filled).write_bytes(damaged)
        try:
            assert digest(filled, executor) == wanted, (place, bit)
        except StoreUnreadable:
            refused += 1
    assert refused > 100


def test_the_byte_that_switches_them_off(filled: str, executor: ThreadExecutor) -> None:
    good = Path(filled).read_bytes()
    assert good[20] == checksums.RESERVED_BYTES
    for bit in range(8):
        damaged = bytearray(good)
        damaged[20] ^= 1 << bit
        Path(filled).write_bytes(damaged)
        with pytest.raises(StoreUnreadable):
            Store.open(filled, 1, executor=executor)


def test_a_store_without_them_is_refused(path: str, executor: ThreadExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("perdure.store.schema.RESERVED_BYTES", 0)
        patch.setattr("perdure.store.schema.require_checksums", lambda connection, where: None)
        store = Store.open(path, 1, executor=executor)
        add(store.tables[0], 1)
        checkpoint(store, 3)
        store.close()
    before = Path(path).read_bytes()
    with pytest.raises(StoreUnreadable, match=r"PD0201: The pages of the store .* have no checksums"):
        Store.open(path, 1, executor=executor)
    assert Path(path).read_bytes() == before


def test_damage_that_a_checkpoint_meets_is_named(filled: str, executor: ThreadExecutor) -> None:
    content = bytearray(Path(filled).read_bytes())
    store = Store.open(filled, 1, executor=executor, cache_bytes=1)
    for seq in range(1, 200):
        store.tables[0].set_state("Cart", f"k{seq % 50}", "total", b"y" * seq)
    for at in range(6 * PAGE_BYTES, len(content), PAGE_BYTES):
        content[at + 2000] ^= 1
    Path(filled).write_bytes(content)
    store.freeze(10)
    with pytest.raises(
        StoreUnreadable, match=r"PD0201: A page of the store .* is damaged: its checksum does not match"
    ):
        store.write_frozen().result(30)
    store.close()


def test_a_read_that_meets_damage_is_told_besides_the_reader(filled: str, executor: ThreadExecutor) -> None:
    told: list[PerdureError] = []
    store = Store.open(filled, 1, executor=executor, cache_bytes=1, on_failure=told.append)
    content = bytearray(Path(filled).read_bytes())
    for at in range(PAGE_BYTES, len(content), PAGE_BYTES):
        content[at + 2000] ^= 1
    Path(filled).write_bytes(content)
    with pytest.raises(StoreUnreadable) as raised:
        store.tables[0].journal(77)
    assert told == [raised.value]
    store.close()


def test_others_in_the_process_keep_their_files(tmp_path: Path) -> None:
    checksum_vfs()
    assert apsw.vfs_names()[0] == "unix"
    theirs = apsw.Connection(str(tmp_path / "theirs.db"))
    theirs.execute("CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(9000))")
    assert theirs.reserve_bytes() == 0
    assert theirs.pragma("checksum_verification") is None
    theirs.close()
    content = (tmp_path / "theirs.db").read_bytes()
    assert content[20] == 0
    plain = apsw.Connection(str(tmp_path / "theirs.db"), vfs=checksum_vfs())
    assert plain.execute("SELECT length(x) FROM t").get == 9000
    plain.close()


def test_an_apsw_without_the_extension(
    path: str, tmp_path: Path, executor: ThreadExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Built from source, for instance. A store in memory needs no checksums."""
    if "cksmvfs" in apsw.vfs_names():
        apsw.unregister_vfs("cksmvfs")
    monkeypatch.setattr(apsw.sqlite_extra, "_exts", (".elsewhere",))
    with pytest.raises(ChecksumsMissing, match=r"PD0207: .* lacks cksumvfs.*Install apsw from its wheel"):
        Store.open(path, 1, executor=executor)
    assert not Path(path).exists()
    Store.open(None, 1, executor=executor).close()
    monkeypatch.undo()
    Store.open(path, 1, executor=executor).close()


def test_a_copy_of_the_file_is_as_good(filled: str, tmp_path: Path, executor: ThreadExecutor) -> None:
    copy = str(tmp_path / "copy.sqlite")
    shutil.copy(filled, copy)
    assert digest(copy, executor) == digest(filled, executor)
