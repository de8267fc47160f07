"""docs/sql.md: its queries run, and it names every table and column."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from perdure.http.query.schema import STATUS_COLUMNS, TABLES

PAGE = (Path(__file__).parents[3] / "docs" / "sql.md").read_text()
QUERIES = [
    query for block in re.findall(r"^```sql\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL) for query in block.split(";\n")
]


def test_every_table_and_column_is_named() -> None:
    sections = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL))
    without_rows = re.findall(r"`(sys_\w+)`", PAGE.partition("### Without rows")[2].partition("`SHOW TABLES`")[0])
    tables = {**TABLES, "sys_status": STATUS_COLUMNS}
    assert sections.keys() | set(without_rows) == tables.keys()
    for table, text in sections.items():
        assert set(tables[table]) <= set(re.findall(r"`(\w+)`", text)), table


@pytest.mark.slow
async def test_its_queries_run(world: Any) -> None:
    await world.call("Shop/buy", "tea")
    await world.send("Cart/a/hold")
    await world.send("Cart/a/put", "x")
    await world.send("Shop/nap", delay_ms=3_600_000)
    asked = [query for query in QUERIES if query.strip()]
    waiting, failing, held, took, counted, why = [await world.rows(query) for query in asked]
    assert {row["status"] for row in waiting} >= {"pending", "scheduled"}
    assert (failing, took, why) == ([], [], [])
    assert [(row["service_key"], row["waiting"]) for row in held] == [("a", 1)]
    assert sum(row["count(*)"] for row in counted) == 4
