"""What a query asks of the tables, read from its plan; and which rows are then read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from perdure.http.query.messages import Need, Rows
from perdure.http.query.reads import rows_for
from perdure.http.query.worker.needs import Values, needs_of
from perdure.http.query.worker.session import Session, plan
from perdure.model.ids import format_invocation_id
from perdure.store.rows import Status
from perdure.store.snapshot import Chunk

ID = format_invocation_id(bytes(24))
OTHER = format_invocation_id(bytes(23) + b"\1")


@pytest.fixture(scope="module")
def session() -> Session:
    return Session(64 * 1024 * 1024)


def needs(session: Session, sql: str) -> dict[str, Need]:
    return {need.table: need for need in needs_of(plan(session.context, sql))}


def need(session: Session, sql: str) -> Need:
    (only,) = needs(session, sql).values()
    return only


# --- plans --------------------------------------------------------------------------------------------------------------------


def test_only_columns_that_are_used(session: Session) -> None:
    found = need(session, "SELECT target FROM sys_invocation i WHERE i.journal_size > 3 ORDER BY created_at")
    assert sorted(found.columns) == ["created_at", "journal_size", "target"]
    assert need(session, "SELECT count(*) FROM sys_invocation").columns == []


@pytest.mark.parametrize(
    ("where", "wanted", "unwanted"),
    [
        (f"id = '{ID}'", {"id": [ID]}, {}),
        (f"'{ID}' = id", {"id": [ID]}, {}),
        (f"id == '{ID}' AND status = 'running'", {"id": [ID], "status": ["running"]}, {}),
        (f"id IN ('{ID}', '{OTHER}')", {"id": [ID, OTHER]}, {}),
        (f"id = '{ID}' OR id = '{OTHER}'", {"id": [ID, OTHER]}, {}),
        ("status IN ('a','b','c','d','e')", {"status": ["a", "b", "c", "d", "e"]}, {}),
        ("status != 'completed'", {}, {"status": ["completed"]}),
        ("status NOT IN ('completed', 'paused')", {}, {"status": ["completed", "paused"]}),
        ("status != 'completed' AND status IN ('completed', 'paused')", {"status": ["paused"]}, {}),
        ("target_service_name = 'S' AND journal_size > 1", {"target_service_name": ["S"]}, {}),
        # Nothing is known of these: a row of any id may fit.
        (f"id = '{ID}' OR journal_size > 1", {}, {}),
        (f"NOT id = '{ID}' OR status = 'paused'", {}, {}),
        ("id LIKE 'inv_%'", {}, {}),
        ("id IS NOT NULL", {}, {}),
        (f"upper(id) = '{ID}'", {}, {}),
        ("id = target", {}, {}),
    ],
)
def test_values_that_a_filter_names(
    session: Session, where: str, wanted: dict[str, list[str]], unwanted: dict[str, list[str]]
) -> None:
    found = need(session, f"SELECT target FROM sys_invocation WHERE {where}")
    assert {column: sorted(values) for column, values in found.wanted.items()} == {
        column: sorted(values) for column, values in wanted.items()
    }
    assert found.unwanted == unwanted


def test_filters_reach_through_views_joins_and_subqueries(session: Session) -> None:
    assert need(session, f"SELECT method FROM sys_status WHERE sid = '{ID}'").wanted["id"] == [ID]
    assert need(session, f"SELECT x.id FROM (SELECT * FROM sys_journal) x WHERE x.id = '{ID}'").wanted == {"id": [ID]}
    joined = needs(
        session,
        "SELECT i.target, j.name FROM sys_invocation i JOIN sys_journal j ON i.id = j.id "
        f"WHERE i.id = '{ID}' AND j.entry_type = 'Command: Run'",
    )
    assert joined["sys_invocation"].wanted == {"id": [ID]}
    assert joined["sys_journal"].wanted == {"id": [ID], "entry_type": ["Command: Run"]}


def test_a_table_that_stands_twice_is_read_for_both(session: Session) -> None:
    both = need(
        session,
        f"SELECT a.target, b.status FROM sys_invocation a, sys_invocation b WHERE a.id = '{ID}' AND b.id = '{OTHER}'",
    )
    assert (sorted(both.wanted["id"]), both.limit) == ([ID, OTHER], None)
    one = need(
        session, f"SELECT target FROM sys_invocation WHERE id = '{ID}' UNION ALL SELECT status FROM sys_invocation"
    )
    assert (one.wanted, sorted(one.columns)) == ({}, ["id", "status", "target"])


def test_a_limit_counts_only_where_any_rows_will_do(session: Session) -> None:
    assert need(session, "SELECT * FROM sys_invocation LIMIT 7").limit == 7
    assert need(session, "SELECT id FROM sys_invocation LIMIT 7 OFFSET 5").limit == 12
    for sql in (
        "SELECT id FROM sys_invocation WHERE status = 'paused' LIMIT 7",
        "SELECT id FROM sys_invocation ORDER BY created_at LIMIT 7",
        "SELECT count(*) FROM sys_invocation LIMIT 7",
        "SELECT a.id FROM sys_invocation a JOIN sys_journal b ON a.id = b.id LIMIT 7",
    ):
        assert {each.limit for each in needs(session, sql).values()} == {None}, sql


def test_a_limit_of_one_scan_is_none_of_another(session: Session) -> None:
    twice = "(SELECT id FROM sys_invocation LIMIT 3) UNION ALL SELECT target FROM sys_invocation"
    assert need(session, twice).limit is None


def test_subqueries_that_stand_in_expressions_are_read_whole(session: Session) -> None:
    """Whatever their plan is, no table may be missing, and no row of it."""
    found = needs(
        session,
        f"SELECT target, (SELECT count(*) FROM state s WHERE s.service_name = 'x') FROM sys_invocation WHERE id = '{ID}' "
        "AND EXISTS (SELECT 1 FROM sys_inbox) AND journal_size < (SELECT max(index) FROM sys_journal)",
    )
    assert found.keys() == {"sys_invocation", "state", "sys_inbox", "sys_journal"}


def test_what_needs_no_table(session: Session) -> None:
    for sql in ("SELECT 1", "SHOW TABLES", "SELECT * FROM information_schema.columns", "DESCRIBE state"):
        assert needs(session, sql) == {}, sql


def test_sets_of_values() -> None:
    names = ("a", "b", "c")

    def members(values: Values) -> set[str]:
        return {name for name in names if (name in values.values) == values.only}

    every = [
        Values(frozenset(chosen), only)
        for only in (True, False)
        for chosen in ([], ["a"], ["b"], ["a", "b"], ["b", "c"], list(names))
    ]
    for left in every:
        for right in every:
            assert members(left.both(right)) == members(left) & members(right)
            assert members(left.either(right)) == members(left) | members(right)


# --- reads --------------------------------------------------------------------------------------------------------------------


class Recorder:
    """Stands where a snapshot stands, and notes how it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        def read(*arguments: Any) -> Iterator[Chunk]:
            self.asked.append((name, *arguments))
            return iter([[(0, 1, b"row", 1)]] if name.startswith("invocations") else [])

        return read


