"""Timers: over restarts, many at a bounded heap, past ones at once, and a clock that is set back."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

import perdure
from perdure.node import timers as timers_module
from perdure.node.timers import TimerKey, Timers
from perdure.store.rows import Status, Timer, TimerKind
from perdure.store.store import Store

from .rig import abandon, call, image, make_engine, result_of, running, send, until_status
from .virtual import BEGAN_MS, HOUR, MINUTE, SECOND, InlineExecutor, VirtualClock, in_virtual_time

clockwork = perdure.Service("Clockwork")


@clockwork.handler()
async def nap(ctx: perdure.Context, seconds: float) -> str:
    await ctx.sleep(timedelta(seconds=seconds))
    return "rested"


@in_virtual_time
async def test_a_timer_fires_at_its_time_over_a_restart(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    engine = make_engine([clockwork], tmp_path / "0")
    await engine.start()
    began = loop.time()
    invocation_id = await send(engine, "Clockwork/nap", 600.0)
    await until_status(engine, invocation_id, Status.SUSPENDED)
    image(tmp_path / "0", tmp_path / "1")
    await abandon(engine)
    await asyncio.sleep(300)
    async with running([clockwork], tmp_path / "1") as engine:
        assert await result_of(engine, invocation_id) == "rested"
        assert loop.time() - began == pytest.approx(600, abs=0.1)


@in_virtual_time
async def test_a_timer_that_came_due_while_nothing_ran_fires_at_once(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with running([clockwork], tmp_path) as engine:
        invocation_id = await send(engine, "Clockwork/nap", 600.0)
        await until_status(engine, invocation_id, Status.SUSPENDED)
    await asyncio.sleep(3_600)
    async with running([clockwork], tmp_path) as engine:
        began = loop.time()
        assert await result_of(engine, invocation_id) == "rested"
        assert loop.time() - began < 0.1


@in_virtual_time
async def test_a_clock_that_is_set_back_stretches_no_sleep(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    clock = VirtualClock(loop)
    async with running([clockwork], tmp_path, clock=clock) as engine:
        running_sleep = await send(engine, "Clockwork/nap", 100.0)
        await until_status(engine, running_sleep, Status.SUSPENDED)
        began, before = loop.time(), engine.now_ms()
        clock.set_back_ms = HOUR
        assert engine.now_ms() >= before, "time never goes back"
        assert await call(engine, "Clockwork/nap", 10.0) == "rested"
        assert loop.time() - began == pytest.approx(10, abs=0.1)
        assert await result_of(engine, running_sleep) == "rested"
        assert loop.time() - began == pytest.approx(100, abs=1)
    async with running([clockwork], tmp_path, clock=clock) as engine:
        began = loop.time()
        assert await call(engine, "Clockwork/nap", 10.0) == "rested"
        assert loop.time() - began == pytest.approx(10, abs=0.1)


@in_virtual_time
async def test_a_clock_that_is_set_forward_fires_what_is_due_by_then() -> None:
    clock = VirtualClock(asyncio.get_running_loop())
    async with running([clockwork], clock=clock) as engine:
        invocation_id = await send(engine, "Clockwork/nap", 3_600.0)
        await until_status(engine, invocation_id, Status.SUSPENDED)
        began = asyncio.get_running_loop().time()
        clock.set_back_ms = -2 * HOUR
        assert await result_of(engine, invocation_id) == "rested"
        assert asyncio.get_running_loop().time() - began < 61, "the clock is looked at each minute"


# --- the heap alone -------------------------------------------------------------------------------------------------------


class Bench(NamedTuple):
    """Timers over real tables; fired ones are dropped from them as the state machine would."""

    timers: Timers
    store: Store
    fired: list[TimerKey]

    def put(self, wake_at_ms: int, seq: int) -> None:
        timer = Timer(wake_at_ms, seq, 1, TimerKind.SLEEP)
        self.store.tables[0].put_timer(timer)
        self.timers.arm(0, timer)


def bench(in_memory_max: int) -> Bench:
    loop = asyncio.get_running_loop()
    store = Store.open(None, 1, executor=InlineExecutor())
    fired: list[TimerKey] = []

    def fire(partition: int, keys: list[TimerKey]) -> None:
        fired.extend(keys)
        for key in keys:
            store.tables[partition].drop_timer(key)

    timers = Timers(loop, VirtualClock(loop).now_ms, store.tables, fire, in_memory_max=in_memory_max)
    return Bench(timers, store, fired)


@pytest.mark.slow
@in_virtual_time
async def test_a_hundred_thousand_timers_fire_once_each_in_order_from_a_small_heap() -> None:
    timers, store, fired = made = bench(in_memory_max=2_000)
    timers.start()
    rng = random.Random(5)
    wakes = [BEGAN_MS + rng.randrange(HOUR) for _ in range(100_000)]
    largest = 0
    for seq, wake_at_ms in enumerate(wakes, 1):
        made.put(wake_at_ms, seq)
        if seq % 500 == 0:
            largest = max(largest, len(timers._heaps[0]))
    assert largest <= 2_000
    # Some more arrive while others fire.
    for minute in range(30):
        await asyncio.sleep(MINUTE / SECOND)
        made.put(BEGAN_MS + (minute + 3) * MINUTE, 200_000 + minute)
        largest = max(largest, len(timers._heaps[0]))
    await asyncio.sleep(HOUR / SECOND)
    assert largest <= 2_000 + timers_module._LOAD
    assert len(fired) == len(set(fired)) == 100_030
    assert fired == sorted(fired)
    timers.close()


@in_virtual_time
async def test_one_that_was_dropped_does_not_fire() -> None:
    made = bench(in_memory_max=100)
    made.timers.start()
    made.put(BEGAN_MS + SECOND, 1)
    made.put(BEGAN_MS + SECOND, 2)
    made.store.tables[0].drop_timer((BEGAN_MS + SECOND, 1, 1))
    await asyncio.sleep(2)
    assert made.fired == [(BEGAN_MS + SECOND, 2, 1)]
    made.timers.close()
