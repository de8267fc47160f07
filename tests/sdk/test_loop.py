"""Turns: what surrounds them comes back, they give way, they end; and the loop speaks asyncio."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import sys

import pytest

from perdure import Context
from perdure.model import limits
from perdure.model.driver import Turn
from perdure.model.journal import Completion, CompletionCode

from .driver import drive


async def test_the_hosts_loop_hooks_collector_and_context_are_restored() -> None:
    var: contextvars.ContextVar[int] = contextvars.ContextVar("var", default=0)
    var.set(1)
    host = asyncio.get_running_loop()
    hooks = sys.get_asyncgen_hooks()
    inside: list[object] = []

    async def handler(ctx: Context) -> None:
        var.set(2)
        inside.extend([asyncio.get_running_loop(), gc.isenabled(), sys.get_asyncgen_hooks().firstiter])
        await ctx.run("step", lambda: None)
        inside.append(var.get())

    driver = drive(handler, run=False)
    attempt = driver.begin()
    for turn in (
        lambda: attempt.start(),
        lambda: attempt.deliver(Completion(1, CompletionCode.RUN, b""), 0),
        lambda: attempt.close(),
    ):
        driver._in_turn = True
        turn()
        assert asyncio.get_running_loop() is host
        assert sys.get_asyncgen_hooks() == hooks
        assert gc.isenabled()
        assert var.get() == 1
    assert inside[0] is attempt.loop and inside[1:] == [False, None, 2]


async def test_a_collector_that_was_off_stays_off() -> None:
    async def handler(ctx: Context) -> None:
        await ctx.sleep(1)

    gc.disable()
    try:
        drive(handler)
        assert not gc.isenabled()
    finally:
        gc.enable()


async def test_a_long_turn_gives_way_and_takes_nothing_until_quiescent() -> None:
    async def handler(ctx: Context) -> int:
        for _ in range(3 * limits.TURN_CALLBACKS_BUDGET):
            await asyncio.sleep(0)
        return await ctx.run("step", lambda: 1)

    driver = drive(handler, run=False)
    attempt = driver.begin()
    driver._in_turn = True
    assert attempt.start() is Turn.YIELDED
    turns = 1
    while (outcome := attempt.proceed()) is Turn.YIELDED:
        turns += 1
    assert outcome is Turn.WAITING
    assert turns == 3
    attempt.close()


async def test_polling_without_end_fails_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TURN_CALLBACKS_MAX", 10_000)

    async def handler(ctx: Context) -> None:
        while True:
            await asyncio.sleep(0)

    driver = drive(handler)
    assert driver.outcome is Turn.FAILED
    assert driver.error is not None and "PD0403" in driver.error.message


async def test_nothing_runs_after_the_engine_failed_the_attempt() -> None:
    from perdure.model.records import AttemptError

    log: list[str] = []

    async def handler(ctx: Context) -> None:
        try:
            await ctx.run("step", lambda: 1)
        finally:
            log.append("went on")

    driver = drive(handler, run=False)
    attempt = driver.begin()
    driver.turn(attempt.start)
    attempt.fail(AttemptError(571, "mismatch"), park=True, retry_after_ms=5)
    assert attempt.deliver(Completion(1, CompletionCode.RUN, b"1"), 0) is Turn.FAILED
    assert (attempt.error, attempt.park, attempt.retry_after_ms) == (AttemptError(571, "mismatch"), True, 5)
    assert log == []
    attempt.close()
    assert log == ["went on"]


async def test_a_mismatch_that_user_code_swallows_still_ends_the_attempt() -> None:
    calls: list[str] = []

    async def handler(ctx: Context) -> str:
        try:
            ctx.run(calls[0] if calls else "first", lambda: 1)
        except:  # noqa: E722
            calls.append("swallowed")
        await ctx.sleep(1)
        return "went on"

    driver = drive(handler, run=False)
    driver.crash_at = 2
    driver.run()
    calls.append("second")
    driver.crash_at = None
    assert driver.run() is Turn.FAILED
    assert calls == ["second", "swallowed"]
    assert len(driver.journal) == 2
    assert driver.error is not None and "recorded" in driver.error.message


async def test_task_names_count_within_the_attempt() -> None:
    async def handler(ctx: Context) -> list[str]:
        async def name() -> str:
            task = asyncio.current_task()
            assert task is not None
            return task.get_name()

        return [await asyncio.create_task(name()), await asyncio.create_task(name(), name="own"), await name()]

    assert drive(handler).output == drive(handler).output == b'["Task-2","own","handler"]'


async def test_all_tasks_shows_the_attempts_tasks_in_order() -> None:
    async def handler(ctx: Context) -> list[str]:
        async def nap() -> None:
            await asyncio.sleep(1)

        tasks = [asyncio.create_task(nap(), name=f"nap {number}") for number in range(4)]
        names = [task.get_name() for task in asyncio.all_tasks()]
        await asyncio.gather(*tasks)
        return names

    assert drive(handler).output == b'["handler","nap 0","nap 1","nap 2","nap 3"]'


async def test_errors_in_callbacks_are_logged_and_the_turn_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(ctx: Context) -> str:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(0)
        await ctx.sleep(1)
        return "ok"

    with caplog.at_level(logging.ERROR, "perdure"):
        assert drive(handler).output == b'"ok"'
    assert "ZeroDivisionError" in caplog.text


async def test_tasks_that_nobody_holds_are_kept_alive() -> None:
    async def handler(ctx: Context) -> list[int]:
        done: list[int] = []

        async def work(number: int) -> None:
            await ctx.sleep(number)
            done.append(number)

        for number in range(5):
            asyncio.ensure_future(work(number))
        await ctx.sleep(1)
        gc.collect()
        await ctx.sleep(9)
        return done

    assert drive(handler).output == b"[0,1,2,3,4]"


async def test_many_short_tasks_do_not_pile_up() -> None:
    sizes: list[int] = []

    async def handler(ctx: Context) -> None:
        async def nothing() -> None: ...

        loop = asyncio.get_running_loop()
        for _ in range(2000):
            await asyncio.create_task(nothing())
            sizes.append(len(loop._tasks))  # type: ignore[attr-defined]

    drive(handler)
    assert max(sizes) < 100
