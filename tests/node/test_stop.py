"""A stop in order: no new work, running steps get their grace, what waits is put to sleep."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

import perdure
from perdure.model import journal as j
from perdure.node.errors import NodeStopped
from perdure.node.phase import Phase
from perdure.store.rows import Status

from .rig import call, make_engine, result_of, row_of, running, send
from .virtual import in_virtual_time

worker = perdure.Service("Worker")
ran: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def fresh() -> None:
    ran.clear()


@worker.handler()
async def work(ctx: perdure.Context, seconds: float) -> str:
    async def first() -> str:
        ran["first"] += 1
        await asyncio.sleep(seconds)
        ran["first done"] += 1
        return "first"

    async def second() -> str:
        ran["second"] += 1
        return "second"

    return f"{await ctx.run_typed('first', first)} {await ctx.run_typed('second', second)}"


@worker.handler()
async def waits(ctx: perdure.Context) -> str:
    return await ctx.awakeable(type_hint=str)[1]


@in_virtual_time
async def test_running_steps_finish_within_the_grace_and_the_next_start_in_the_next_life(tmp_path: Path) -> None:
    engine = make_engine([worker], tmp_path)
    await engine.start()
    working = await send(engine, "Worker/work", 5.0)
    await asyncio.sleep(0.1)
    began = asyncio.get_running_loop().time()
    await engine.stop(grace_s=10)
    assert 4 < asyncio.get_running_loop().time() - began < 6, "not the whole grace"
    assert ran == {"first": 1, "first done": 1}
    async with running([worker], tmp_path) as engine:
        assert await result_of(engine, working) == "first second"
    assert ran == {"first": 1, "first done": 1, "second": 1}


@in_virtual_time
async def test_steps_longer_than_the_grace_are_given_up_and_run_again(tmp_path: Path) -> None:
    engine = make_engine([worker], tmp_path)
    await engine.start()
    working = await send(engine, "Worker/work", 50.0)
    await asyncio.sleep(0.1)
    await engine.stop(grace_s=10)
    await asyncio.sleep(100)
    assert ran == {"first": 1}, "its body ended with the engine"
    async with running([worker], tmp_path) as engine:
        assert engine.recovered is not None
        assert engine.recovered.interrupted == 1
        assert await result_of(engine, working) == "first second"
    assert ran == {"first": 2, "first done": 1, "second": 1}


@in_virtual_time
@pytest.mark.parametrize(("seconds", "left"), [(5.0, {"first": 1, "first done": 1}), (50.0, {"first": 1})])
async def test_a_step_that_outlives_its_handler_ends_with_the_engine_at_the_latest(
    tmp_path: Path, seconds: float, left: dict[str, int]
) -> None:
    engine = make_engine([worker], tmp_path)
    await engine.start()
    working = await send(engine, "Worker/work", seconds)
    await asyncio.sleep(0.1)
    await engine.cancel(working)
    await asyncio.sleep(0.1)
    assert row_of(engine, working).status is Status.COMPLETED
    assert ran == {"first": 1}, "what has started runs to its end"
    await engine.stop(grace_s=10)
    await asyncio.sleep(100)
    assert ran == left


@in_virtual_time
async def test_what_only_waits_is_suspended_and_interrupted_by_nobody(tmp_path: Path) -> None:
    engine = make_engine([worker], tmp_path)
    await engine.start()
    waiting = [await send(engine, "Worker/waits") for _ in range(10)]
    await asyncio.sleep(0.1)
    assert len(engine.pool) == 10
    began = asyncio.get_running_loop().time()
    await engine.stop(grace_s=10)
    assert asyncio.get_running_loop().time() - began < 0.1
    async with running([worker], tmp_path) as engine:
        assert engine.recovered is not None
        assert (engine.recovered.interrupted, engine.recovered.records) == (0, 0)
        assert len(engine.pool) == 0
        await engine.signal(waiting[3], 17, b'"on"')
        assert await result_of(engine, waiting[3]) == "on"


@in_virtual_time
async def test_callers_are_told_and_new_work_is_refused() -> None:
    engine = make_engine([worker])
    await engine.start()
    calling = asyncio.create_task(call(engine, "Worker/waits"))
    working = asyncio.create_task(call(engine, "Worker/work", 5.0))
    await asyncio.sleep(0.1)
    stopping = asyncio.create_task(engine.stop(grace_s=10))
    await asyncio.sleep(1)
    assert engine.phase is Phase.STOPPING
    with pytest.raises(NodeStopped, match="PD0306: the node stops"):
        await send(engine, "Worker/waits")
    await stopping
    for told in (calling, working):
        with pytest.raises(NodeStopped):
            await told
    assert await engine.failed() is None
    await engine.stop()  # once more is no harm
    with pytest.raises(NodeStopped):
        await send(engine, "Worker/waits")


@in_virtual_time
async def test_what_was_accepted_as_the_stop_began_is_kept(tmp_path: Path) -> None:
    engine = make_engine([worker], tmp_path)
    await engine.start()
    sending = asyncio.create_task(send(engine, "Worker/waits"))
    await asyncio.sleep(0)
    await engine.stop(grace_s=0)
    accepted = await sending
    async with running([worker], tmp_path) as engine:
        assert isinstance(engine.describe(accepted)[1].entries[0], j.Input)
        await asyncio.sleep(0.1)
        await engine.signal(accepted, 17, b'"on"')
        assert await result_of(engine, accepted) == "on"
        assert row_of(engine, accepted).interruptions <= 1


@worker.handler()
async def waits_then_naps(ctx: perdure.Context) -> str:
    told = await ctx.awakeable(type_hint=str)[1]
    await ctx.sleep(3_600)
    return told


@in_virtual_time
async def test_one_that_comes_to_its_next_wait_during_the_stop_is_suspended_too(tmp_path: Path) -> None:
    engine = make_engine([worker], tmp_path)
    await engine.start()
    waiting = await send(engine, "Worker/waits_then_naps")
    await asyncio.sleep(0.1)
    telling = asyncio.create_task(engine.signal(waiting, 17, b'"told"'))
    await asyncio.sleep(0)
    await engine.stop(grace_s=0)
    await telling
    async with running([worker], tmp_path) as engine:
        assert engine.recovered is not None
        assert engine.recovered.interrupted == 0
        assert row_of(engine, waiting).status is Status.SUSPENDED
        assert await result_of(engine, waiting) == "told"
