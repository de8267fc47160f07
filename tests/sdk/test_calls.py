"""Calls, sends, awakeables, signals, attaching: the commands they issue and what comes back."""

from __future__ import annotations

from datetime import timedelta

import pytest

import perdure
from perdure import Context, ObjectContext, TerminalError, WorkflowContext
from perdure.model.driver import Turn
from perdure.model.ids import format_awakeable_id, format_invocation_id
from perdure.model.journal import (
    AttachInvocation,
    Call,
    CompleteAwakeable,
    CompletePromise,
    Failure,
    GetPromise,
    OneWayCall,
    PeekPromise,
    SendSignal,
    Signal,
)
from perdure.model.target import Target
from perdure.sdk.errors import CapabilityError

from .driver import INVOCATION, STARTED_AT, Script, drive, replayed

other = perdure.Service("Other")
thing = perdure.VirtualObject("Thing")
flow = perdure.Workflow("Flow")


@other.handler()
async def greet(ctx: Context, name: str) -> str:
    return name


@other.handler(name="ping")
async def no_input(ctx: Context) -> int:
    return 1


@thing.handler()
async def touch(ctx: ObjectContext, by: int) -> int:
    return by


@flow.main()
async def run(ctx: WorkflowContext, text: str) -> str:
    return text


async def test_calls_carry_target_body_key_and_headers() -> None:
    async def handler(ctx: Context) -> list[object]:
        return [
            await ctx.service_call(greet, "Ann", idempotency_key="i", headers={"a": "b"}),
            await ctx.object_call(touch, "k", 4),
            await ctx.workflow_call(run, "w", "text"),
            await ctx.generic_call("Any", "h", b"raw", key="x"),
        ]

    driver = drive(handler, script=Script(call=lambda call: b'"b"' if call.target.service != "Thing" else b"4"))
    calls = [entry for entry in driver.journal if isinstance(entry, Call)]
    assert calls == [
        Call(2, 1, Target("Other", None, "greet"), [("a", "b")], b'"Ann"', "i"),
        Call(4, 3, Target("Thing", "k", "touch"), [], b"4"),
        Call(6, 5, Target("Flow", "w", "run"), [], b'"text"'),
        Call(8, 7, Target("Any", "x", "h"), [], b"raw"),
    ]
    assert driver.output == b'["b",4,"b","ImIi"]'  # bytes inside JSON are base64


async def test_a_handler_without_input_is_sent_no_body() -> None:
    async def handler(ctx: Context) -> int:
        ctx.service_send(no_input, None)
        return await ctx.service_call(no_input)

    driver = drive(handler, script=Script(call=lambda call: b"8"))
    assert driver.output == b"8"
    assert [entry.body for entry in driver.journal if isinstance(entry, (Call, OneWayCall))] == [b"", b""]


async def test_a_callees_failure_is_a_terminal_error() -> None:
    async def handler(ctx: Context) -> str:
        try:
            await ctx.service_call(greet, "x")
        except TerminalError as error:
            return f"{error.status_code} {error.message}"
        return "?"

    assert drive(handler, script=Script(call=lambda call: Failure(404, "not here"))).output == b'"404 not here"'


async def test_sends_and_delays() -> None:
    async def handler(ctx: Context) -> str:
        ctx.service_send(greet, "a", send_delay=timedelta(seconds=5))
        ctx.object_send(touch, "k", 1, idempotency_key="i")
        handle = ctx.generic_send("Any", "h", b"raw")
        ctx.workflow_send(run, "w", "x")
        return await handle.invocation_id()

    driver = drive(handler)
    sends = [entry for entry in driver.journal if isinstance(entry, OneWayCall)]
    assert [send.invoke_at_ms for send in sends] == [STARTED_AT + 5000, 0, 0, 0]
    assert [send.invocation_id_completion_id for send in sends] == [1, 2, 3, 4]
    assert sends[1].idempotency_key == "i"
    assert driver.output == f'"{format_invocation_id(bytes([3]) * 24)}"'.encode()


async def test_a_calls_invocation_id_comes_before_its_result() -> None:
    async def handler(ctx: Context) -> list[str]:
        call = ctx.service_call(greet, "x")
        first = await call.invocation_id()
        await call
        return [first, await call.invocation_id()]

    driver = drive(handler)
    text = format_invocation_id(bytes([2]) * 24)
    assert driver.output == f'["{text}","{text}"]'.encode()
    assert replayed(driver).output == driver.output


async def test_awakeables_count_from_17_and_the_first_answer_wins() -> None:
    async def handler(ctx: Context) -> list[object]:
        first, one = ctx.awakeable(type_hint=int)
        second, two = ctx.awakeable()
        assert first == format_awakeable_id(INVOCATION, 17)
        assert second == format_awakeable_id(INVOCATION, 18)
        result: list[object] = [await one]
        try:
            await two
        except TerminalError as error:
            result.append(error.message)
        await ctx.sleep(1)
        return result

    script = Script(events=[(1, Signal(17, b"5")), (2, Signal(17, b"6")), (3, Signal(18, Failure(500, "no")))])
    driver = drive(handler, script=script)
    assert driver.output == b'[5,"no"]'
    assert replayed(driver).output == driver.output


