"""The PostgreSQL wire with real clients: psycopg, and psql where it is installed."""

from __future__ import annotations

import asyncio
import shutil
import struct
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import psycopg
import pytest
from psycopg import errors

from perdure.http.query.limits import Limits
from perdure.http.query.postgres.server import PostgresServer
from perdure.http.query.queries import Queries
from perdure.http.server import CannotListen
from perdure.store.rows import Status

pytestmark = pytest.mark.slow
T = TypeVar("T")
ENDLESS = "SELECT count(*) FROM generate_series(1, 1000000000000)"


class Port:
    def __init__(self, world: Any, server: PostgresServer, host: str, port: int) -> None:
        self.world = world
        self.server = server
        self.host, self.port = host, port

    def connect(self, **options: Any) -> psycopg.Connection[Any]:
        return psycopg.connect(host=self.host, port=self.port, user="me", dbname="restate", **options)

    async def work(self, work: Callable[[psycopg.Connection[Any]], T], **options: Any) -> T:
        """Run it with a connection, on a thread: the server lives on this one."""

        def run() -> T:
            with self.connect(**options) as connection:
                return work(connection)

        return await asyncio.to_thread(run)

    async def psql(self, *commands: str, expect: int = 0) -> str:
        arguments = [part for command in commands for part in ("-c", command)]
        process = await asyncio.create_subprocess_exec(
            "psql",
            "-X",
            *("-h", self.host, "-p", str(self.port), "-U", "me", "-d", "restate"),
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == expect, output.decode()
        return output.decode()


@pytest.fixture
async def port(world: Any) -> AsyncIterator[Port]:
    server = PostgresServer(world.queries, "127.0.0.1", 0)
    yield Port(world, server, *await server.start())
    await server.stop()


# --- psycopg ------------------------------------------------------------------------------------------------------------------


async def test_the_queries_of_2023(port: Port) -> None:
    """What runs where, and what a key holds, in the words of that time."""
    holding = await port.world.send("Cart/ann/hold")
    await port.world.until(holding, lambda row: row.status is Status.SUSPENDED)
    delayed = await port.world.send("Shop/nap", delay_ms=3_600_000)

    def ask(connection: psycopg.Connection[Any]) -> tuple[list[Any], list[Any]]:
        status = connection.execute(
            "select service, method, service_key_utf8, id, status, invoked_by_service, invoked_by_id from sys_status;"
        ).fetchall()
        state = connection.execute(
            "select service, service_key_utf8, key, value_utf8 from state s where s.service='Cart';"
        ).fetchall()
        return sorted(status), state

    status, state = await port.work(ask)
    assert status == [
        ("Cart", "hold", "ann", holding, "suspended", None, None),
        ("Shop", "nap", None, delayed, "scheduled", None, None),
    ]
    assert state == [("Cart", "ann", "held", "true")]


async def test_values_in_text_and_in_binary(port: Port) -> None:
    await port.world.call("Cart/a/put", "cup")
    sql = (
        "SELECT journal_size, created_at, journal_retention, target, true AS yes, 1.5 AS half, NULL AS nothing, "
        "partition_key, scope, make_array('a', NULL, 'b\"c') AS texts, arrow_cast(make_array(1, 2), 'List(UInt32)') AS numbers "
        "FROM sys_invocation_status"
    )

    def ask(connection: psycopg.Connection[Any]) -> list[Any]:
        return [
            connection.execute(sql, binary=binary).fetchall()
            + connection.execute("SELECT value FROM state WHERE key = 'items'", binary=binary).fetchall()
            for binary in (False, True)
        ]

    text, binary = await port.work(ask)
    assert text == binary
    size, created, retention, *rest = text[0]
    assert (size, retention, rest[0:4]) == (4, timedelta(days=1), ["Cart/a/put", True, 1.5, None])
    assert datetime.now(UTC) - created < timedelta(minutes=5)
    assert isinstance(rest[4], Decimal)
    assert rest[5:] == [None, ["a", None, 'b"c'], [1, 2]]
    assert text[1] == (b'["cup"]',)


async def test_parameters(port: Port) -> None:
    id_ = await port.world.call("Shop/buy", "o'hara; --")
    failed = await port.world.call("Shop/refuse")

    def ask(connection: psycopg.Connection[Any]) -> list[Any]:
        def one(sql: str, *values: Any) -> Any:
            return connection.execute(sql, values).fetchall()

        soon = datetime.now(UTC) + timedelta(hours=1)
        return [
            one("SELECT id FROM sys_invocation WHERE id = %s", id_),
            one("SELECT id FROM sys_invocation WHERE id = ANY(make_array(%s, %s)) ORDER BY id", id_, failed),
            one("SELECT count(*) FROM sys_invocation WHERE journal_size > %s AND created_at < %s", 3, soon),
            one("SELECT %s, %s, %s, %s, %s", "it's $1 -- ;", 7, 2.5, True, None),
            one("SELECT %s::text || '$1 $2' -- $3", "x"),
            one("SELECT encode(%s, 'hex')", b"\x00\xff"),
            [connection.execute("SELECT id FROM sys_invocation WHERE id = %b", (id_,)).fetchone() for _ in range(8)],
        ]

    by_id, by_list, counted, plain, quoted, raw, prepared = await port.work(ask)
    assert by_id == [(id_,)]
    assert by_list == [(each,) for each in sorted((id_, failed))]
    assert counted == [(1,)]
    assert plain == [("it's $1 -- ;", 7, 2.5, True, None)]
    assert quoted == [("x$1 $2",)]
    assert raw == [("00ff",)]
    assert prepared == [(id_,)] * 8, "also once the client has prepared the statement"


async def test_transactions_are_taken_and_mean_nothing(port: Port) -> None:
    def ask(connection: psycopg.Connection[Any]) -> list[Any]:
        seen = [connection.execute("SELECT 1").fetchone()]
        with pytest.raises(errors.UndefinedTable):
            connection.execute("SELECT * FROM nope")
        with pytest.raises(errors.InFailedSqlTransaction):
            connection.execute("SELECT 1")
        connection.rollback()
        with connection.transaction():
            seen.append(connection.execute("SELECT 2").fetchone())
        connection.commit()
        connection.autocommit = True
        connection.execute("SET application_name = 'test'")
        seen.append(connection.execute("SHOW transaction_read_only").fetchone())
        return seen

    assert await port.work(ask) == [(1,), (2,), ("on",)]


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("selec", errors.SyntaxError),
        ("SELECT * FROM nope", errors.UndefinedTable),
        ("SELECT nope FROM state", errors.UndefinedColumn),
        ("SELECT nope()", errors.UndefinedFunction),
        ("INSERT INTO state VALUES (1)", errors.ReadOnlySqlTransaction),
        ("DELETE FROM state", errors.ReadOnlySqlTransaction),
        ("CREATE TABLE x (a INT)", errors.ReadOnlySqlTransaction),
        ("SELECT 1/0 FROM sys_service", errors.InternalError_),
        ("COPY state FROM STDIN", errors.ReadOnlySqlTransaction),
        ("SELECT pg_sleep(1)", errors.FeatureNotSupported),
    ],
)
async def test_errors_have_their_sqlstate(port: Port, sql: str, error: type[Exception]) -> None:
    def ask(connection: psycopg.Connection[Any]) -> tuple[Any, ...] | None:
        for parameters in (None, []):
            with pytest.raises(error):
                connection.execute(sql, parameters)
        return connection.execute("SELECT 1").fetchone()

    assert await port.work(ask, autocommit=True) == (1,)


