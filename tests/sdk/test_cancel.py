"""Cancellation: signal 1 fails what is durable and pending, once, reaches called children, and leaves room to undo."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import perdure
from perdure import Context, TerminalError
from perdure.model.driver import Turn
from perdure.model.journal import Call, Completion, CompletionCode, Failure, Output, SendSignal, Signal

from .driver import Script, drive, replayed

CANCEL = Signal(1)


def cancelled_at(ms: int, **kwargs: object) -> Script:
    return Script(events=[(ms, CANCEL)], **kwargs)  # type: ignore[arg-type]


async def test_a_waiting_handler_ends_with_409() -> None:
    async def handler(ctx: Context) -> None:
        await ctx.sleep(timedelta(days=1))

    assert drive(handler, script=cancelled_at(5)).output == Failure(409, "cancelled")


async def test_all_pending_futures_fail_and_compensation_works() -> None:
    async def handler(ctx: Context) -> list[str]:
        name, promise = ctx.awakeable()
        waiting = [ctx.sleep(timedelta(days=1)), promise, ctx.sleep(timedelta(days=2))]
        outcome = []
        for future in waiting:
            try:
                await future
            except TerminalError as error:
                outcome.append(f"{error.status_code} {error.message}")
        outcome.append(await ctx.run("undo", lambda: "undone"))
        await ctx.sleep(1)
        return outcome

    driver = drive(handler, script=cancelled_at(5))
    assert driver.output == b'["409 cancelled","409 cancelled","409 cancelled","undone"]'
    assert replayed(driver).output == driver.output


async def test_asyncio_sleep_is_cancelled_too() -> None:
    async def handler(ctx: Context) -> None:
        await asyncio.sleep(3600)

    assert drive(handler, script=cancelled_at(5)).output == Failure(409, "cancelled")


async def test_with_nothing_pending_the_next_operation_fails() -> None:
    """A handler that spends the signal in the same turn as a step's result has nothing pending when it arrives."""

    async def handler(ctx: Context) -> str:
        event = asyncio.Event()
        asyncio.get_running_loop().call_later(10, event.set)
        await event.wait()
        try:
            await ctx.run("next", lambda: "ran")
        except TerminalError as error:
            return f"{error.status_code} then {await ctx.run('undo', lambda: 'undone')}"
        return "not cancelled"

    driver = drive(handler, script=cancelled_at(5))
    assert driver.output == b'"409 then undone"'
    assert len(driver.step_runs) == 1


async def test_with_nothing_pending_the_next_asyncio_sleep_fails() -> None:
    async def handler(ctx: Context) -> str:
        event = asyncio.Event()
        asyncio.get_running_loop().call_later(10, event.set)
        await event.wait()
        try:
            await asyncio.sleep(100)
        except TerminalError as error:
            return error.message
        return "slept"

    assert drive(handler, script=cancelled_at(5)).output == b'"cancelled"'


async def test_it_reaches_called_children_but_not_sent_ones() -> None:
    async def handler(ctx: Context) -> None:
        done = ctx.generic_call("S", "h", b"done")
        first = ctx.generic_call("S", "h", b"1")
        second = ctx.generic_call("S", "h", b"2")
        ctx.generic_send("S", "h", b"3")
        await done
        await perdure.gather(first, second)

    def answer(call: Call) -> bytes | None:
        return b"x" if call.body == b"done" else None

    driver = drive(handler, script=cancelled_at(5, call=answer))
    assert driver.output == Failure(409, "cancelled")
    calls = [entry for entry in driver.journal if isinstance(entry, Call)]
    told = [entry for entry in driver.journal if isinstance(entry, SendSignal)]
    assert told == [SendSignal(bytes([call.completion_id]) * 24, 1) for call in calls[1:]]


async def test_combinators_raise_it() -> None:
    async def handler(ctx: Context) -> str:
        try:
            await perdure.select(a=ctx.sleep(timedelta(days=1)), b=ctx.sleep(timedelta(days=2)))
        except TerminalError as error:
            return error.message
        return "?"

    assert drive(handler, script=cancelled_at(5)).output == b'"cancelled"'


async def test_it_happens_once() -> None:
    async def handler(ctx: Context) -> str:
        try:
            await ctx.sleep(timedelta(days=1))
        except TerminalError:
            await ctx.sleep(1)
            return "undone"
        return "?"

    driver = drive(handler, script=Script(events=[(5, CANCEL), (6, CANCEL)]))
    assert driver.outcome is Turn.ENDED
    assert driver.output == b'"undone"'


async def test_cancelling_another_invocation_is_a_signal_to_it() -> None:
    async def handler(ctx: Context) -> None:
        call = ctx.generic_call("S", "h", b"")
        await call.cancel_invocation()
        send = ctx.generic_send("S", "h", b"")
        await send.cancel_invocation()
        ctx.cancel_invocation(await send.invocation_id())

    driver = drive(handler)
    told = [entry.invocation_id for entry in driver.journal if isinstance(entry, SendSignal)]
    assert told == [bytes([2]) * 24, bytes([3]) * 24, bytes([3]) * 24]


async def test_it_waits_for_the_id_of_a_child_so_that_none_is_left_behind() -> None:
    async def handler(ctx: Context) -> None:
        await ctx.generic_call("S", "h", b"x")

    driver = drive(handler, run=False)
    attempt = driver.begin()
    driver.turn(attempt.start)
    driver._answer_all = lambda: None  # type: ignore[method-assign]
    assert driver.turn(lambda: attempt.deliver(CANCEL, 0)) is Turn.WAITING
    assert attempt.awaiting().completions == [1, 2]
    driver.turn(lambda: attempt.deliver(Completion(1, CompletionCode.CALL_INVOCATION_ID, b"i" * 24), 0))
    assert driver.journal[-2:] == [SendSignal(b"i" * 24, 1), Output(Failure(409, "cancelled"))]


async def test_a_child_that_was_refused_does_not_hold_it_back() -> None:
    async def handler(ctx: Context) -> None:
        calls = [ctx.generic_call("S", "h", b"x"), ctx.generic_call("S", "h", b"y")]
        for call in calls:
            await call

    driver = drive(handler, run=False)
    attempt = driver.begin()
    driver.turn(attempt.start)
    driver._answer_all = lambda: None  # type: ignore[method-assign]
    driver.turn(lambda: attempt.deliver(CANCEL, 0))
    refused = Completion(1, CompletionCode.CALL_INVOCATION_ID, Failure(404, "no such service"))
    assert driver.turn(lambda: attempt.deliver(refused, 0)) is Turn.WAITING
    driver.turn(lambda: attempt.deliver(Completion(3, CompletionCode.CALL_INVOCATION_ID, b"i" * 24), 0))
    assert driver.journal[-2:] == [SendSignal(b"i" * 24, 1), Output(Failure(409, "cancelled"))]