async def test_an_answer_that_comes_before_the_awakeable_is_kept() -> None:
    async def handler(ctx: Context) -> object:
        await ctx.sleep(5)
        _, future = ctx.awakeable()
        return await future

    assert drive(handler, script=Script(events=[(1, Signal(17, b"1"))])).output == b"1"


async def test_completing_awakeables_of_others() -> None:
    async def handler(ctx: Context) -> None:
        ctx.resolve_awakeable("sign_1" + "A" * 38, {"x": 1})
        ctx.reject_awakeable("sign_1" + "A" * 38, "no", 409)
        with pytest.raises(TerminalError, match="bad awakeable id"):
            ctx.resolve_awakeable("nonsense", 1)

    driver = drive(handler)
    assert driver.outcome is Turn.ENDED, driver.error
    assert driver.journal[1:3] == [
        CompleteAwakeable("sign_1" + "A" * 38, b'{"x":1}'),
        CompleteAwakeable("sign_1" + "A" * 38, Failure(409, "no")),
    ]


async def test_named_signals_queue_up() -> None:
    async def handler(ctx: Context) -> list[int]:
        first = await ctx.signal("go", type_hint=int)
        await ctx.sleep(5)
        return [first, await ctx.signal("go", type_hint=int), await ctx.signal("go", type_hint=int)]

    script = Script(events=[(1, Signal("go", b"1")), (2, Signal("go", b"2")), (9000, Signal("go", b"3"))])
    driver = drive(handler, script=script)
    assert driver.output == b"[1,2,3]"
    assert replayed(driver).output == driver.output


async def test_signalling_others() -> None:
    target = format_invocation_id(b"\x01" * 24)

    async def handler(ctx: Context) -> None:
        ctx.resolve_signal(target, "go", 1)
        ctx.reject_signal(target, "go", "no")
        with pytest.raises(TerminalError):
            ctx.resolve_signal("inv_1x", "go", 1)

    driver = drive(handler)
    assert driver.journal[1:3] == [
        SendSignal(b"\x01" * 24, "go", b"1"),
        SendSignal(b"\x01" * 24, "go", Failure(500, "no")),
    ]
    assert driver.outcome is Turn.ENDED


async def test_attaching() -> None:
    target = format_invocation_id(b"\x01" * 24)

    async def handler(ctx: Context) -> None:
        await ctx.attach_invocation(target, type_hint=int)

    driver = drive(handler)
    assert driver.journal[1] == AttachInvocation(1, b"\x01" * 24)
    assert driver.outcome is Turn.WAITING


async def test_promises_of_a_workflow() -> None:
    async def handler(ctx: WorkflowContext) -> None:
        promise = ctx.promise("approved", type_hint=bool)
        promise.peek()
        promise.resolve(True)
        promise.reject("no", 400)
        await promise

    driver = drive(handler, key="k")
    assert driver.journal[1:] == [
        PeekPromise(1, "approved"),
        CompletePromise(2, "approved", b"true"),
        CompletePromise(3, "approved", Failure(400, "no")),
        GetPromise(4, "approved"),
    ]


async def test_the_request() -> None:
    async def handler(ctx: Context, body: str) -> list[object]:
        request = ctx.request()
        return [request.id, request.headers, request.body.decode(), request.idempotency_key, ctx.attempt_epoch()]

    driver = drive(handler, b'"x"', headers=[("a", "b")])
    assert driver.output == f'["{format_invocation_id(INVOCATION)}",{{"a":"b"}},"\\"x\\"",null,1]'.encode()


async def test_random_and_uuid_follow_the_seed() -> None:
    async def handler(ctx: Context) -> list[object]:
        return [ctx.random().random(), str(ctx.uuid()), ctx.random().random()]

    first = drive(handler, seed=1).output
    assert drive(handler, seed=1).output == first
    assert drive(handler, seed=2).output != first


async def test_calling_something_that_is_no_handler() -> None:
    async def stranger(ctx: Context, x: int) -> int:
        return x

    async def handler(ctx: Context) -> None:
        await ctx.service_call(stranger, 1)

    driver = drive(handler)
    assert driver.error is not None and "PD0407" in driver.error.message


async def test_scopes_are_refused_by_name() -> None:
    async def handler(ctx: Context) -> None:
        with pytest.raises(CapabilityError, match="PD0409"):
            ctx.scope("a")
        with pytest.raises(CapabilityError):
            ctx.generic_call("S", "h", b"", scope="a")

    assert drive(handler).outcome is Turn.ENDED