def reads(table: str, **narrow: Any) -> tuple[list[tuple[Any, ...]], list[Rows]]:
    recorder = Recorder()
    rows = list(rows_for(Need(table, [], **narrow), recorder))  # type: ignore[arg-type]
    return recorder.asked, rows


def test_ids_are_point_reads() -> None:
    for table in ("sys_invocation", "sys_invocation_status", "sys_invocation_state"):
        assert reads(table, wanted={"id": [ID, "inv_nonsense", ""]})[0] == [("invocations_with_ids", [bytes(24)])]
    asked, rows = reads("sys_journal", wanted={"id": [ID]})
    assert asked == [("invocations_with_ids", [bytes(24)]), ("journal", 0, 1)]
    assert [each.source for each in rows] == ["invocation"]
    asked, rows = reads("sys_journal_events", wanted={"id": [ID]})
    assert asked == [("invocations_with_ids", [bytes(24)]), ("events", 0, 1)]


def test_statuses_narrow_what_is_read() -> None:
    everything = list(Status)
    assert reads("sys_invocation")[0] == [("invocations", everything)]
    assert reads("sys_invocation", wanted={"status": ["pending", "paused"]})[0] == [
        ("invocations", [Status.INBOXED, Status.PAUSED])
    ]
    assert reads("sys_invocation", wanted={"status": ["running", "ready", "backing-off"]})[0] == [
        ("invocations", [Status.INVOKED])
    ]
    assert reads("sys_invocation", wanted={"status": ["nonsense"]})[0] == [("invocations", [])]
    assert reads("sys_invocation", unwanted={"status": ["completed"]})[0] == [
        ("invocations", [each for each in everything if each is not Status.COMPLETED])
    ]
    # All that back off are invoked, but not all invoked ones back off.
    assert reads("sys_invocation", unwanted={"status": ["backing-off"]})[0] == [("invocations", everything)]
    # A name that only the other table has excludes nothing from this one.
    assert reads("sys_invocation", unwanted={"status": ["invoked", "inboxed"]})[0] == [("invocations", everything)]
    assert reads("sys_invocation_status", unwanted={"status": ["pending"]})[0] == [("invocations", everything)]
    assert reads("sys_invocation_status", unwanted={"status": ["invoked", "inboxed"]})[0] == [
        ("invocations", [each for each in everything if each not in (Status.INVOKED, Status.INBOXED)])
    ]
    assert reads("sys_invocation_state")[0] == [("invocations", [Status.INVOKED])]
    assert reads("sys_invocation_state", unwanted={"status": ["completed"]})[0] == [("invocations", [Status.INVOKED])]


def test_events_are_read_of_those_that_have_some() -> None:
    assert len(reads("sys_invocation", limit=0)[1]) == 0
    assert reads("sys_journal_events")[0] == [("invocations_with_events",), ("events", 0, 1)]
    assert reads("sys_journal_events", limit=0)[0] == [("invocations_with_events",)]


@pytest.mark.parametrize(
    ("table", "method"), [("state", "states"), ("sys_promise", "promises"), ("sys_inbox", "inboxed")]
)
def test_keys_narrow_what_is_read(table: str, method: str) -> None:
    assert reads(table)[0] == [(method, None, None)]
    assert reads(table, wanted={"service_name": ["S"]})[0] == [(method, "S", None)]
    assert reads(table, wanted={"service_name": ["S"], "service_key": ["k"]})[0] == [(method, "S", "k")]
    assert reads(table, wanted={"service_name": ["S", "T"], "service_key": ["k"]})[0] == [(method, None, "k")]


def test_older_names_narrow_the_state_too() -> None:
    assert reads("state", wanted={"service": ["S"], "service_key_utf8": ["k"]})[0] == [("states", "S", "k")]


def test_an_empty_name_is_a_name() -> None:
    assert reads("state", wanted={"service_name": ["S"], "service_key": [""]})[0] == [("states", "S", "")]


def test_tables_without_stored_rows_read_nothing() -> None:
    for table in ("sys_service", "sys_deployment", "sys_rules", "sys_vqueues"):
        assert reads(table) == ([], [])
