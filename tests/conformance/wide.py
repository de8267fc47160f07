"""More services of the conformance suite: wide, deep and large; `wide.mjs` has the same in TypeScript."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import restate
from restate import Context, ObjectContext, RunOptions, WorkflowContext, WorkflowSharedContext
from restate.exceptions import TerminalError

wide = restate.Service("Wide")
left = restate.VirtualObject("Left")
right = restate.VirtualObject("Right")
keeper = restate.VirtualObject("Keeper")
envelope = restate.Workflow("Envelope")

serde = restate.serde.DefaultSerde()
tries: Counter[str] = Counter()
TWICE = restate.InvocationRetryPolicy(
    initial_interval=timedelta(milliseconds=5), max_attempts=2, on_max_attempts="pause"
)


def ms(millis: int) -> timedelta:
    return timedelta(milliseconds=millis)


@wide.handler()
async def double(ctx: Context, number: int) -> int:
    return 2 * number


@wide.handler()
async def fan_out(ctx: Context, width: int) -> int:
    """Calls at the same time; the sum of what they say."""
    calls = [ctx.service_call(double, number) for number in range(width)]
    await restate.gather(*calls)
    return sum([await call for call in calls])


@wide.handler()
async def steps(ctx: Context, count: int) -> int:
    return sum([await ctx.run_typed(f"step {at}", lambda at=at: at, RunOptions()) for at in range(count)])


@wide.handler()
async def deep(ctx: Context, depth: int) -> int:
    """Calls itself `depth` times."""
    return 0 if depth == 0 else 1 + await ctx.service_call(deep, depth - 1)


@wide.handler()
async def fails_below(ctx: Context, depth: int) -> None:
    if depth == 0:
        raise TerminalError("at the bottom", status_code=418)
    await ctx.service_call(fails_below, depth - 1)


@wide.handler()
async def first_of(ctx: Context, all_ms: list[int]) -> int:
    """Which of the sleeps ends first."""
    sleeps = {f"s{at}": ctx.sleep(ms(each)) for at, each in enumerate(all_ms)}
    name, _ = await restate.select(**sleeps)
    return int(name[1:])


@wide.handler()
async def settled(ctx: Context, numbers: list[int]) -> list[str]:
    """Of every call what came of it: those with an even number fail."""
    said = []
    for call in [ctx.service_call(odd, number) for number in numbers]:
        try:
            said.append(f"ok {await call}")
        except TerminalError as error:
            said.append(f"{error.status_code} {error.message}")
    return said


@wide.handler()
async def odd(ctx: Context, number: int) -> int:
    if number % 2 == 0:
        raise TerminalError(f"{number} is even", status_code=422)
    return number


@wide.handler()
async def waits_no_longer(ctx: Context, limit_ms: int) -> str:
    name, value = ctx.awakeable(type_hint=Any)
    match await restate.select(value=value, late=ctx.sleep(ms(limit_ms))):
        case ["late", _]:
            return "late"
    return "in time"


@wide.handler()
async def waits(ctx: Context) -> Any:
    name, value = ctx.awakeable(type_hint=Any)
    return await value


@wide.handler()
async def cancels_what_it_called(ctx: Context) -> str:
    call = ctx.service_call(waits, None)
    ctx.cancel_invocation(await call.invocation_id())
    try:
        await call
    except TerminalError as error:
        return f"{error.status_code} {error.message}"
    return "not cancelled"


@wide.handler()
async def gives_up_in_time(ctx: Context, limit_ms: int) -> str:
    """A step that never succeeds, and may be tried for so long."""

    async def body() -> None:
        raise ValueError("not today")

    options: RunOptions[None] = RunOptions(initial_retry_interval=ms(10), max_duration=ms(limit_ms))
    try:
        await ctx.run_typed("body", body, options)
    except TerminalError as error:
        return f"gave up: {error.message}"
    return "no error"


@wide.handler(invocation_retry_policy=TWICE)
async def changes(ctx: Context, name: str) -> str:
    """Other code at every attempt but those that are alike: it does not fit its journal."""
    tries[name] += 1
    if tries[name] % 2 == 1:
        await ctx.run_typed("first", lambda: 1, RunOptions())
        raise ValueError("go on with other code")
    await ctx.sleep(ms(1))
    return "never"


@wide.handler()
async def length_of_awakeable(ctx: Context, key: str) -> int:
    name, value = ctx.awakeable(type_hint=Any)
    ctx.generic_send("Holder", "hold", serde.serialize(name), key)
    return len(await value)


@wide.handler()
async def headers_passed_on(ctx: Context, value: str) -> dict[str, str]:
    data = await ctx.generic_call("Util", "headers", b"", headers={"x-passed": value})
    seen: dict[str, str] = serde.deserialize(data) or {}
    return seen


@left.handler("turn")
async def left_turn(ctx: ObjectContext, turns: int) -> list[str]:
    """The two objects call each other, each time with another key."""
    said = [f"left {ctx.key()}"]
    return said if turns == 0 else said + await ctx.object_call(right_turn, f"{ctx.key()}r", turns - 1)


@right.handler("turn")
async def right_turn(ctx: ObjectContext, turns: int) -> list[str]:
    said = [f"right {ctx.key()}"]
    return said if turns == 0 else said + await ctx.object_call(left_turn, f"{ctx.key()}l", turns - 1)


@keeper.handler()
async def fill(ctx: ObjectContext, size: int) -> None:
    ctx.set("text", "x" * size)


@keeper.handler()
async def length(ctx: ObjectContext) -> int:
    return len(await ctx.get("text", type_hint=str) or "")


@envelope.main()
async def run(ctx: WorkflowContext) -> int:
    return len(await ctx.promise("letter", type_hint=str).value())


@envelope.handler()
async def deliver(ctx: WorkflowSharedContext, size: int) -> None:
    await ctx.promise("letter", type_hint=str).resolve("x" * size)


@envelope.handler()
async def refuse(ctx: WorkflowSharedContext) -> None:
    await ctx.promise("letter", type_hint=str).reject("return to sender", 404)


SERVICES = [wide, left, right, keeper, envelope]
