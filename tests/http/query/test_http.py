"""`POST /query` over real sockets: what it takes, what it answers, and what it refuses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pyarrow as pa
import pytest

from perdure.http.admin.app import Admin
from perdure.http.query import queries as queries_module
from perdure.http.query.limits import Limits
from perdure.http.query.queries import queries_of
from perdure.http.server import HttpServer
from tests.http.conftest import Client

pytestmark = pytest.mark.slow
JSON = {"accept": "application/json", "content-type": "application/json"}
LONG = "select count(*) from generate_series(1, 1000000000000)"


@pytest.fixture
async def client(world: Any) -> AsyncIterator[Client]:
    """Of an admin API whose queries have small bounds."""
    world.more.append(queries_of(world.engine, Limits(at_once=1, waiting_max=1, seconds_max=60)))
    server = HttpServer(Admin(world.engine), "127.0.0.1", 0)
    yield Client(*await server.start())
    await server.stop(1)


async def ask(client: Client, sql: str, path: str = "/query", **headers: str) -> Any:
    named = {**JSON, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return await client.request("POST", path, json.dumps({"query": sql}).encode(), named)


@pytest.mark.parametrize("prefix", ["", "/v2", "/v3", "/v4"])
async def test_json_for_whoever_accepts_exactly_that(world: Any, client: Client, prefix: str) -> None:
    id_ = await world.call("Shop/buy", "tea")
    answer = await ask(client, "SELECT id, limit_key FROM sys_invocation;", f"{prefix}/query")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == {"rows": [{"id": id_}]}


@pytest.mark.parametrize("accept", [None, "*/*", "application/json, */*", "application/vnd.apache.arrow.stream"])
async def test_arrow_for_everybody_else(world: Any, client: Client, accept: str | None) -> None:
    id_ = await world.call("Shop/buy", "tea")
    headers = {"content-type": "application/json"} | ({} if accept is None else {"accept": accept})
    body = json.dumps({"query": "SELECT id, created_at FROM sys_invocation"}).encode()
    answer = await client.request("POST", "/v4/query", body, headers)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/vnd.apache.arrow.stream")
    table = pa.ipc.open_stream(answer.body).read_all()
    assert table.column("id").to_pylist() == [id_]
    assert str(table.schema.field("created_at").type) == "timestamp[ms, tz=+00:00]"


async def test_an_answer_without_rows_still_has_its_columns_in_arrow(client: Client) -> None:
    answer = await client.request(
        "POST", "/query", b'{"query":"SELECT id FROM sys_invocation"}', {"content-type": "application/json"}
    )
    table = pa.ipc.open_stream(answer.body).read_all()
    assert (table.num_rows, table.schema.names) == (0, ["id"])


async def test_values_in_json(client: Client) -> None:
    sql = (
        "SELECT 18446744073709551615::bigint unsigned AS big, 1.5 AS half, true AS yes, NULL AS nothing, X'00ff' AS raw, "
        "to_timestamp_millis(1795577443493) AS naive, arrow_cast(90061000, 'Duration(Millisecond)') AS long, "
        "arrow_cast(500, 'Duration(Millisecond)') AS short, make_array(1, NULL, 3) AS list, 'ü\"' AS text, "
        "date '2026-11-20' AS day, 0.0/0.0 AS nan, {a: 1} AS map"
    )
    (row,) = (await ask(client, sql)).json()["rows"]
    assert row == {
        "big": 18446744073709551615,
        "half": 1.5,
        "yes": True,
        "raw": "00ff",
        "naive": "2026-11-25T03:30:43.493",
        "long": "PT90061S",
        "short": "PT0.5S",
        "list": [1, None, 3],
        "text": 'ü"',
        "day": "2026-11-20",
        "map": {"a": 1},
    }


async def test_columns_in_their_order_for_tables(world: Any, client: Client) -> None:
    await world.call("Shop/buy", "tea")
    answer = await ask(client, "SELECT status, scope, journal_size FROM sys_invocation", "/perdure/query")
    assert answer.json() == {
        "columns": ["status", "scope", "journal_size"],
        "types": ["large_string", "large_string", "uint32"],
        "rows": [["completed", None, 4]],
    }


@pytest.mark.parametrize(
    ("sql", "status", "said"),
    [
        (
            "selec",
            400,
            'Datafusion error: SQL error: ParserError("Expected: an SQL statement, found: selec at Line: 1, Column: 1")',
        ),
        ("", 400, "No SQL statements"),
        ("SELECT key + true FROM state", 400, "Cannot"),
        ("SELECT * FROM nope", 500, "Datafusion error: Error during planning: table 'restate.public.nope' not found"),
        ("SELECT name, count(*) FROM sys_service", 500, "must be in GROUP BY"),
        ("SELECT cast('x' AS int)", 500, "Optimizer rule 'simplify_expressions' failed"),
        ("SELECT name FROM sys_service LIMIT -1", 500, "LIMIT must be >= 0"),
        ("SELECT nope FROM state", 500, "No field named nope"),
        ("SELECT nope()", 500, "Invalid function 'nope'"),
        ("SELECT 1; SELECT 2", 500, "single SQL statement"),
        ("SELECT 1/0 FROM sys_service", 500, "Divide by zero"),
        ("INSERT INTO state VALUES (1)", 400, "INSERT is refused: SQL only reads here"),
        ("-- so\n /* it */ drop table state", 400, "DROP is refused"),
        ("SET datafusion.execution.batch_size = 1", 400, "SET is refused"),
        ("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'", 400, "CREATE is refused"),
        ("COPY state TO '/tmp/x.csv'", 400, "COPY is refused"),
        ("SELECT * FROM '/etc/passwd'", 500, "not found"),
        ("SELECT * FROM read_csv('/etc/passwd')", 400, "table function"),
    ],
)
async def test_refusals(client: Client, sql: str, status: int, said: str) -> None:
    answer = await ask(client, sql)
    assert answer.status == status, answer.body
    assert said in answer.json()["message"]
    assert (await ask(client, "SELECT 1 AS one")).json() == {"rows": [{"one": 1}]}


async def test_requests_that_are_none(client: Client) -> None:
    assert (await client.request("POST", "/query", b"select 1", {"content-type": "text/plain"})).status == 415
    assert (await client.request("POST", "/query", b"{", JSON)).status == 400
    assert (await client.request("POST", "/query", b'{"sql":"select 1"}', JSON)).status == 422
    assert (await client.request("POST", "/query", b'{"query":1}', JSON)).status == 422
    long = json.dumps({"query": f"select '{'x' * 1_100_000}'"}).encode()
    assert (await client.request("POST", "/query", long, JSON)).status == 413


async def test_without_the_extra_it_says_what_to_install(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries_module, "installed", lambda: False)
    answer = await ask(client, "SELECT 1")
    assert answer.status == 501
    assert "perdure[sql]" in answer.json()["message"]


async def test_before_the_engine_is_there_and_after_it_has_stopped(world: Any, client: Client) -> None:
    await world.engine.stop(grace_s=0)
    assert (await ask(client, "SELECT * FROM state")).status == 503


async def test_too_many_at_once_are_refused_and_a_client_that_goes_away_makes_room(world: Any, client: Client) -> None:
    queries = queries_of(world.engine)
    writers = []
    for _ in range(2):
        reader, writer = await client.connect()
        body = json.dumps({"query": LONG}).encode()
        head = f"POST /query HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        writers.append(writer)
    async with asyncio.timeout(20):
        while queries._asked < 2:
            await asyncio.sleep(0.005)
    refused = await ask(client, "SELECT 1")
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    for writer in writers:
        writer.close()
    async with asyncio.timeout(20):
        while queries._asked:
            await asyncio.sleep(0.005)
    assert (await ask(client, "SELECT 1 AS one")).json() == {"rows": [{"one": 1}]}
