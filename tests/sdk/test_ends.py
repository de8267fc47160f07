"""How a handler ends: a value, a terminal failure, or a failed attempt."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from perdure import Context, RetryableError, TerminalError
from perdure.model.driver import Turn
from perdure.model.journal import Failure, OneWayCall, Output, Run

from .driver import commands, drive


async def test_a_value_is_the_output() -> None:
    async def handler(ctx: Context, name: str) -> dict[str, str]:
        return {"hello": name}

    assert drive(handler, b'"Ann"').output == b'{"hello":"Ann"}'


async def test_none_is_no_bytes() -> None:
    async def handler(ctx: Context) -> None:
        return None

    assert drive(handler).output == b""


def raise_terminal() -> None:
    raise TerminalError("gone", 410, {"why": "sold"})


def raise_from_terminal() -> None:
    try:
        raise_terminal()
    except TerminalError as error:
        raise ValueError("outer") from error


def raise_terminal_group() -> None:
    raise ExceptionGroup(
        "all", [ExceptionGroup("in", [TerminalError("gone", 410, {"why": "sold"})]), TerminalError("b")]
    )


@pytest.mark.parametrize("end", [raise_terminal, raise_from_terminal, raise_terminal_group])
async def test_terminal_errors_end_the_invocation(end: Any) -> None:
    async def handler(ctx: Context) -> None:
        end()

    driver = drive(handler)
    assert driver.outcome is Turn.ENDED
    assert driver.output == Failure(410, "gone", {"why": "sold"})


async def test_a_terminal_error_seen_but_not_a_cause_does_not_end_it() -> None:
    async def handler(ctx: Context) -> None:
        try:
            raise_terminal()
        except TerminalError:
            raise ValueError("something else") from None

    driver = drive(handler)
    assert driver.outcome is Turn.FAILED
    assert driver.error is not None
    assert driver.error.message == "ValueError: something else"


async def test_a_group_with_one_other_error_fails_the_attempt() -> None:
    async def handler(ctx: Context) -> None:
        raise ExceptionGroup("mixed", [TerminalError("gone"), ValueError("no")])

    driver = drive(handler)
    assert driver.outcome is Turn.FAILED
    assert not any(isinstance(entry, Output) for entry in driver.journal)


async def test_any_other_error_fails_the_attempt_with_its_trace() -> None:
    async def handler(ctx: Context) -> None:
        raise KeyError("lost")

    driver = drive(handler)
    assert driver.outcome is Turn.FAILED
    assert driver.error is not None and driver.attempt is not None
    assert driver.error.code == 500
    assert driver.error.message == "KeyError: 'lost'"
    assert __file__ in driver.error.stacktrace
    assert driver.attempt.park is False
    assert driver.attempt.retry_after_ms is None


@pytest.mark.parametrize("wait", [timedelta(seconds=3), 3, 3.0])
async def test_retryable_error_asks_for_a_delay(wait: Any) -> None:
    async def handler(ctx: Context) -> None:
        try:
            raise RetryableError("busy", 503, retry_after=wait)
        except RetryableError as error:
            raise ValueError("wrapped") from error

    driver = drive(handler)
    assert driver.outcome is Turn.FAILED
    assert driver.attempt is not None
    assert driver.attempt.retry_after_ms == 3000
    assert driver.error is not None and driver.error.code == 503


async def test_input_that_does_not_fit_ends_it_with_400() -> None:
    async def handler(ctx: Context, number: int) -> int:
        return number

    failure = drive(handler, b'"x"').output
    assert isinstance(failure, Failure) and failure.code == 400


async def test_output_that_cannot_be_written_fails_the_attempt() -> None:
    async def handler(ctx: Context) -> object:
        return object()

    driver = drive(handler)
    assert driver.outcome is Turn.FAILED
    assert driver.error is not None and "object" in driver.error.message


async def test_leaving_by_sys_exit_fails_the_attempt_only() -> None:
    async def handler(ctx: Context) -> None:
        raise SystemExit(3)

    assert drive(handler).outcome is Turn.FAILED


async def test_tasks_left_running_are_cancelled_in_order_before_the_output() -> None:
    async def notice(ctx: Context) -> None:
        pass

    ended: list[int] = []

    async def handler(ctx: Context) -> str:
        async def background(number: int) -> None:
            try:
                await ctx.sleep(timedelta(days=1))
            finally:
                ended.append(number)
                ctx.generic_send("S", "h", str(number).encode())

        for number in range(5):
            asyncio.create_task(background(number))
        await asyncio.sleep(0)
        return "done"

    driver = drive(handler)
    assert driver.outcome is Turn.ENDED
    assert ended == [0, 1, 2, 3, 4]
    sends = [entry.body for entry in driver.journal if isinstance(entry, OneWayCall)]
    assert sends == [b"0", b"1", b"2", b"3", b"4"]
    assert isinstance(driver.journal[-1], Output)


async def test_a_busy_background_task_does_not_keep_the_handler_from_ending() -> None:
    async def handler(ctx: Context) -> str:
        async def spin() -> None:
            while True:
                await asyncio.sleep(0)

        asyncio.create_task(spin())
        await ctx.sleep(1)
        return "done"

    # It never reaches quiescence while the spinner runs, so it cannot wait for the timer; ending at once must work.
    async def ends(ctx: Context) -> str:
        async def spin() -> None:
            while True:
                await asyncio.sleep(0)

        asyncio.create_task(spin())
        await asyncio.sleep(0)
        return "done"

    assert drive(ends).output == b'"done"'


async def test_on_complete_runs_at_completion_only_newest_first() -> None:
    called: list[str] = []

    async def handler(ctx: Context, how: str) -> None:
        ctx.on_complete(lambda: called.append("first"))
        ctx.on_complete(lambda: called.append("second"))
        ctx.on_complete(lambda: 1 / 0)
        if how == "fail":
            raise ValueError
        if how == "terminal":
            raise TerminalError("x")
        if how == "wait":
            await ctx.awakeable()[1]

    drive(handler, b'"fail"')
    drive(handler, b'"wait"')
    assert called == []
    drive(handler, b'"terminal"')
    assert called == ["second", "first"]
    drive(handler, b'"return"')
    assert called == ["second", "first"] * 2


async def test_context_managers_of_the_service_surround_the_handler() -> None:
    from collections.abc import AsyncIterator
    from contextlib import asynccontextmanager

    import perdure

    from .driver import ScriptedDriver

    log: list[str] = []

    @asynccontextmanager
    async def around(name: str) -> AsyncIterator[None]:
        log.append(f"in {name}")
        yield
        log.append(f"out {name}")

    service = perdure.Service("S", invocation_context_managers=[lambda: around("service")])

    @service.handler(invocation_context_managers=[lambda: around("handler")])
    async def h(ctx: Context) -> None:
        await ctx.run("step", lambda: None)
        log.append("body")

    driver = ScriptedDriver(perdure.app([service]), "S", "h")
    assert driver.run() is Turn.ENDED
    assert log == ["in service", "in handler", "body", "out handler", "out service"]
    assert [type(entry) for entry in commands(driver.journal)][1:] == [Run, Output]
