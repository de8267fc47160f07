"""Timers where what a handler is told is not dated (`Capability.CLOCK` is missing): each is a durable one of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from perdure import Context, TerminalError
from perdure.model.driver import Capability
from perdure.model.journal import Entry, Signal, Sleep

from .driver import STARTED_AT, Script, ScriptedDriver, drive


def drive_undated(function: Callable[..., Any], script: Script | None = None) -> ScriptedDriver:
    driver = drive(function, script=script, run=False)
    driver.capabilities = frozenset(Capability) - {Capability.CLOCK}
    driver.outcome = driver.run()
    replay = ScriptedDriver(driver.app, "S", "h", journal=driver.journal[:-1], times=driver.times[:-1])
    replay.capabilities = driver.capabilities
    replay.run()
    assert replay.output == driver.output
    return driver


def wakes(journal: list[Entry]) -> list[int]:
    return [entry.wake_at_ms - STARTED_AT for entry in journal if isinstance(entry, Sleep)]


async def test_one_for_all_timers_of_a_turn_that_are_due_at_one_time() -> None:
    async def handler(ctx: Context) -> list[int]:
        order: list[int] = []

        async def nap(seconds: int) -> None:
            await asyncio.sleep(seconds)
            order.append(seconds)

        await asyncio.gather(*(nap(seconds) for seconds in (5, 1, 3, 1)))
        return order

    driver = drive_undated(handler)
    assert driver.output == b"[1,1,3,5]"
    assert wakes(driver.journal) == [1000, 3000, 5000]


async def test_none_stands_for_one_of_another_turn() -> None:
    """It could only by comparing times that nobody told the handler."""

    async def handler(ctx: Context) -> list[str]:
        order: list[str] = []
        early = asyncio.create_task(asyncio.sleep(6))
        await ctx.run("step", lambda: 1)
        await asyncio.sleep(7)
        order.append(f"{early.done()}")
        return order

    driver = drive_undated(handler, Script(step_ms=4000))
    assert driver.output == b'["True"]'
    assert len(wakes(driver.journal)) == 2


async def test_a_timer_that_was_cancelled_within_its_turn_costs_nothing() -> None:
    async def handler(ctx: Context) -> str:
        _, never = ctx.awakeable()
        timer = asyncio.get_running_loop().call_later(5, print)
        timer.cancel()
        try:
            async with asyncio.timeout(1):
                await never
        except TimeoutError:
            return "late"
        return "early"

    driver = drive_undated(handler)
    assert driver.output == b'"late"'
    assert wakes(driver.journal) == [1000]


async def test_one_that_is_due_when_it_is_made_fires_at_once() -> None:
    async def handler(ctx: Context) -> int:
        fired = asyncio.Event()
        asyncio.get_running_loop().call_later(-1, fired.set)
        await fired.wait()
        await asyncio.sleep(0)
        return 1

    driver = drive_undated(handler)
    assert driver.output == b"1" and wakes(driver.journal) == []


async def test_cancellation_reaches_sleepers_and_leaves_timeouts() -> None:
    async def handler(ctx: Context) -> list[str]:
        said: list[str] = []

        async def sleeper() -> None:
            try:
                await asyncio.sleep(50)
            except TerminalError as error:
                said.append(error.message)

        async with asyncio.timeout(40):
            await asyncio.gather(sleeper(), sleeper())
        await asyncio.sleep(1)
        said.append("and on")
        return said

    driver = drive_undated(handler, Script(events=[(500, Signal(1))]))
    assert driver.output == b'["cancelled","cancelled","and on"]'
