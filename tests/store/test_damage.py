"""What the store refuses: damaged rows and files, other formats, other numbers of partitions. Nothing wrong is returned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from perdure.env.executor import ThreadExecutor
from perdure.model.errors import PerdureError
from perdure.model.journal import Completion
from perdure.model.records import CompletionMessage
from perdure.store.checksums import checksum_vfs
from perdure.store.errors import PartitionsDiffer, RowCorrupt, StoreTooNew, StoreUnreadable
from perdure.store.rows import Promise, Status, Timer, TimerKind
from perdure.store.store import Store
from perdure.store.tables import Tables

from .rows import NOW_MS, add, checkpoint, raw_id

MARK = b"PATCH-ME-PLEASE!"


def fill(store: Store) -> None:
    """One row in every table."""
    tables = store.tables[0]
    row = add(tables, 1, entries=2)
    row.idempotency_key = MARK.decode()
    tables.append_entry(1, 2, NOW_MS, Completion(2, 1, MARK))
    row.journal_length = 3
    tables.edit_meta().next_seq = 2
    tables.set_state("Cart", "k", "total", MARK)
    tables.edit_key_queue("Cart", "k").tail = 1
    tables.put_inbox("Cart", "k", 0, 1)
    tables.put_timer(Timer(NOW_MS, 1, 1, TimerKind.SLEEP))
    tables.put_outbox(1, 1, CompletionMessage(1, Completion(1, 1, MARK)))
    tables.put_promise("Cart", "k", "paid", Promise(True, MARK))


READS: dict[str, Callable[[Tables], object]] = {
    "partition_meta": lambda tables: tables.meta,
    "invocation": lambda tables: tables.invocation(1),
    "invocation_id": lambda tables: tables.find(raw_id(1)),
    "journal": lambda tables: tables.journal(1),
    "state": lambda tables: (tables.state("Cart", "k"), tables.state_value("Cart", "k", "total")),
    "key_queue": lambda tables: tables.key_queue("Cart", "k"),
    "inbox": lambda tables: tables.inbox("Cart", "k", 0),
    "timer": lambda tables: (tables.timers_after((0, 0, 0), 5), tables.timer((NOW_MS, 1, 1))),
    "outbox": lambda tables: tables.outbox(1, 0, 5),
    "promise": lambda tables: tables.promise("Cart", "k", "paid"),
}


@pytest.fixture
def filled(path: str, executor: ThreadExecutor) -> Iterator[str]:
    store = Store.open(path, 1, executor=executor)
    fill(store)
    checkpoint(store, 9)
    store.close()
    yield path


def change(path: str, statement: str) -> None:
    connection = apsw.Connection(path, vfs=checksum_vfs())
    connection.execute(statement)
    assert connection.changes() == 1 or statement.startswith("PRAGMA")
    connection.close()


def read(path: str, executor: ThreadExecutor, table: str) -> object:
    store = Store.open(path, 1, executor=executor)
    try:
        return READS[table](store.tables[0])
    finally:
        store.close()


@pytest.mark.parametrize("table", READS)
def test_a_row_with_another_content_is_refused_by_table_and_key(
    table: str, filled: str, executor: ThreadExecutor
) -> None:
    content = "seq" if table in ("invocation_id", "inbox") else "row"
    change(filled, f"UPDATE {table} SET {content} = {'2' if content == 'seq' else 'CAST(row || row AS BLOB)'}")
    with pytest.raises(RowCorrupt, match=rf"PD0202: Row \(0.*\) of table {table} is damaged: its checksum"):
        read(filled, executor, table)


@pytest.mark.parametrize(
    ("table", "elsewhere"),
    [
        ("invocation", "seq = seq + 1"),
        ("journal", "first = 1"),
        ("state", "name = 'x'"),
        ("timer", "seq = 2"),
        ("outbox", "outbox_seq = 2"),
    ],
)
def test_a_row_under_another_key_is_refused(table: str, elsewhere: str, filled: str, executor: ThreadExecutor) -> None:
    change(filled, f"UPDATE {table} SET {elsewhere}")
    store = Store.open(filled, 1, executor=executor)
    with pytest.raises(RowCorrupt):
        store.tables[0].invocation(2) if table == "invocation" else READS[table](store.tables[0])
    store.close()


def test_a_column_of_another_type_is_refused(filled: str, executor: ThreadExecutor) -> None:
    change(filled, "UPDATE state SET row = 'text'")
    with pytest.raises(RowCorrupt):
        read(filled, executor, "state")


def test_a_missing_chunk_is_noticed(store: Store) -> None:
    tables = store.tables[0]
    row = add(tables, 1)
    for lsn in (1, 2, 3, 4):
        checkpoint(store, lsn)
        tables.append_entry(1, row.journal_length, NOW_MS, Completion(1, 1))
        row.journal_length += 1
    checkpoint(store, 5)
    checkpoint(store, 6)
    store._writer.execute("DELETE FROM journal WHERE first = 2")
    with pytest.raises(RowCorrupt, match="begins at entry 3, behind 2 entries"):
        tables.journal(1)


def test_the_lsn_is_checked(filled: str, executor: ThreadExecutor) -> None:
    change(filled, "UPDATE store SET value = 8 WHERE name = 'applied_lsn'")
    with pytest.raises(RowCorrupt, match=r"Row \('applied_lsn'\) of table store"):
        Store.open(filled, 1, executor=executor)


@pytest.mark.slow
def test_no_byte_of_the_file_can_change_an_answer(filled: str, executor: ThreadExecutor) -> None:
    """One byte flipped at many places: the answer is the one written, or a refusal with a code."""
    file = Path(filled)
    good = file.read_bytes()
    expected = {table: read(filled, executor, table) for table in READS}
    answers: set[str] = set()
    for place in range(0, len(good), 211):
        file.write_bytes(good[:place] + bytes([good[place] ^ 0x5A]) + good[place + 1 :])
        for table, wanted in expected.items():
            try:
                got = read(filled, executor, table)
            except PerdureError as error:
                answers.add(error.code)
                continue
            answers.add("same")
            assert got == wanted, (place, table)
    assert answers == {"same", "PD0201"}


# --- other files ----------------------------------------------------------------------------------------------------------


def test_garbage_is_refused(path: str, executor: ThreadExecutor) -> None:
    Path(path).write_bytes(b"no database at all, but long enough to be looked at" * 100)
    with pytest.raises(StoreUnreadable, match=r"PD0201: The store .* cannot be read: NotADBError"):
        Store.open(path, 1, executor=executor)


def test_a_database_of_another_program_is_refused_and_left_alone(path: str, executor: ThreadExecutor) -> None:
    other = apsw.Connection(path)
    other.execute("CREATE TABLE theirs (a)")
    other.close()
    with pytest.raises(StoreUnreadable, match="a database of another program"):
        Store.open(path, 1, executor=executor)
    other = apsw.Connection(path)
    assert other.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]
    other.close()


def test_a_directory_that_is_not_there(tmp_path: Path, executor: ThreadExecutor) -> None:
    with pytest.raises(StoreUnreadable, match="CantOpenError"):
        Store.open(str(tmp_path / "no" / "store.sqlite"), 1, executor=executor)


def test_a_later_format_is_refused(filled: str, executor: ThreadExecutor) -> None:
    change(filled, "PRAGMA user_version = 2")
    with pytest.raises(StoreTooNew, match=r"PD0203: .* has format 2; this release of perdure reads up to 1"):
        Store.open(filled, 1, executor=executor)


def test_another_number_of_partitions_is_refused(filled: str, executor: ThreadExecutor) -> None:
    with pytest.raises(PartitionsDiffer, match=r"PD0204: .* holds 1 partitions, not 3"):
        Store.open(filled, 3, executor=executor)
    store = Store.open(filled, 1, executor=executor)
    assert store.tables[0].with_status(Status.INVOKED) == [1]
    store.close()
