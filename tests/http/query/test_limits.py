"""Queries that take too long or too much are stopped, and take nothing from anybody else."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from perdure.http.query.errors import QueryProcessFailed, QueryTooLarge, QueryTooLong, TooManyQueries
from perdure.http.query.queries import Queries
from perdure.node.errors import NodeStopped
from perdure.store.snapshot import Snapshot

pytestmark = pytest.mark.slow
ENDLESS = "SELECT count(*) FROM generate_series(1, 1000000000000)"
STUBBORN = (
    "SELECT count(*) FROM generate_series(1, 300000) a, generate_series(1, 300000) b WHERE a.value * b.value % 7 = 8"
)
"""DataFusion cannot be asked to give up this one: its join does not let go until it is done."""


def processes(queries: Queries) -> list[int]:
    return [
        slot.worker._process.pid for slot in (*queries._free, *queries._running) if slot.worker._process is not None
    ]


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("sql", [ENDLESS, STUBBORN])
async def test_a_query_that_takes_too_long_is_stopped_with_its_process(world: Any, sql: str) -> None:
    queries = world.with_limits(seconds_max=1.5)
    await queries.run("SELECT 1", "json")
    (pid,) = processes(queries)
    with pytest.raises(QueryTooLong):
        await queries.run(sql, "json")
    assert not runs(pid)
    assert (await queries.run("SELECT 1 AS one", "json")).body == b'{"rows":[{"one":1}]}'


async def test_whoever_stops_waiting_stops_the_query(world: Any) -> None:
    queries = world.with_limits()
    await queries.run("SELECT 1", "json")
    (pid,) = processes(queries)
    asking = asyncio.ensure_future(queries.run(STUBBORN, "json"))
    await asyncio.sleep(0)
    while not queries._running:
        await asyncio.sleep(0.005)
    asking.cancel()
    async with asyncio.timeout(20):  # long before the process would end by itself
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert not runs(pid)
    assert (await queries.run("SELECT 1 AS one", "json")).rows == 1


async def test_an_answer_has_a_bound(world: Any) -> None:
    queries = world.with_limits(answer_bytes_max=100_000)
    for form in ("json", "arrow", "table", "postgres"):
        answer = await queries.run("SELECT value FROM generate_series(1, 1000)", form)
        assert (answer.rows, len(answer.body) < 100_000) == (1000, True)
        with pytest.raises(QueryTooLarge, match="more than 100000 bytes"):
            await queries.run("SELECT value FROM generate_series(1, 100000)", form)


async def test_memory_has_a_bound(world: Any) -> None:
    queries = world.with_limits(memory_bytes_max=300 * 1024 * 1024, seconds_max=15)
    # The process ends where an allocation fails. Rarely that leaves its threads waiting for each other: then time ends it.
    with pytest.raises((QueryTooLarge, QueryTooLong)):
        await queries.run(
            "SELECT value, repeat('x', 100) AS x FROM generate_series(1, 100000000) ORDER BY x, value", "json"
        )
    with pytest.raises((QueryTooLarge, QueryTooLong)):
        await queries.run("SELECT repeat('x', 500000000) AS x FROM generate_series(1, 4)", "json")
    assert (await queries.run("SELECT 1 AS one", "json")).rows == 1


async def test_so_many_run_at_once_so_many_wait_and_more_are_refused(world: Any) -> None:
    queries = world.with_limits(at_once=2, waiting_max=3)
    asked = [asyncio.ensure_future(queries.run(ENDLESS, "json")) for _ in range(2)]
    asked += [asyncio.ensure_future(queries.run(f"SELECT {number} AS n", "json")) for number in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyQueries):
        await queries.run("SELECT 1", "json")
    for endless in asked[:2]:
        endless.cancel()
    assert [answer.body for answer in await asyncio.gather(*asked[2:])] == [
        b'{"rows":[{"n":0}]}',
        b'{"rows":[{"n":1}]}',
        b'{"rows":[{"n":2}]}',
    ]
    await asyncio.gather(*asked[:2], return_exceptions=True)


async def test_a_process_that_dies_is_replaced(world: Any) -> None:
    queries = world.with_limits()
    await queries.run("SELECT 1", "json")
    (pid,) = processes(queries)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(QueryTooLarge):
        await queries.run("SELECT 1", "json")
    assert (await queries.run("SELECT 1", "json")).rows == 1
    assert processes(queries) != [pid]


async def test_a_process_that_does_not_start(world: Any) -> None:
    queries = world.with_limits(memory_bytes_max=20 * 1024 * 1024)
    for _ in range(2):
        with pytest.raises(QueryProcessFailed):
            await queries.run("SELECT 1", "json")
    assert processes(queries) == []


async def test_a_process_starts_where_python_leaves_assertions_out() -> None:
    program = (
        "from perdure.http.query import messages as m\n"
        "from perdure.http.query.worker_process import WorkerProcess\n"
        "worker = WorkerProcess(1 << 30)\n"
        "worker.start()\n"
        "print(worker.ask(m.Ask('SELECT 1 AS one', 'json', 9, 9999)).body)\n"
        "worker.kill()\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-O", "-c", program, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    assert b'{"rows":[{"one":1}]}' in said, said.decode()


async def test_a_process_is_not_led_astray_by_what_lies_around(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("datafusion", "pyarrow", "types", "msgspec"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not me')")
    monkeypatch.chdir(tmp_path)
    assert (await world.queries.run("SELECT 1 AS one", "json")).rows == 1


async def test_a_process_is_kept_for_the_next_query_and_not_for_ever(world: Any) -> None:
    queries = world.with_limits(idle_s=0.2)
    await queries.run("SELECT 1", "json")
    (pid,) = processes(queries)
    await queries.run("SELECT 1", "json")
    assert processes(queries) == [pid]
    async with asyncio.timeout(10):
        while runs(pid):
            await asyncio.sleep(0.01)
    assert (await queries.run("SELECT 1", "json")).rows == 1


async def test_the_end_of_the_engine_ends_the_processes(world: Any) -> None:
    await world.call("Shop/buy", "tea")
    await world.rows("SELECT id FROM sys_invocation")
    asking = asyncio.ensure_future(world.queries.run(ENDLESS, "json"))
    await asyncio.sleep(0)
    pids = processes(world.queries)
    await world.engine.stop(grace_s=0)
    with pytest.raises((QueryTooLarge, NodeStopped)):
        await asking
    async with asyncio.timeout(10):
        while any(map(runs, pids)):
            await asyncio.sleep(0.01)
    with pytest.raises(NodeStopped):
        await world.queries.run("SELECT 1", "json")


async def test_a_process_ends_with_the_node_even_when_that_is_killed(world: Any) -> None:
    """Its pipe closes then; here by hand."""
    await world.queries.run("SELECT 1", "json")
    (slot,) = [slot for slot in world.queries._free if slot.worker.running]
    process = slot.worker._process
    process.stdin.close()
    assert process.wait(10) == 0


async def test_a_snapshot_is_let_go_of_when_the_query_is_stopped(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.call("Shop/buy", "tea")
    closed: list[int] = []
    close = Snapshot.close
    monkeypatch.setattr(Snapshot, "close", lambda self: (closed.append(self.lsn), close(self)))
    queries = world.with_limits(seconds_max=1.5)
    with pytest.raises(QueryTooLong):
        await queries.run(f"SELECT id FROM sys_invocation WHERE journal_size < ({ENDLESS})", "json")
    assert closed == [world.engine.applied_lsn]


async def test_the_engine_goes_on_while_queries_run(world: Any) -> None:
    """The loop is never kept: calls are answered while a stubborn query fills a core and others read the tables."""
    for number in range(300):
        await world.call("Shop/buy", str(number))
    stubborn = asyncio.ensure_future(world.queries.run(STUBBORN, "json"))
    reading = asyncio.ensure_future(world.queries.run("SELECT * FROM sys_journal", "json"))
    answered = 0
    async with asyncio.timeout(30):
        while not reading.done() or answered < 50:
            await world.call("Shop/buy", "more")
            answered += 1
    assert not stubborn.done()
    assert (await reading).rows >= 1200
    stubborn.cancel()
    await asyncio.gather(stubborn, return_exceptions=True)
