"""Attempts leave memory when they only wait, come back by replay, give room to others, and are fenced."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

import perdure
from perdure.model import journal as j
from perdure.model.records import Progress, Suspended
from perdure.store.rows import Status

from ..node.rig import call, log_of, result_of, row_of, running, send, until, until_status
from ..node.virtual import DAY, in_virtual_time

waiter = perdure.Service("Waiter")
ran: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def fresh() -> None:
    ran.clear()


@waiter.handler()
async def nap(ctx: perdure.Context, seconds: float) -> str:
    ran["nap"] += 1
    await ctx.sleep(timedelta(seconds=seconds))
    return "rested"


@waiter.handler()
async def native_nap(ctx: perdure.Context, seconds: float) -> str:
    ran["native_nap"] += 1
    await asyncio.sleep(seconds)
    return "rested"


@waiter.handler()
async def awaits(ctx: perdure.Context) -> str:
    ran["awaits"] += 1
    return await ctx.awakeable(type_hint=str)[1]


@waiter.handler()
async def in_time(ctx: perdure.Context) -> str:
    try:
        return await asyncio.wait_for(ctx.awakeable(type_hint=str)[1], 3_600)
    except TimeoutError:
        return "too late"


@waiter.handler(inactivity_timeout=timedelta(seconds=3))
async def impatient(ctx: perdure.Context) -> str:
    return await ctx.awakeable(type_hint=str)[1]


@waiter.handler()
async def works(ctx: perdure.Context) -> str:
    async def body() -> str:
        await asyncio.sleep(600)
        return "done"

    return await ctx.run_typed("work", body)


@waiter.handler()
async def tree(ctx: perdure.Context, depth: int) -> int:
    """A tree of calls: each node waits for two others."""
    if depth == 0:
        return 1
    left, right = ctx.service_call(tree, depth - 1), ctx.service_call(tree, depth - 1)
    return await left + await right


@in_virtual_time
async def test_one_that_waits_only_for_a_distant_timer_leaves_at_once() -> None:
    async with running([waiter]) as engine:
        began = asyncio.get_running_loop().time()
        for handler in ("nap", "native_nap"):
            invocation_id = await send(engine, f"Waiter/{handler}", 3_600.0)
            await until_status(engine, invocation_id, Status.SUSPENDED)
            assert asyncio.get_running_loop().time() - began < 1, "not after the inactivity timeout"
        assert len(engine.pool) == 0
        assert await result_of(engine, invocation_id) == "rested"
        assert ran["native_nap"] == 2, "it came back by replay"


@in_virtual_time
async def test_one_whose_timer_is_near_stays() -> None:
    async with running([waiter]) as engine:
        assert await call(engine, "Waiter/nap", 4.0) == "rested"
        assert ran["nap"] == 1
        assert not any(isinstance(record, Suspended) for record in log_of(engine))


@in_virtual_time
async def test_one_that_waits_for_something_else_too_leaves_after_its_inactivity_timeout() -> None:
    async with running([waiter], inactivity_timeout_ms=60_000) as engine:
        loop = asyncio.get_running_loop()
        began = loop.time()
        slow, quick = await send(engine, "Waiter/in_time"), await send(engine, "Waiter/impatient")
        await until_status(engine, quick, Status.SUSPENDED)
        assert 3 <= loop.time() - began <= 5
        await until_status(engine, slow, Status.SUSPENDED)
        assert 60 <= loop.time() - began <= 70
        assert await result_of(engine, slow) == "too late"


@in_virtual_time
async def test_one_whose_step_runs_never_leaves() -> None:
    async with running(
        [waiter], inactivity_timeout_ms=1_000, concurrent_attempts_max=1, checkpoint_interval_ms=DAY
    ) as engine:
        working = await send(engine, "Waiter/works")
        waiting = await send(engine, "Waiter/nap", 0.0)
        assert await result_of(engine, working) == "done"
        assert await result_of(engine, waiting) == "rested"
        assert not any(isinstance(record, Suspended) for record in log_of(engine))


@in_virtual_time
async def test_a_completion_that_races_the_suspension_wakes_it_at_once() -> None:
    """The signal stands in the log before `Suspended`, the attempt was dropped before it could be told."""
    async with running([waiter]) as engine:
        invocation_id = await send(engine, "Waiter/awaits")
        await until(lambda: len(engine.pool) == 1 and row_of(engine, invocation_id).journal_length == 1)
        await asyncio.sleep(0.1)
        telling = asyncio.create_task(engine.signal(invocation_id, 17, b'"told"'))
        await asyncio.sleep(0)  # proposed, not yet applied
        engine.pool.suspend_all()
        assert len(engine.pool) == 0
        await telling
        assert await result_of(engine, invocation_id) == "told"
        assert ran["awaits"] == 2


@in_virtual_time
async def test_what_arrives_behind_the_suspension_wakes_it_too() -> None:
    async with running([waiter]) as engine:
        invocation_id = await send(engine, "Waiter/awaits")
        await until(lambda: len(engine.pool) == 1)
        await asyncio.sleep(0.1)
        engine.pool.suspend_all()
        await engine.signal(invocation_id, 17, b'"told"')
        assert await result_of(engine, invocation_id) == "told"


@in_virtual_time
async def test_what_it_does_not_wait_for_leaves_it_asleep() -> None:
    async with running([waiter]) as engine:
        invocation_id = await send(engine, "Waiter/awaits")
        await until_status(engine, invocation_id, Status.SUSPENDED)
        await engine.signal(invocation_id, 99, b'"something else"')
        assert row_of(engine, invocation_id).status is Status.SUSPENDED
        assert ran["awaits"] == 1


@pytest.mark.parametrize("attempts_max", [1, 2, 5])
@in_virtual_time
async def test_invocations_that_wait_for_each_other_do_not_lock_up_a_small_bound(attempts_max: int) -> None:
    async with running([waiter], concurrent_attempts_max=attempts_max) as engine:
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, len(engine.pool))
                await asyncio.sleep(0)

        watching = asyncio.create_task(watch())
        assert await asyncio.wait_for(call(engine, "Waiter/tree", 5), 1_000) == 32
        watching.cancel()
        assert most <= attempts_max


@in_virtual_time
async def test_killed_an_attempt_is_gone_with_its_step() -> None:
    async with running([waiter]) as engine:
        invocation_id = await send(engine, "Waiter/works")
        await until(lambda: engine.pool.busy == 1)
        await engine.kill(invocation_id)
        assert len(engine.pool) == 0
        assert await result_of(engine, invocation_id) == (409, "killed")


@in_virtual_time
async def test_paused_its_step_does_not_count_and_resumed_it_runs_again() -> None:
    async with running([waiter]) as engine:
        invocation_id = await send(engine, "Waiter/works")
        await until(lambda: engine.pool.busy == 1)
        await engine.pause(invocation_id)
        await asyncio.sleep(DAY / 1000 / 24)
        row, chunk = engine.describe(invocation_id)
        assert row.status is Status.PAUSED
        assert not any(isinstance(entry, j.Completion) for entry in chunk.entries)
        await engine.resume(invocation_id)
        assert await result_of(engine, invocation_id) == "done"


@in_virtual_time
async def test_what_an_old_attempt_proposes_is_ignored() -> None:
    async with running([waiter]) as engine:
        invocation_id = await send(engine, "Waiter/awaits")
        await until(lambda: len(engine.pool) == 1)
        row = row_of(engine, invocation_id)
        seq, epoch = row.seq, row.epoch
        await engine.pause(invocation_id)
        await engine.resume(invocation_id)
        assert row_of(engine, invocation_id).epoch == epoch + 1
        forged = Progress(0, engine.now_ms(), seq, epoch, [j.Output(b'"a zombie"')], ended=True)
        engine.propose(forged, awaited=True)
        await engine.signal(invocation_id, 17, b'"alive"')
        assert await result_of(engine, invocation_id) == "alive"
