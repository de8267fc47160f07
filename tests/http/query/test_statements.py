"""Statements as clients of PostgreSQL send them: told apart, with values put in, and asked of the catalog."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.http.query.postgres.catalog import Catalog, NotInCatalog, in_sqlite
from perdure.http.query.postgres.statements import BadParameter, literal, split, with_values


def sqls(text: str) -> list[str]:
    return [statement.sql for statement in split(text)]


def test_statements_end_at_semicolons_outside_of_quotes_and_comments() -> None:
    assert sqls("select 1; select 2") == ["select 1", "select 2"]
    assert sqls(";;  ; select 1 ;\n-- done;\n") == ["select 1"]
    assert sqls("select ';', \";\", $$;$$, $x$ $$ ; $x$ -- ;\n, 1 /* ; */; select 'it''s; ok'") == [
        "select ';', \";\", $$;$$, $x$ $$ ; $x$ -- ;\n, 1 /* ; */",
        "select 'it''s; ok'",
    ]
    assert sqls("") == sqls(" \n") == sqls("-- nothing") == []
    assert sqls("select 'never ends; select 1") == ["select 'never ends", "select 1"]


@given(st.text(alphabet="ab'\";$-/*\n \\1", max_size=40))
def test_nothing_of_a_text_is_lost(text: str) -> None:
    """Whatever stands in it, statements are parts of it, in order."""
    at = 0
    for statement in split(text):
        at = text.index(statement.sql, at) + len(statement.sql)


def test_words_and_parameters() -> None:
    (statement,) = split("  -- first\n (SELECT $2, '$9', $1)")
    assert (statement.word, statement.parameters, statement.catalog) == ("SELECT", 2, False)
    assert [split(text)[0].word for text in ("begin", "Show x", "/* a */ explain select 1", "values (1)")] == [
        "BEGIN",
        "SHOW",
        "EXPLAIN",
        "VALUES",
    ]


def test_what_only_the_catalog_knows() -> None:
    for text in (
        "select * from pg_catalog.pg_class",
        "SELECT relname FROM pg_class",
        "select current_schema()",
        "select current_user",
        "select set_config('a', 'b', false)",
    ):
        assert split(text)[0].catalog, text
    for text in ("select 'pg_class'", "select 1 -- pg_class", "select id from sys_invocation", 'select 1 as "pg_x"'):
        assert not split(text)[0].catalog, text


def test_values_stand_where_parameters_stood() -> None:
    (statement,) = split("select $1, '$1', \"$1\", $2 -- $1")
    assert with_values(statement, ["'a $2'", "(5)"]) == "select 'a $2', '$1', \"$1\", (5) -- $1"
    with pytest.raises(BadParameter, match=r"\$2"):
        with_values(statement, ["1"])
    with pytest.raises(BadParameter, match=r"\$0"):
        with_values(split("select $0")[0], ["1"])


@pytest.mark.parametrize(
    ("value", "oid", "form", "expected"),
    [
        (None, 25, 0, "NULL"),
        (b"it's", 25, 0, "'it''s'"),
        (b"it's", 0, 1, "'it''s'"),
        (b"\\x00ff", 17, 0, "X'00ff'"),
        (b"\x00\xff", 17, 1, "X'00ff'"),
        (b"-5", 20, 0, "(-5)"),
        (struct.pack("!q", -5), 20, 1, "(-5)"),
        (struct.pack("!h", 7), 21, 1, "(7)"),
        (struct.pack("!i", 7), 23, 1, "(7)"),
        (struct.pack("!d", 0.5), 701, 1, "(0.5)"),
        (struct.pack("!d", float("nan")), 701, 1, "CAST('nan' AS DOUBLE)"),
        (b"1.25", 1700, 0, "(1.25)"),
        (b"t", 16, 0, "true"),
        (b"\0", 16, 1, "false"),
        (b"2026-11-25 01:02:03+00", 1184, 0, "CAST('2026-11-25 01:02:03+00' AS TIMESTAMP)"),
        (struct.pack("!q", 1_500_000), 1184, 1, "CAST('2000-01-01T00:00:01.500000' AS TIMESTAMP)"),
        (b"2026-11-25", 1082, 0, "CAST('2026-11-25' AS DATE)"),
    ],
)
def test_values_as_literals(value: bytes | None, oid: int, form: int, expected: str) -> None:
    assert literal(value, oid, form) == expected


@pytest.mark.parametrize(
    ("value", "oid", "form"),
    [
        (b"1; drop table x", 20, 0),
        (b"1) or (1=1", 23, 0),
        (b"x", 701, 0),
        (b"maybe", 16, 0),
        (b"zz", 17, 0),
        (b"\xff", 25, 0),
        (b"\0\0", 20, 1),
        (b"", 16, 1),
        (b"\0" * 12, 2950, 2),
        (b"\0" * 12, 600, 1),
    ],
)
def test_values_that_are_none(value: bytes, oid: int, form: int) -> None:
    with pytest.raises(BadParameter):
        literal(value, oid, form)


@given(st.text())
def test_no_text_gets_out_of_its_quotes(text: str) -> None:
    quoted = literal(text.encode("utf-8", "surrogatepass").decode("utf-8", "replace").encode(), 25, 0)
    (statement,) = split(f"select {quoted}")
    assert statement.sql.startswith("select '")
    assert quoted[1:-1].replace("''", "").count("'") == 0


# --- the catalog --------------------------------------------------------------------------------------------------------------


def test_words_are_put_into_the_other_dialect_and_quotes_left_alone() -> None:
    assert in_sqlite("c.relname OPERATOR(pg_catalog.~) '^(a ~ b)$' COLLATE pg_catalog.default").split() == [
        "c.relname",
        "REGEXP",
        "'^(a",
        "~",
        "b)$'",
    ]
    assert in_sqlite("n.nspname !~ '^pg_toast'") == "n.nspname NOT REGEXP '^pg_toast'"
    assert in_sqlite("c.reloftype::pg_catalog.regtype::pg_catalog.text") == "c.reloftype"
    assert in_sqlite("pg_catalog.format_type(a, b)") == "format_type(a, b)"
    assert in_sqlite("current_user") == "current_user()"
    assert in_sqlite(r"x ~ E'a\\b'") == r"x REGEXP 'a\b'"


def test_answers_of_the_catalog() -> None:
    catalog = Catalog()
    columns, rows = catalog.ask("SELECT relname, relkind FROM pg_catalog.pg_class WHERE relname ~ '^sys_s' ORDER BY 1")
    assert [name for name, _ in columns] == ["relname", "relkind"]
    assert rows == [("sys_scheduler", "r"), ("sys_service", "r"), ("sys_status", "v")]
    assert catalog.ask("SELECT current_database(), pg_catalog.version()")[1][0][0] == "perdure"
    assert catalog.ask("SELECT conname FROM pg_catalog.pg_constraint")[0:2] == ([("conname", 25)], [])
    kinds = catalog.ask(
        "SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod) FROM pg_attribute a JOIN pg_class c "
        "ON c.oid = a.attrelid WHERE c.relname = 'sys_journal' AND NOT a.attisdropped ORDER BY a.attnum"
    )[1]
    assert ("appended_at", "timestamp with time zone") in kinds
    assert len(kinds) == 16
    with pytest.raises(NotInCatalog):
        catalog.ask("SELECT * FROM pg_catalog.pg_stat_activity")
    with pytest.raises(NotInCatalog):
        catalog.ask("SELECT pg_sleep(1)")


def test_the_catalog_is_not_changed_by_a_question() -> None:
    catalog = Catalog()
    for sql in ("DELETE FROM pg_class", "DROP TABLE pg_catalog.pg_class", "ATTACH '/tmp/x' AS pg_x", "PRAGMA pg_x"):
        with pytest.raises(NotInCatalog):
            catalog.ask(sql)
    assert len(catalog.ask("SELECT oid FROM pg_class")[1]) == 19


def test_no_question_to_the_catalog_takes_long_or_much() -> None:
    catalog = Catalog()
    for sql in (
        "SELECT count(*) FROM pg_attribute a, pg_attribute b, pg_attribute c, pg_attribute d",
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT count(*), pg_backend_pid() FROM r",
        "SELECT pg_backend_pid(), length(zeroblob(900000000))",
    ):
        with pytest.raises(NotInCatalog):
            catalog.ask(sql)
    many = "a" * 50 + "b"
    assert catalog.ask(
        f"SELECT '{many}' ~ '^(a+)+$', '{many}' ~ '.*.*.*.*.*x', '{many}' ~ '^(a*b)$', pg_backend_pid()"
    )[1] == [("0", "0", "1", "0")]
    assert len(catalog.ask("SELECT oid FROM pg_class")[1]) == 19