async def test_several_statements_stop_at_the_first_error(port: Port) -> None:
    def ask(connection: psycopg.Connection[Any]) -> list[Any]:
        cursor = connection.execute("SELECT 1; SELECT 'a;b'; ; SELECT 3 -- ;")
        seen = [cursor.fetchone()]
        while cursor.nextset():
            seen.append(cursor.fetchone())
        with pytest.raises(errors.UndefinedTable):
            connection.execute("SELECT 1; SELECT * FROM nope; SELECT 2")
        return seen

    assert await port.work(ask, autocommit=True) == [(1,), ("a;b",), (3,)]


async def test_many_rows_and_rows_in_portions(port: Port) -> None:
    def ask(connection: psycopg.Connection[Any]) -> tuple[int, int]:
        whole = len(connection.execute("SELECT value FROM generate_series(1, 20000)").fetchall())
        cursor = connection.cursor()
        portions = sum(1 for _ in cursor.stream("SELECT value FROM generate_series(1, 5000)"))
        return whole, portions

    assert await port.work(ask) == (20_000, 5_000)


async def test_cancelling(port: Port) -> None:
    def ask(connection: psycopg.Connection[Any]) -> tuple[Any, ...] | None:
        connection.execute("SELECT 1")
        asyncio.run_coroutine_threadsafe(cancel_when_it_runs(), loop).add_done_callback(lambda done: done.result())
        with pytest.raises(errors.QueryCanceled):
            connection.execute(ENDLESS)
        return connection.execute("SELECT 2").fetchone()

    async def cancel_when_it_runs() -> None:
        while not port.world.queries._running:
            await asyncio.sleep(0.005)
        ((process, (secret, _)),) = port.server._connections.items()
        for given in (secret ^ 1, secret):
            reader, writer = await asyncio.open_connection(port.host, port.port)
            writer.write(struct.pack("!iiiI", 16, 80877102, process, given))
            assert await reader.read() == b""
            writer.close()

    loop = asyncio.get_running_loop()
    assert await port.work(ask, autocommit=True) == (2,)


