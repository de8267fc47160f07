"""The node in memory: time that the test moves, steps that it replaces."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

import perdure
from perdure.testing import node

shop = perdure.Service("Shop")
ran: list[str] = []


def charge(card: str) -> str:
    ran.append(card)
    return f"charged {card}"


@shop.handler()
async def buy(ctx: perdure.Context, card: str) -> str:
    return await ctx.run_typed("charge", charge, card=card)


@shop.handler()
async def waits(ctx: perdure.Context, days: float) -> float:
    began = await ctx.time()
    await ctx.sleep(timedelta(days=days))
    return round((await ctx.time() - began) / 86_400, 3)


@shop.handler()
async def native(ctx: perdure.Context) -> str:
    try:
        async with asyncio.timeout(86_400):
            await ctx.awakeable()[1]
    except TimeoutError:
        return "timed out"
    return "woken"


async def slow() -> str:
    await asyncio.sleep(3600)
    return "slept"


@shop.handler()
async def slow_step(ctx: perdure.Context) -> str:
    return await ctx.run_typed("slow", slow)


@pytest.fixture(autouse=True)
def _fresh() -> None:
    ran.clear()


async def test_it_runs_a_handler_and_knows_its_steps() -> None:
    async with node([shop]) as n:
        assert await n.client.service_call(buy, "42") == "charged 42"
    assert [(call.name, call.kwargs) for call in n.step_calls] == [("charge", {"card": "42"})]


@pytest.mark.parametrize("always_replay", [False, True])
async def test_waiting_for_a_result_skips_days(always_replay: bool) -> None:
    async with node([shop], always_replay=always_replay) as n:
        assert await n.client.service_call(waits, 3.0) == 3.0
        assert await n.client.service_call(native) == "timed out"
        assert await n.client.service_call(slow_step) == "slept"


async def test_time_stands_still_until_it_is_moved() -> None:
    start = datetime(2030, 1, 1, tzinfo=UTC)
    async with node([shop], start=start) as n:
        sent = await n.client.service_send(waits, 3.0)
        await n.settle()
        assert not (await n.client.output(sent)).ready
        await n.clock.advance(days=2, hours=23)
        assert not (await n.client.output(sent)).ready
        await n.clock.advance(hours=1)
        assert (await n.client.output(sent)).value == 3.0
        assert n.clock.now() == start + timedelta(days=3)


order = perdure.VirtualObject("Order")


@order.handler()
async def note(ctx: perdure.ObjectContext, what: str) -> None:
    await ctx.run_typed("note", lambda: ran.append(what))


@order.handler()
async def plan(ctx: perdure.ObjectContext) -> None:
    for hours in (3, 1, 2):
        ctx.object_send(note, ctx.key(), f"after {hours} h", send_delay=timedelta(hours=hours))
    ctx.object_send(note, ctx.key(), "at once")


async def test_delayed_sends_arrive_in_the_order_of_their_time() -> None:
    async with node([order]) as n:
        await n.client.object_call(plan, "k")
        await n.settle()
        assert ran == ["at once"]
        await n.clock.advance(hours=2)
        assert ran == ["at once", "after 1 h", "after 2 h"]
        await n.clock.advance(days=30)
        assert ran == ["at once", "after 1 h", "after 2 h", "after 3 h"]


async def test_a_year_passes_with_everything_in_between() -> None:
    ticks: list[int] = []
    daily = perdure.VirtualObject("Daily")

    @daily.handler()
    async def tick(ctx: perdure.ObjectContext, day: int) -> None:
        await ctx.run_typed("tick", lambda: ticks.append(day))
        ctx.object_send(tick, ctx.key(), day + 1, send_delay=timedelta(days=1))

    async with node([daily]) as n:
        await n.client.object_send(tick, "k", 0)
        await n.clock.advance(days=365)
        assert ticks == list(range(366))


async def test_retries_wait_in_virtual_time() -> None:
    async with node([shop]) as n:
        failing = n.mock_step("charge", raising=[ConnectionError("no route")] * 5)
        began = n.clock.now()
        assert await n.client.service_call(buy, "42") == "charged 42"
        assert len(failing.calls) == 5
        assert n.clock.now() - began > timedelta(milliseconds=500), "the delays of the retry policy have passed"


async def test_while_it_is_held_a_wait_does_not_move_time() -> None:
    async with node([shop]) as n:
        with n.clock.held():
            waiting = asyncio.ensure_future(n.client.service_call(waits, 1.0))
            await n.settle()
            for _ in range(100):
                await asyncio.sleep(0)
            assert not waiting.done()
            await n.clock.advance(days=1)
            assert await waiting == 1.0


async def test_a_caller_that_came_while_it_was_held_is_served_when_it_is_let_go() -> None:
    async with node([shop]) as n:
        with n.clock.held():
            waiting = asyncio.ensure_future(n.client.service_call(waits, 1.0))
            await n.settle()
        assert await asyncio.wait_for(waiting, 5) == 1.0


async def test_without_skipping_only_advance_moves_time() -> None:
    async with node([shop], skip_time=False) as n:
        waiting = asyncio.ensure_future(n.client.service_call(waits, 1.0))
        await n.settle()
        for _ in range(100):
            await asyncio.sleep(0)
        assert not waiting.done()
        await n.clock.advance(days=1)
        assert await waiting == 1.0


async def test_a_step_on_a_thread_is_waited_for() -> None:
    threads = perdure.Service("Threads")

    def blocking() -> str:
        time.sleep(0.05)  # what a blocking client does
        return "done"

    @threads.handler()
    async def run(ctx: perdure.Context) -> str:
        await ctx.sleep(60)
        result = await ctx.run_typed("blocking", blocking)
        await ctx.sleep(60)
        return result

    async with node([threads]) as n:
        sent = await n.client.service_send(run)
        await n.clock.advance(minutes=2)
        assert (await n.client.output(sent)).value == "done"


async def test_time_does_not_go_back() -> None:
    async with node([shop]) as n:
        with pytest.raises(ValueError, match="back"):
            await n.clock.advance(days=-1)


async def test_a_mismatch_names_the_line() -> None:
    drifting = perdure.Service("Drifting")

    @drifting.handler()
    async def drift(ctx: perdure.Context) -> None:
        ran.append("turn")
        await ctx.run_typed(f"step {len(ran)}", lambda: None)
        await ctx.sleep(1)

    async with node([drifting], always_replay=True) as n:
        await n.client.service_send(drift)
        await n.settle()
        [row] = (await n.client.list_invocations()).invocations
        assert row.status == "paused" and row.last_error is not None
        assert "journal mismatch" in row.last_error and f"{__file__}:" in row.last_error


@pytest.mark.slow
async def test_settled_means_that_everything_is_written_down() -> None:
    """Also what nobody waits for, which otherwise follows a few milliseconds later."""
    done, slow = asyncio.Event(), perdure.VirtualObject("Slow")

    async def wait() -> None:
        await done.wait()

    @slow.handler()
    async def work(ctx: perdure.ObjectContext) -> None:
        ctx.set("status", "working")
        await ctx.run_typed("wait", wait)

    async with node([slow]) as n:
        sent = await n.client.object_send(work, "k")
        await n.settle()
        assert await n.client.state("Slow", "k") == {"status": b'"working"'}
        done.set()
        await n.client.attach(sent)
