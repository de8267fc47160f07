"""Attempts that only wait are bounded in memory: beyond the bound those that have waited longest leave it, and come back."""

from __future__ import annotations

import pytest

import perdure
from perdure.model.limits import IDLE_ATTEMPT_BYTES
from perdure.store.rows import Status

from .rig import result_of, row_of, running, send, until
from .virtual import in_virtual_time

COUNT = 10_000
HELD = 500

crowd = perdure.Service("Crowd")


@crowd.handler()
async def waits(ctx: perdure.Context, number: int) -> str:
    _, answer = ctx.awakeable(type_hint=str)
    return f"{number}: {await answer}"


@pytest.mark.slow
@in_virtual_time
async def test_ten_thousand_that_wait_stay_below_the_bound_and_all_can_go_on() -> None:
    bound = HELD * IDLE_ATTEMPT_BYTES
    async with running([crowd], dev=False, idle_attempts_bytes_max=bound, inactivity_timeout_ms=10**9) as engine:
        sent = [await send(engine, "Crowd/waits", number) for number in range(COUNT)]
        await until(lambda: engine.stats()["attempts_idle_bytes"] <= bound and engine.pool.busy == 0)
        assert 0 < engine.pool.idle_bytes <= bound
        assert len(engine.pool) < HELD
        assert row_of(engine, sent[0]).status is Status.SUSPENDED, "the oldest has left"
        assert row_of(engine, sent[-1]).status is Status.INVOKED, "the youngest has not"
        for number in (0, COUNT // 2, COUNT - 1):
            await engine.signal(sent[number], 17, b'"go"')
            assert await result_of(engine, sent[number]) == f"{number}: go"
        assert engine.pool.idle_bytes == sum(engine.pool._idle_bytes.values()) <= bound


@in_virtual_time
async def test_what_is_counted_goes_with_the_attempt() -> None:
    async with running([crowd]) as engine:
        sent = [await send(engine, "Crowd/waits", number) for number in range(3)]
        assert engine.pool.idle_bytes >= 3 * IDLE_ATTEMPT_BYTES
        await engine.signal(sent[0], 17, b'"go"')
        await result_of(engine, sent[0])
        assert 2 * IDLE_ATTEMPT_BYTES <= engine.pool.idle_bytes < 3 * IDLE_ATTEMPT_BYTES
        for each in sent[1:]:
            await engine.kill(each)
        assert engine.pool.idle_bytes == 0


@in_virtual_time
async def test_without_room_for_one_each_wait_is_a_replay() -> None:
    async with running([crowd], idle_attempts_bytes_max=0) as engine:
        one = await send(engine, "Crowd/waits", 1)
        await until(lambda: row_of(engine, one).status is Status.SUSPENDED)
        assert len(engine.pool) == 0
        await engine.signal(one, 17, b'"go"')
        assert await result_of(engine, one) == "1: go"