async def test_a_client_that_goes_away_stops_its_query(port: Port) -> None:
    _, writer = await asyncio.open_connection(port.host, port.port)
    writer.write(startup() + b"Q" + struct.pack("!i", len(ENDLESS) + 5) + ENDLESS.encode() + b"\0")
    async with asyncio.timeout(20):
        while not port.world.queries._running:
            await asyncio.sleep(0.005)
        writer.close()
        while port.world.queries._running or port.server._connections:
            await asyncio.sleep(0.005)


async def test_a_query_that_takes_too_long(world: Any) -> None:
    queries = Queries(world.engine, Limits(seconds_max=1.0))
    world.more.append(queries)
    server = PostgresServer(queries, "127.0.0.1", 0)
    port = Port(world, server, *await server.start())

    def ask(connection: psycopg.Connection[Any]) -> str:
        with pytest.raises(errors.QueryCanceled) as refused:
            connection.execute(ENDLESS)
        return str(refused.value)

    assert "took longer than 1 s" in await port.work(ask)
    await server.stop()


async def test_the_server_stops_with_connections_open(port: Port) -> None:
    connection = await asyncio.to_thread(port.connect)
    await asyncio.to_thread(connection.execute, "SELECT 1")
    await port.server.stop()
    with pytest.raises(psycopg.OperationalError):
        await asyncio.to_thread(connection.execute, "SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        await asyncio.to_thread(port.connect)


async def test_an_engine_that_has_stopped(port: Port) -> None:
    await port.world.engine.stop(grace_s=0)

    def ask(connection: psycopg.Connection[Any]) -> None:
        with pytest.raises(errors.CannotConnectNow):
            connection.execute("SELECT * FROM state")

    await port.work(ask)


async def test_a_port_that_is_taken(port: Port) -> None:
    with pytest.raises(CannotListen, match=str(port.port)):
        await PostgresServer(port.world.queries, port.host, port.port).start()


# --- the wire -----------------------------------------------------------------------------------------------------------------


def startup(version: int = 3 << 16, **parameters: str) -> bytes:
    body = struct.pack("!i", version)
    for name, value in {"user": "me", **parameters}.items():
        body += name.encode() + b"\0" + value.encode() + b"\0"
    return struct.pack("!i", len(body) + 5) + body + b"\0"


async def exchange(port: Port, sent: bytes) -> bytes:
    """What comes back until the server closes the connection, or waits."""
    reader, writer = await asyncio.open_connection(port.host, port.port)
    writer.write(sent)
    writer.write_eof()
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return answer


async def test_encryption_is_declined(port: Port) -> None:
    for code in (80877103, 80877104):
        assert (await exchange(port, struct.pack("!ii", 8, code))) == b"N"
    with pytest.raises(psycopg.OperationalError):
        await asyncio.to_thread(port.connect, sslmode="require")


async def test_newer_versions_of_the_protocol_are_told_what_is_spoken(port: Port) -> None:
    answer = await exchange(port, startup(3 << 16 | 2, _pq_="x"))
    assert answer.startswith(b"R")
    assert b"v" + struct.pack("!iii", 12, 3 << 16, 0) in answer
    assert b"v" in await exchange(port, startup(**{"_pq_.some": "on"}))
    assert b"08P01" in await exchange(port, startup(2 << 16))


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"\0\0\0\0",
        b"\0\0\0\x08\0\0\0\0",
        startup()[:-1],
        startup() + b"Q\0\0\0\x09SELE",
        startup() + b"Q\0\0\0\x02",
        startup() + b"Q\x7f\xff\xff\xff",
        startup() + b"Q\0\0\0\x05x",
        startup() + b"Q\0\0\0\x06\xff\0",
        startup() + b"Z\0\0\0\x04",
        startup() + b"B\0\0\0\x06\0\0",
        startup() + b"F\0\0\0\x04",
    ],
)
async def test_nonsense_is_answered_or_dropped_and_harms_nobody(port: Port, sent: bytes) -> None:
    await exchange(port, sent)
    async with asyncio.timeout(10):
        while port.server._connections:
            await asyncio.sleep(0.005)
    assert await port.work(lambda connection: connection.execute("SELECT 1").fetchone()) == (1,)


