"""`always_replay`: an attempt leaves memory at every wait; the results are those of attempts that stay."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

import perdure
from perdure.sdk.errors import TerminalError

entered: Counter[str] = Counter()
work = perdure.Service("Work")
box = perdure.VirtualObject("Box")
flow = perdure.Workflow("Flow")


@pytest.fixture(autouse=True)
def fresh() -> None:
    entered.clear()


async def doubled(number: int) -> int:
    entered["step"] += 1
    return number * 2


@work.handler()
async def steps(ctx: perdure.Context, count: int) -> list[int]:
    entered["steps"] += 1
    return [await ctx.run_typed(f"step {n}", doubled, perdure.RunOptions(), n) for n in range(count)]


@work.handler()
async def native(ctx: perdure.Context) -> list[int]:
    entered["native"] += 1
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(then_double(ctx, n)) for n in range(4)]
    return [task.result() for task in tasks]


async def then_double(ctx: perdure.Context, number: int) -> int:
    await asyncio.sleep(0.001 * (4 - number))
    return await ctx.run_typed(f"double {number}", doubled, perdure.RunOptions(), number)


@work.handler()
async def in_time(ctx: perdure.Context) -> str:
    try:
        return await asyncio.wait_for(ctx.awakeable(type_hint=str)[1], 0.005)
    except TimeoutError:
        return await ctx.run_typed("late", lambda: "too late")


@work.handler()
async def cleans_up(ctx: perdure.Context) -> str:
    entered["cleans_up"] += 1
    try:
        await ctx.sleep(timedelta(hours=1))
    except TerminalError as error:
        why = error.status_code
        return await ctx.run_typed("undo", lambda: f"undone after {why}")
    return "slept"


@box.handler()
async def put(ctx: perdure.ObjectContext, number: int) -> list[int]:
    held = await ctx.get("held", type_hint=list[int], default=[])
    held = [*held, await ctx.service_call(add_one, number)]
    ctx.set("held", held)
    return held


@work.handler()
async def add_one(ctx: perdure.Context, number: int) -> int:
    return number + 1


@flow.main()
async def run(ctx: perdure.WorkflowContext) -> str:
    first = await ctx.promise("first", type_hint=str).value()
    second = await ctx.signal("second", type_hint=str)
    return first + second


@flow.handler()
async def give(ctx: perdure.WorkflowSharedContext, value: str) -> None:
    await ctx.promise("first", type_hint=str).resolve(value)


@pytest.fixture(params=[False, True], ids=["stays", "replays"])
def node(request: pytest.FixtureRequest) -> perdure.Node:
    return perdure.Node([work, box, flow], settings=perdure.EngineSettings(always_replay=request.param, dev=True))


async def test_the_results_are_the_same_and_steps_run_once(node: perdure.Node) -> None:
    replays = node._settings.always_replay
    async with node:
        client = node.client
        assert await client.service_call(steps, 5) == [0, 2, 4, 6, 8]
        assert entered["step"] == 5
        assert entered["steps"] == (6 if replays else 1)
        assert await client.service_call(native) == [0, 2, 4, 6]
        assert entered["step"] == 9
        # How many of the parallel steps end in one batch is the machine's doing.
        assert entered["native"] > 1 if replays else entered["native"] == 1
        assert await client.service_call(in_time) == "too late"
        await asyncio.gather(*(client.object_call(put, "a", n) for n in range(3)))
        assert sorted(await client.object_call(put, "a", 3)) == [1, 2, 3, 4]


async def test_what_waits_leaves_memory_and_hears_what_it_is_told(node: perdure.Node) -> None:
    replays = node._settings.always_replay
    async with node:
        client = node.client
        started = await client.workflow_submit(run, "a")
        sleeper = await client.service_send(cleans_up)
        while not entered["cleans_up"]:
            await asyncio.sleep(0)
        while replays and len(node.engine.pool):
            await asyncio.sleep(0)
        await client.workflow_call(give, "a", "one ")
        await client.resolve_signal(started.invocation_id, "second", "two")
        assert await client.attach(started) == "one two"
        await client.cancel(sleeper)
        assert await client.attach(sleeper) == "undone after 409"
        assert entered["cleans_up"] >= (2 if replays else 1)
