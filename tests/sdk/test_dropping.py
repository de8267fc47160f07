"""Dropping an attempt: nothing user code does then counts, nothing is warned about, nothing gets out."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import warnings
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure import Context, ObjectContext
from perdure.model.driver import Turn

from .driver import ScriptedDriver, drive

DAY = timedelta(days=1)


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> Any:
    """Fails on any warning, log line or output that a drop leaves behind."""
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.INFO):
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert [str(warning.message) for warning in caught] == []
    assert caplog.messages == []
    assert capsys.readouterr().err == ""


def dropped(function: Callable[..., Any], **kwargs: Any) -> ScriptedDriver:
    """Start a handler, then drop it; the journal must not change by that."""
    driver = drive(function, run=False, **kwargs)
    attempt = driver.begin()
    assert driver.turn(attempt.start) is Turn.WAITING
    before = list(driver.journal)
    attempt.close()
    attempt.close()
    assert driver.journal == before
    return driver


async def test_finally_blocks_run_and_have_no_effect(quiet: None) -> None:
    log: list[str] = []

    async def handler(ctx: ObjectContext) -> None:
        try:
            await ctx.sleep(DAY)
        except Exception:
            log.append("an Exception was seen")
        except BaseException as error:
            log.append(type(error).__name__)
            raise
        finally:
            ctx.set("a", 1)
            ctx.generic_send("S", "h", b"")
            log.append("finally")
            await ctx.run("undo", lambda: log.append("a step ran"))
            log.append("went on")

    dropped(handler, key="k")
    assert log == ["GeneratorExit", "finally"]


def line_of(caplog: pytest.LogCaptureFixture) -> str:
    """The only thing said: the line that caught what it should not."""
    [message] = caplog.messages
    place = re.match(rf"{re.escape(__file__)}:(\d+), in handler: a bare `except:`", message)
    assert place is not None, message
    return Path(__file__).read_text().splitlines()[int(place[1]) - 1].strip()


async def test_a_bare_except_that_waits_again_is_let_go(quiet: None) -> None:
    async def handler(ctx: Context) -> None:
        while True:
            try:
                await ctx.sleep(DAY)
            except:  # noqa: E722
                await asyncio.sleep(1)

    dropped(handler)


IGNORED = "ignore:.*:pytest.PytestUnraisableExceptionWarning"
"""What Python says itself of a coroutine that would not be closed."""


@pytest.mark.filterwarnings(IGNORED)
async def test_a_bare_except_in_an_endless_loop_is_let_go_and_named(caplog: pytest.LogCaptureFixture) -> None:
    rounds = 0

    async def handler(ctx: Context) -> None:
        nonlocal rounds
        while rounds < 10_000:
            rounds += 1
            try:
                await ctx.sleep(DAY)  # in a loop
            except:  # noqa: E722
                pass

    dropped(handler)
    assert rounds < 200
    assert line_of(caplog) == "await ctx.sleep(DAY)  # in a loop"


async def test_a_bare_except_that_returns_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(ctx: Context) -> str:
        try:
            await ctx.sleep(DAY)  # and return
        except:  # noqa: E722
            return "swallowed"
        return "slept"

    dropped(handler)
    dropped(handler)
    assert line_of(caplog) == "await ctx.sleep(DAY)  # and return"


async def test_code_that_ignores_being_closed_is_closed_again(quiet: None) -> None:
    class Stubborn:
        tries = 0

        def __await__(self) -> Any:
            while True:
                try:
                    yield
                except GeneratorExit:
                    self.tries += 1
                    if self.tries == 2:
                        raise

    stubborn = Stubborn()

    async def handler(ctx: Context) -> None:
        try:
            await ctx.sleep(DAY)
        finally:
            await stubborn

    dropped(handler)
    assert stubborn.tries == 2


async def test_newest_first(quiet: None) -> None:
    log: list[str] = []

    async def handler(ctx: Context) -> None:
        async def child(name: str) -> None:
            try:
                await ctx.sleep(DAY)
            finally:
                log.append(name)

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(child("first"))
                group.create_task(child("second"))
        finally:
            log.append("handler")

    dropped(handler)
    assert log == ["second", "first", "handler"]


async def test_tasks_not_started_and_coroutines_not_awaited_go_quietly(quiet: None) -> None:
    async def handler(ctx: Context) -> None:
        async def later() -> None:
            await ctx.sleep(DAY)

        waiting = [later() for _ in range(3)]
        await asyncio.gather(ctx.sleep(DAY), later())
        for coroutine in waiting:
            await coroutine

    dropped(handler)


async def test_a_future_that_failed_unseen_goes_quietly(quiet: None) -> None:
    async def handler(ctx: Context) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_exception(ValueError("nobody looks"))
        kept = [future]
        await ctx.sleep(DAY)
        kept.clear()

    dropped(handler)


async def test_async_generators_are_closed_without_a_task(quiet: None) -> None:
    log: list[str] = []

    async def handler(ctx: Context) -> None:
        async def numbers() -> AsyncIterator[int]:
            try:
                yield 1
                await ctx.sleep(DAY)
            finally:
                log.append("closed")

        async for _ in numbers():
            pass

    dropped(handler)
    gc.collect()
    assert log == ["closed"]


async def test_errors_in_finally_stay_inside(quiet: None) -> None:
    async def handler(ctx: Context) -> None:
        try:
            await ctx.sleep(DAY)
        finally:
            raise ValueError("in finally")

    dropped(handler)


async def test_locks_timeouts_and_groups_unwind(quiet: None) -> None:
    async def handler(ctx: Context) -> None:
        lock = asyncio.Lock()

        async def contender() -> None:
            async with lock, asyncio.timeout(100):
                await ctx.sleep(DAY)

        async with asyncio.TaskGroup() as outer:
            outer.create_task(contender())
            async with asyncio.TaskGroup() as inner:
                inner.create_task(contender())
                inner.create_task(asyncio.wait_for(contender(), 50))

    dropped(handler)


async def test_contextvars_are_reset_in_the_context_they_were_set_in(quiet: None) -> None:
    import contextvars

    var: contextvars.ContextVar[int] = contextvars.ContextVar("var", default=0)
    log: list[str] = []

    async def handler(ctx: Context) -> None:
        token = var.set(1)
        try:
            await ctx.sleep(DAY)
        finally:
            var.reset(token)
            task = asyncio.current_task()
            assert task is not None
            log.append(task.get_name())

    dropped(handler)
    assert log == ["handler"]


async def test_memory_goes(quiet: None) -> None:
    import weakref

    class Held:
        pass

    refs: list[weakref.ref[Held]] = []

    async def handler(ctx: Context) -> None:
        held = Held()
        refs.append(weakref.ref(held))
        await ctx.sleep(DAY)
        del held

    driver = dropped(handler)
    del driver
    assert refs[0]() is None, "a dropped attempt's variables stay in memory without the collector"
    gc.collect()


async def test_the_attempt_finished_event_is_set() -> None:
    events: list[Any] = []

    async def handler(ctx: Context) -> None:
        events.append(ctx.request().attempt_finished_event)
        assert not events[0].is_set()
        await ctx.sleep(DAY)

    dropped(handler)
    assert events[0].is_set()
    await asyncio.wait_for(events[0].wait(), 5)


async def test_a_step_waiting_for_the_event_is_woken() -> None:
    events: list[Any] = []

    async def handler(ctx: Context) -> None:
        events.append(ctx.request().attempt_finished_event)
        await ctx.sleep(DAY)

    driver = drive(handler, run=False)
    attempt = driver.begin()
    driver.turn(attempt.start)
    waiter = asyncio.ensure_future(events[0].wait())
    await asyncio.sleep(0)
    assert not waiter.done()
    attempt.close()
    await asyncio.wait_for(waiter, 5)
