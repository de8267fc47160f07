"""Time in a handler is what it was told; asyncio's timers become as few durable ones as will do."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from perdure import Context
from perdure.model.driver import Turn
from perdure.model.journal import Completion, CompletionCode, Sleep

from .driver import STARTED_AT, Script, drive, replayed


def wakes(driver: object) -> list[int]:
    return [entry.wake_at_ms - STARTED_AT for entry in driver.journal if isinstance(entry, Sleep)]  # type: ignore[attr-defined]


async def test_the_clock_starts_at_the_start_and_moves_with_notifications() -> None:
    async def handler(ctx: Context) -> list[float]:
        loop = asyncio.get_running_loop()
        times = [loop.time()]
        await ctx.run("step", lambda: 1)
        times.append(loop.time())
        await ctx.sleep(2)
        times.append(loop.time())
        await asyncio.sleep(0.25)
        times.append(loop.time())
        return [round(time - STARTED_AT / 1000, 3) for time in times]

    driver = drive(handler, script=Script(step_ms=40))
    assert driver.output == b"[0.0,0.04,2.04,2.29]"
    assert replayed(driver).output == driver.output


async def test_a_sleep_is_its_own_timer() -> None:
    async def handler(ctx: Context) -> None:
        await ctx.sleep(timedelta(seconds=3), "nap")
        await ctx.sleep(-1)

    driver = drive(handler)
    assert wakes(driver) == [3000, 3000]
    assert [entry.name for entry in driver.journal if isinstance(entry, Sleep)] == ["nap", ""]


async def test_only_the_earliest_timer_becomes_durable() -> None:
    async def handler(ctx: Context) -> list[int]:
        order: list[int] = []

        async def nap(seconds: int) -> None:
            await asyncio.sleep(seconds)
            order.append(seconds)

        await asyncio.gather(*(nap(seconds) for seconds in (5, 1, 3, 1)))
        return order

    driver = drive(handler)
    assert driver.output == b"[1,1,3,5]"
    assert wakes(driver) == [1000, 3000, 5000]


async def test_none_while_another_durable_timer_wakes_no_later() -> None:
    async def handler(ctx: Context) -> str:
        alarm = ctx.sleep(2)
        async with asyncio.timeout(10):
            await alarm
        return "ok"

    assert wakes(drive(handler)) == [2000]


async def test_a_timeout_around_each_of_many_steps_costs_one_timer() -> None:
    async def handler(ctx: Context) -> None:
        for number in range(300):
            async with asyncio.timeout(10):
                await ctx.run("step", lambda number=number: number)  # type: ignore[misc]

    driver = drive(handler, script=Script(step_ms=1))
    assert driver.outcome is Turn.ENDED
    assert wakes(driver) == [10_000]
    assert driver.attempt is not None
    assert len(driver.attempt.loop._timers) < 150, "cancelled timers pile up"


async def test_an_abandoned_durable_timer_still_serves_the_loop() -> None:
    async def handler(ctx: Context) -> str:
        gone = ctx.sleep(2)
        gone.cancel()
        await asyncio.sleep(5)
        return "ok"

    driver = drive(handler)
    assert wakes(driver) == [2000, 5000]
    assert driver.output == b'"ok"'


async def test_awaiting_names_the_timer_the_loop_needs() -> None:
    async def handler(ctx: Context) -> None:
        step = ctx.sleep(50)
        asyncio.ensure_future(step)
        name, promise = ctx.awakeable()
        signal = ctx.signal("go")
        gone = ctx.sleep(60)
        gone.cancel()
        await asyncio.wait([promise, signal], timeout=7)

    driver = drive(handler, run=False)
    attempt = driver.begin()
    assert driver.turn(attempt.start) is Turn.WAITING
    awaiting = attempt.awaiting()
    assert awaiting.completions == [1, 3]
    assert awaiting.signals == [17, "go"]
    assert driver.abandoned == {2}
    attempt.close()


async def test_timers_that_are_due_when_something_else_arrives_fire() -> None:
    async def handler(ctx: Context) -> str:
        try:
            async with asyncio.timeout(5):
                await ctx.run("slow", lambda: 1)
                await ctx.run("slow", lambda: 1)
                await ctx.run("slow", lambda: 1)
        except TimeoutError:
            return "timed out"
        return "made it"

    driver = drive(handler, script=Script(step_ms=3000))
    assert driver.output == b'"timed out"'
    assert replayed(driver).output == driver.output


async def test_a_result_that_comes_with_the_deadline_wins() -> None:
    async def handler(ctx: Context) -> str:
        return await asyncio.wait_for(ctx.run("slow", lambda: "value"), 5)

    assert drive(handler, script=Script(step_ms=5000)).output == b'"value"'


async def test_a_sleep_of_zero_is_no_entry() -> None:
    async def handler(ctx: Context) -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(-1)

    assert len(drive(handler).journal) == 2


async def test_fractions_of_a_millisecond_round_up_and_fire() -> None:
    async def handler(ctx: Context) -> None:
        for _ in range(50):
            await asyncio.sleep(0.0003)
            await asyncio.sleep(1 / 3)

    driver = drive(handler)
    assert driver.outcome is Turn.ENDED
    assert len(wakes(driver)) == 100


async def test_a_timer_delivered_early_by_the_engines_clock_still_moves_time_to_its_wake() -> None:
    async def handler(ctx: Context) -> float:
        await asyncio.sleep(5)
        await ctx.sleep(5)
        return round(asyncio.get_running_loop().time() - STARTED_AT / 1000, 3)

    driver = drive(handler, run=False)
    attempt = driver.begin()
    driver.turn(attempt.start)
    early = STARTED_AT + 4998
    for number in (1, 2):
        outcome = driver.turn(
            lambda number=number: attempt.deliver(Completion(number, CompletionCode.SLEEP, None), early)  # type: ignore[misc]
        )
    assert outcome is Turn.ENDED
    assert driver.output == b"10.0"


async def test_time_never_goes_back() -> None:
    async def handler(ctx: Context) -> list[float]:
        loop = asyncio.get_running_loop()
        times = []
        for _ in range(2):
            await ctx.run("step", lambda: None)
            times.append(round(loop.time() - STARTED_AT / 1000, 3))
        return times

    driver = drive(handler, run=False)
    attempt = driver.begin()
    driver.turn(attempt.start)
    for number, at in ((1, STARTED_AT + 500), (2, STARTED_AT + 100)):
        driver.turn(
            lambda number=number, at=at: attempt.deliver(Completion(number, CompletionCode.RUN, b""), at)  # type: ignore[misc]
        )
    assert driver.output == b"[0.5,0.5]"
