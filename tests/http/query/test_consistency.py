"""One query sees one moment: nothing is half done in it, while calls are under way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import perdure
from perdure.http.query import queries as queries_module
from perdure.http.query.messages import Need, Rows
from perdure.http.query.queries import Queries
from perdure.http.query.reads import rows_for
from perdure.node.engine import Engine
from perdure.node.settings import EngineSettings
from perdure.store.snapshot import Snapshot

from .conftest import World

pytestmark = pytest.mark.slow
ACCOUNTS = [f"a{number}" for number in range(6)]
START = 100
bank = perdure.VirtualObject("Bank")


@bank.handler()
async def open(ctx: perdure.ObjectContext) -> None:
    ctx.set("balance", START)


@bank.handler()
async def pay(ctx: perdure.ObjectContext, to: str) -> None:
    """One coin leaves this key, and is on its way to the other from that moment on."""
    balance = await ctx.get("balance", type_hint=int) or 0
    ctx.set("balance", balance - 1)
    ctx.object_send(take, to, None)


@bank.handler()
async def take(ctx: perdure.ObjectContext) -> None:
    ctx.set("balance", (await ctx.get("balance", type_hint=int) or 0) + 1)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    settings = EngineSettings(data=tmp_path / "data", durability="os", checkpoint_interval_ms=5)
    engine = Engine(settings, perdure.app([bank]))
    await engine.start()
    made = World(engine, Queries(engine))
    yield made
    await made.close()


@pytest.fixture
def slow_reads(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the reads of two tables of one query lies a checkpoint."""

    def slowly(need: Need, snapshot: Snapshot) -> Iterator[Rows]:
        yield from rows_for(need, snapshot)
        deadline = time.monotonic() + 10
        while world.engine.store.applied_lsn == snapshot.lsn and time.monotonic() < deadline:
            time.sleep(0.001)

    monkeypatch.setattr(queries_module, "rows_for", slowly)


async def test_no_transfer_is_ever_seen_half(world: Any, slow_reads: None) -> None:
    for account in ACCOUNTS:
        await world.call(f"Bank/{account}/open")
    await world.rows("SELECT 1")
    done = False

    async def move(number: int) -> None:
        step = 0
        while not done:
            step += 1
            await world.call(f"Bank/{ACCOUNTS[(number + step) % 6]}/pay", ACCOUNTS[(number + 3 * step + 1) % 6])

    moving = [asyncio.ensure_future(move(number)) for number in range(3)]
    seen = []
    for _ in range(9):
        row = await world.row(
            "SELECT (SELECT sum(CAST(value_utf8 AS BIGINT)) FROM state WHERE service_name = 'Bank') AS held, "
            "(SELECT count(*) FROM sys_invocation WHERE target_handler_name = 'take' AND status != 'completed') AS moving, "
            "(SELECT count(*) FROM sys_invocation) AS invocations"
        )
        seen.append(row)
    done = True
    await asyncio.gather(*moving)
    assert len({row["invocations"] for row in seen}) > 4, "the queries saw different moments"
    assert {row["held"] + row["moving"] for row in seen} == {START * len(ACCOUNTS)}, seen
    assert any(row["moving"] for row in seen), "some coins were seen on their way"


async def test_what_was_acknowledged_before_a_query_is_in_it(world: Any) -> None:
    for number in range(30):
        id_ = await world.call("Bank/a/open" if number == 0 else "Bank/a/take")
        row = await world.row(
            "SELECT i.status, s.value_utf8 FROM sys_invocation i, state s "
            f"WHERE i.id = '{id_}' AND s.service_key = 'a' AND s.service_name = 'Bank'"
        )
        assert row == {"status": "completed", "value_utf8": str(START + number)}


async def test_halves_of_an_invocation_fit_together(world: Any) -> None:
    """`sys_invocation_state` and `sys_invocation_status` join to what `sys_invocation` says."""
    for account in ACCOUNTS:
        await world.call(f"Bank/{account}/open")
    moving = [
        asyncio.ensure_future(world.call(f"Bank/{ACCOUNTS[number % 6]}/pay", ACCOUNTS[(number + 1) % 6]))
        for number in range(200)
    ]
    for _ in range(5):
        odd = await world.rows(
            "SELECT v.id, v.status, ss.status AS raw, st.in_flight FROM sys_invocation v "
            "JOIN sys_invocation_status ss ON v.id = ss.id LEFT JOIN sys_invocation_state st ON v.id = st.id "
            "WHERE v.status != CASE WHEN ss.status = 'inboxed' THEN 'pending' WHEN ss.status != 'invoked' THEN ss.status "
            "WHEN st.in_flight THEN 'running' WHEN st.retry_count > 0 THEN 'backing-off' ELSE 'ready' END"
        )
        assert odd == []
    await asyncio.gather(*moving)