async def test_messages_of_the_extended_protocol_in_odd_orders(port: Port) -> None:
    def text(value: str) -> bytes:
        return value.encode() + b"\0"

    def message(kind: bytes, body: bytes = b"") -> bytes:
        return kind + struct.pack("!i", len(body) + 4) + body

    bind = message(b"B", text("") + text("s") + struct.pack("!hhh", 0, 0, 0))
    sent = startup()
    sent += (
        message(b"E", text("") + struct.pack("!i", 0)) + message(b"E", text("") + struct.pack("!i", 0)) + message(b"S")
    )
    sent += message(b"P", text("s") + text("SELECT value FROM generate_series(1, 3)") + struct.pack("!h", 0))
    sent += message(b"D", b"S" + text("s")) + bind + message(b"E", text("") + struct.pack("!i", 2))
    sent += message(b"E", text("") + struct.pack("!i", 2)) + message(b"H") + message(b"C", b"S" + text("s")) + bind
    sent += message(b"S") + message(b"P", text("") + text("") + struct.pack("!h", 0))
    sent += message(b"B", text("") + text("") + struct.pack("!hhh", 0, 0, 0)) + message(b"D", b"P" + text(""))
    sent += message(b"E", text("") + struct.pack("!i", 0)) + message(b"S") + message(b"X")
    answer = await exchange(port, sent)
    kinds = []
    at = 0
    while at < len(answer):
        (length,) = struct.unpack_from("!i", answer, at + 1)
        kinds.append(answer[at : at + 1])
        at += 1 + length
    told = b"".join(kinds).lstrip(b"RSK")
    # An error, once; parsed and described; two rows and one more; closed, and then not there; an empty statement.
    assert told == b"ZEZ" + b"1tT" + b"2DDs" + b"DC" + b"3" + b"E" + b"Z" + b"12nIZ"


# --- psql ---------------------------------------------------------------------------------------------------------------------

needs_psql = pytest.mark.skipif(
    shutil.which("psql") is None, reason="psql is not installed (apt-get install postgresql-client)"
)


@needs_psql
async def test_psql_runs_the_queries_of_2023(port: Port) -> None:
    holding = await port.world.send("Cart/ann/hold")
    await port.world.until(holding, lambda row: row.status is Status.SUSPENDED)
    shown = await port.psql("select service, method, service_key_utf8, status from sys_status;")
    assert [line.split() for line in shown.splitlines()[2:3]] == [["Cart", "|", "hold", "|", "ann", "|", "suspended"]]
    shown = await port.psql("select service, service_key_utf8, key, value_utf8 from state s where s.service='Cart';")
    assert "Cart    | ann              | held | true" in shown


@needs_psql
async def test_psql_lists_and_describes_tables(port: Port) -> None:
    tables = await port.psql(r"\dt")
    assert tables.count("| table |") == 18
    assert "sys_invocation_status" in tables
    assert "sys_status" in await port.psql(r"\dv")
    assert (await port.psql(r"\d")).count("perdure") == 19
    state = await port.psql(r"\d state")
    assert 'Table "public.state"' in state
    assert [line.split("|")[0].strip() for line in state.splitlines()[3:-1]] == [
        "partition_key",
        "scope",
        "service_name",
        "service_key",
        "key",
        "key_length",
        "value_utf8",
        "value",
        "value_length",
        "service",
        "service_key_utf8",
    ]
    invocation = await port.psql(r"\d sys_invocation")
    for line in ("created_at | timestamp with time zone", "journal_size | bigint", "journal_retention | interval"):
        name, kind = line.split(" | ")
        assert any(name in row and kind in row for row in invocation.splitlines())
    assert 'View "public.sys_status"' in await port.psql(r"\d sys_status")
    assert "Did not find any relation" in await port.psql(r"\d nope", expect=1)
    assert (await port.psql(r"\dt sys_j*")).count("| table |") == 2
    for command in (r"\d+ state", r"\d+", r"\l", r"\dn", r"\conninfo", r"\dt+"):
        await port.psql(command)


@needs_psql
async def test_psql_shows_errors_and_goes_on(port: Port) -> None:
    assert "ERROR:  table 'nope' not found" in await port.psql("select * from nope", expect=1)
    shown = await port.psql("select 1 as one; select 2 as two", "begin; select 3 as three; commit")
    assert [line.strip() for line in shown.splitlines() if line.strip() in ("1", "2", "3")] == ["1", "2", "3"]
    assert "COMMIT" in shown


@needs_psql
async def test_psql_describe_as_restate_documented_it(port: Port) -> None:
    shown = await port.psql("describe sys_status;")
    assert "service_key_utf8" in shown


async def test_connections_have_a_bound(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.http.query.postgres.server.CONNECTIONS_MAX", 1)
    connection = await asyncio.to_thread(port.connect)
    with pytest.raises(psycopg.OperationalError, match="1 connections already"):
        await asyncio.to_thread(port.connect)
    await asyncio.to_thread(connection.close)
