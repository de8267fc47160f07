"""A running engine whose invocations are in every state there is, and ways to ask SQL about them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import perdure
from perdure.http.query.queries import Limits, Queries
from perdure.model.ids import format_invocation_id
from perdure.model.target import Target
from perdure.node.engine import Engine
from perdure.node.requests import NewInvocation
from perdure.node.settings import EngineSettings
from perdure.store.rows import Invocation

HOUR = timedelta(hours=1)
ONCE = perdure.InvocationRetryPolicy(initial_interval=HOUR, max_attempts=5)
GIVES_UP = perdure.InvocationRetryPolicy(initial_interval=timedelta(milliseconds=1), max_attempts=1)

shop = perdure.Service("Shop")
cart = perdure.VirtualObject("Cart")
trip = perdure.Workflow("Trip")


@shop.handler()
async def buy(ctx: perdure.Context, what: str) -> str:
    price = await ctx.run_typed("price", lambda: 7)
    return f"{what} for {price}"


@shop.handler()
async def refuse(ctx: perdure.Context) -> None:
    raise perdure.TerminalError("sold out", status_code=409)


@shop.handler()
async def nap(ctx: perdure.Context) -> None:
    await ctx.sleep(HOUR, name="nap")


@shop.handler()
async def wait(ctx: perdure.Context) -> str:
    return await ctx.signal("word", type_hint=str)


@shop.handler(invocation_retry_policy=ONCE)
async def stumble(ctx: perdure.Context) -> None:
    raise ConnectionError("the bank is closed")


@shop.handler(invocation_retry_policy=GIVES_UP)
async def fall(ctx: perdure.Context) -> None:
    raise ConnectionError("the bank is gone")


@cart.handler()
async def put(ctx: perdure.ObjectContext, what: str) -> None:
    ctx.set("items", [what])
    ctx.set("count", 1)


@cart.handler()
async def hold(ctx: perdure.ObjectContext) -> None:
    ctx.set("held", True)
    await ctx.sleep(HOUR)


@cart.handler()
async def order(ctx: perdure.ObjectContext, what: str) -> str:
    ctx.service_send(nap, None)
    return await ctx.service_call(buy, what)


@trip.main()
async def run(ctx: perdure.WorkflowContext) -> str:
    return await ctx.promise("paid", type_hint=str).value()


@trip.handler()
async def pay(ctx: perdure.WorkflowSharedContext, how: str) -> None:
    await ctx.promise("paid", type_hint=str).resolve(how)


APP = perdure.app([shop, cart, trip])


@dataclass
class World:
    engine: Engine
    queries: Queries
    more: list[Queries] = field(default_factory=list)

    async def rows(self, sql: str) -> list[dict[str, Any]]:
        answer = await self.queries.run(sql, "json")
        rows: list[dict[str, Any]] = json.loads(answer.body)["rows"]
        assert len(rows) == answer.rows
        return rows

    async def row(self, sql: str) -> dict[str, Any]:
        (row,) = await self.rows(sql)
        return row

    async def send(self, path: str, arg: Any = None, **options: Any) -> str:
        return format_invocation_id((await self.engine.send(request(path, arg, **options))).invocation_id)

    async def call(self, path: str, arg: Any = None, **options: Any) -> str:
        return format_invocation_id((await self.engine.call(request(path, arg, **options))).invocation_id)

    async def until(self, path_or_id: str, fits: Callable[[Invocation], bool]) -> Invocation:
        """Wait until the invocation is as it should be."""
        from perdure.model.ids import parse_invocation_id

        async with asyncio.timeout(20):
            while (row := self.engine.find(parse_invocation_id(path_or_id))) is None or not fits(row):
                await asyncio.sleep(0.005)
        return row

    def with_limits(self, **limits: Any) -> Queries:
        queries = Queries(self.engine, Limits(**limits))
        self.more.append(queries)
        return queries

    async def close(self) -> None:
        await self.engine.stop(grace_s=0)
        for queries in (self.queries, *self.more):
            queries.close()


def request(path: str, arg: Any = None, **options: Any) -> NewInvocation:
    service, *key, handler = path.split("/")
    body = b"" if arg is None else json.dumps(arg).encode()
    return NewInvocation(Target(service, key[0] if key else None, handler), body, "application/json", **options)


@pytest.fixture
async def make_world(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    made: list[World] = []

    async def make(**settings: Any) -> World:
        settings = {"durability": "os", "checkpoint_interval_ms": 60_000, "data": tmp_path / "data", **settings}
        engine = Engine(EngineSettings(**settings), APP)
        await engine.start()
        made.append(World(engine, Queries(engine)))
        return made[-1]

    yield make
    for world in made:
        await world.close()


@pytest.fixture
async def world(make_world: Any) -> World:
    made: World = await make_world()
    return made


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
