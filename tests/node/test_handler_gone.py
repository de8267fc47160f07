"""A handler that is not there when its invocation is to go on: a failure that says so, retried until it is back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import perdure
from perdure.model.ids import parse_invocation_id
from perdure.model.retry import RetryPolicy
from perdure.node.engine import Engine
from perdure.node.settings import EngineSettings
from perdure.store.rows import Status

from .rig import result_of, row_of, running, send, until, until_status
from .virtual import in_virtual_time

shop = perdure.Service("Shop")
other = perdure.Service("Other")


@shop.handler()
async def buy(ctx: perdure.Context) -> str:
    return await ctx.signal("word", type_hint=str)


@other.handler()
async def nothing(ctx: perdure.Context) -> None: ...


async def waiting_in(data: Path) -> bytes:
    async with running([shop], data) as engine:
        invocation_id = await send(engine, "Shop/buy")
        await until_status(engine, invocation_id, Status.SUSPENDED)
    return invocation_id


@in_virtual_time
async def test_without_its_service_it_is_retried_and_says_why(tmp_path: Path) -> None:
    invocation_id = await waiting_in(tmp_path / "data")
    async with running([other], tmp_path / "data", default_retry=RetryPolicy(initial_interval_ms=1_000)) as engine:
        await engine.resume(invocation_id)
        await until(lambda: row_of(engine, invocation_id).retry_at_ms > 0)
        error = row_of(engine, invocation_id).last_error
        assert error is not None and (error.code, error.doc_code) == (404, "RT0011")
        assert "Shop" in error.message
    async with running([shop], tmp_path / "data") as engine:
        await engine.signal(invocation_id, "word", b'"back"')
        assert await result_of(engine, invocation_id) == "back"


async def test_a_node_without_an_app_says_the_same(tmp_path: Path) -> None:
    """As `perdure serve --data DIR` with no app, on a directory of one that had some."""
    async with perdure.Node([shop], data=tmp_path) as node:
        sent = await node.client.service_send(buy)
        invocation_id = parse_invocation_id(sent.invocation_id)
    engine = Engine(EngineSettings(data=tmp_path), None)
    await engine.start()
    try:
        await engine.resume(invocation_id)
        while (error := row_of(engine, invocation_id).last_error) is None:
            await asyncio.sleep(0)
        assert error.doc_code == "RT0011"
    finally:
        await engine.stop()
