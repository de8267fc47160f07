"""Handlers that use every operation of the context, served to perdure and to a real Restate server alike.

What they answer must not depend on which of the two runs them, nor on how often they are replayed. `touch(name)` counts in a
file how often a line was reached; PERDURE_TEST_DIR says where.
"""

from __future__ import annotations

import asyncio
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import perdure

SHORT = timedelta(milliseconds=50)

work = perdure.Service("Work")
cell = perdure.VirtualObject("Cell")
flow = perdure.Workflow("Flow")
target = perdure.Service("Target")


def touch(name: str) -> int:
    """How often this was called with this name, this time counted."""
    path = Path(os.environ["PERDURE_TEST_DIR"]) / name
    with path.open("a") as file:
        file.write("x")
    return len(path.read_text())


def touched(name: str) -> int:
    path = Path(os.environ["PERDURE_TEST_DIR"]) / name
    return len(path.read_text()) if path.exists() else 0


async def double(value: int) -> int:
    return 2 * value


def plain_double(value: int) -> int:
    return 2 * value


# --- steps and native asyncio -----------------------------------------------------------------------------------------


@work.handler()
async def hello(ctx: perdure.Context, name: str) -> str:
    return f"Hello {name}!"


@work.handler()
async def nothing(ctx: perdure.Context) -> None:
    return None


@work.handler(
    invocation_retry_policy=perdure.InvocationRetryPolicy(
        timedelta(milliseconds=10), max_attempts=2, on_max_attempts="pause"
    )
)
async def context_in_a_step(ctx: perdure.Context) -> None:
    async def step() -> None:
        await ctx.sleep(SHORT)

    await ctx.run_typed("step", step)


@work.handler()
async def length(ctx: perdure.Context, text: str) -> int:
    return len(text)


@work.handler()
async def big(ctx: perdure.Context, size: int) -> str:
    return await ctx.run_typed("big", lambda: "y" * size)


@work.handler()
async def steps(ctx: perdure.Context, how_many: int) -> list[int]:
    async with asyncio.TaskGroup() as group:
        nested = group.create_task(fan_out(ctx, how_many))
        alone = group.create_task(sequence(ctx, how_many))
    return [*nested.result(), *alone.result()]


async def fan_out(ctx: perdure.Context, how_many: int) -> list[int]:
    return await asyncio.gather(*(ctx.run(f"fan-{number}", double, args=(number,)) for number in range(how_many)))


async def sequence(ctx: perdure.Context, how_many: int) -> list[int]:
    total = 0
    for number in range(how_many):
        total += await ctx.run(f"row-{number}", plain_double, args=(number,))
        await asyncio.sleep(0.001)
    return [total]


@work.handler()
async def in_a_process(ctx: perdure.Context, value: int) -> int:
    return await ctx.run_typed("away", plain_double, perdure.RunOptions(pool="process"), value)


@work.handler()
async def order(ctx: perdure.Context, name: str) -> list[str]:
    """What finishes first comes first, in every attempt."""
    seen: list[str] = []

    async def one(number: int) -> None:
        await ctx.run(f"a{number}", later, args=((number * 7) % 5,))
        seen.append(f"a{number}")
        await ctx.sleep(timedelta(milliseconds=5 * (number % 3)))
        seen.append(f"b{number}")
        await ctx.run(f"c{number}", later, args=((number * 3) % 4,))
        seen.append(f"c{number}")

    await asyncio.gather(*(one(number) for number in range(6)))
    recorded = await ctx.run_typed("seen", lambda: seen)
    if recorded != seen:
        raise perdure.TerminalError(f"{recorded} became {seen}")
    await ctx.sleep(SHORT)
    if recorded != seen:
        raise perdure.TerminalError(f"{recorded} became {seen}")
    return sorted(seen)


async def later(delay: int) -> int:
    await asyncio.sleep(delay / 500)
    return delay


@work.handler()
async def timeouts(ctx: perdure.Context) -> list[str]:
    said: list[str] = []
    _, never = ctx.awakeable(type_hint=str)
    try:
        async with asyncio.timeout(0.05):
            await never
    except TimeoutError:
        said.append("timeout")
    try:
        await asyncio.wait_for(asyncio.shield(ctx.awakeable()[1]), 0.05)
    except TimeoutError:
        said.append("wait_for")
    fast = asyncio.create_task(asyncio.sleep(0.01, "fast"))
    slow = asyncio.create_task(asyncio.sleep(30, "slow"))
    done, pending = await asyncio.wait({fast, slow}, return_when=asyncio.FIRST_COMPLETED)
    said.append(f"{[task.result() for task in done]} {len(pending)}")
    slow.cancel()
    async with asyncio.timeout(30):
        said.append(str(await ctx.run("in time", double, args=(4,))))
    sleeps = [ctx.sleep(0.2), ctx.sleep(0.02)]
    said += [str(sleeps.index(future)) async for future in perdure.as_completed(*sleeps)]
    said.append((await perdure.select(a=ctx.sleep(30), b=asyncio.create_task(asyncio.sleep(0.01, "b"))))[0])
    return said


@work.handler()
async def timer_is_not_early(ctx: perdure.Context) -> float:
    """A timer made while an earlier one is under way, after time has passed that nobody told the handler of."""
    background = asyncio.create_task(asyncio.sleep(0.6))
    await ctx.run("half a second", later, args=(200,))
    began = await ctx.time()
    await asyncio.sleep(0.7)
    took = await ctx.time() - began
    await background
    return took


@work.handler()
async def the_same(ctx: perdure.Context) -> bool:
    drawn = [ctx.random().random(), str(ctx.uuid())]
    recorded = await ctx.run_typed("drawn", lambda: drawn)
    await ctx.sleep(SHORT)
    return recorded == drawn


@work.handler()
async def now(ctx: perdure.Context) -> float:
    return abs(await ctx.time() - time.time())


@work.handler()
async def asked(ctx: perdure.Context, value: dict[str, Any]) -> dict[str, Any]:
    request = ctx.request()
    return {
        "id": request.id.startswith("inv_1"),
        "header": request.headers.get("x-mine"),
        "body": request.body.decode(),
        "attempt": bool(request.attempt_headers) or None,
    }


# --- failures ---------------------------------------------------------------------------------------------------------


@work.handler()
async def terminal(ctx: perdure.Context, code: int) -> None:
    raise perdure.TerminalError("it is over", code)


@work.handler()
async def terminal_of_a_step(ctx: perdure.Context) -> str:
    def refuse() -> None:
        raise perdure.TerminalError("the step says no", 418)

    try:
        await ctx.run_typed("refuse", refuse)
    except perdure.TerminalError as error:
        return f"{error.status_code} {error.message}"
    return "nothing"


@work.handler()
async def flaky(ctx: perdure.Context, name: str) -> int:
    """A step that fails twice."""

    def body() -> int:
        tries = touch(name)
        if tries < 3:
            raise RuntimeError("not yet")
        return tries

    retry = perdure.RunOptions[int](initial_retry_interval=timedelta(milliseconds=10), max_attempts=10)
    return await ctx.run_typed("flaky", body, retry)


@work.handler()
async def hopeless(ctx: perdure.Context, name: str) -> str:
    """A step that gives up after three tries, while another one works."""

    def body() -> None:
        touch(name)
        raise RuntimeError("never")

    retry = perdure.RunOptions[None](initial_retry_interval=timedelta(milliseconds=10), max_attempts=3)
    other = ctx.run("other", later, args=(10,))
    try:
        await ctx.run_typed("hopeless", body, retry)
    except perdure.TerminalError as error:
        return f"{error.message} {await other}"
    return "nothing"


@work.handler()
async def two_hopeless(ctx: perdure.Context, name: str) -> list[str]:
    """Two steps that give up, at the same time, while a third one works."""

    def body(which: str) -> None:
        touch(f"{name}-{which}")
        raise RuntimeError(f"never {which}")

    retry = perdure.RunOptions[None](initial_retry_interval=timedelta(milliseconds=10), max_attempts=2)
    steps = [ctx.run_typed(which, body, retry, which) for which in ("a", "b")]
    other = ctx.run("other", later, args=(20,))
    outcomes = await asyncio.gather(*steps, other, return_exceptions=True)
    return [outcome.message if isinstance(outcome, perdure.TerminalError) else str(outcome) for outcome in outcomes]


@work.handler()
async def fails_once(ctx: perdure.Context, name: str) -> int:
    """The handler itself fails at first; the step before is not run again."""
    before = await ctx.run_typed("before", lambda: touch(f"{name}-step"))
    if touch(name) == 1:
        raise perdure.RetryableError("once more", retry_after=timedelta(milliseconds=10))
    return before


@work.handler()
async def group(ctx: perdure.Context) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_give_up("one"))
        tasks.create_task(_give_up("two"))


async def _give_up(what: str) -> None:
    await asyncio.sleep(0.01)
    raise perdure.TerminalError(what, 444)


@work.handler()
async def epoch(ctx: perdure.Context) -> str:
    try:
        return str(ctx.attempt_epoch() >= 1)
    except Exception as error:
        return str(error)


# --- state ------------------------------------------------------------------------------------------------------------


@cell.handler()
async def add(ctx: perdure.ObjectContext, by: int) -> int:
    value = (await ctx.get("value", type_hint=int) or 0) + by
    ctx.set("value", value)
    return value


@cell.handler()
async def state(ctx: perdure.ObjectContext) -> list[Any]:
    seen: list[Any] = [await ctx.get("a"), await ctx.get("a", default="none"), await ctx.state_keys()]
    ctx.set("a", 1)
    ctx.set("b", {"c": [1, 2]})
    seen += [await ctx.get("a"), await ctx.get("b")]
    await ctx.sleep(SHORT)
    seen += [await ctx.get("b"), sorted(await ctx.state_keys())]
    ctx.clear("a")
    seen += [await ctx.get("a"), await ctx.state_keys()]
    ctx.clear_all()
    seen += [await ctx.get("b"), await ctx.state_keys()]
    await ctx.sleep(SHORT)
    ctx.set("last", "é")
    return [*seen, await ctx.get("last"), ctx.key()]


@cell.handler(kind="shared")
async def read(ctx: perdure.ObjectSharedContext) -> int:
    return await ctx.get("value", type_hint=int) or 0


@cell.handler()
async def slow_add(ctx: perdure.ObjectContext, by: int) -> int:
    before = await ctx.get("value", type_hint=int) or 0
    await ctx.sleep(timedelta(milliseconds=20))
    ctx.set("value", before + by)
    return before + by


# --- calls ------------------------------------------------------------------------------------------------------------


@target.handler()
async def echo(ctx: perdure.Context, value: dict[str, Any]) -> dict[str, Any]:
    return {**value, "header": ctx.request().headers.get("x-from")}


@target.handler()
async def note(ctx: perdure.Context, name: str) -> int:
    return touch(name)


@target.handler()
async def wait_for_ever(ctx: perdure.Context, name: str) -> str:
    touch(f"{name}-started")
    try:
        await ctx.sleep(timedelta(hours=1))
    except perdure.TerminalError as error:
        await ctx.sleep(SHORT)  # compensation may wait
        await ctx.run_typed("compensate", lambda: touch(f"{name}-compensated"))
        raise perdure.TerminalError(f"child: {error.message}", error.status_code) from error
    return "never"


@work.handler()
async def calls(ctx: perdure.Context, name: str) -> list[Any]:
    got = await ctx.service_call(echo, arg={"n": name}, headers={"x-from": "work"})
    bare = await ctx.generic_call("Target", "echo", b'{"b":1}')
    both = await asyncio.gather(*(ctx.object_call(add, key=name, arg=number) for number in (1, 2, 3)))
    once = [await ctx.service_call(note, arg=f"{name}-once", idempotency_key=f"{name}-key") for _ in range(2)]
    handle = ctx.object_send(add, key=f"{name}-sent", arg=5)
    attached = await ctx.attach_invocation(await handle.invocation_id(), type_hint=int)
    called = ctx.service_call(echo, arg={"q": 1})
    known = (await called.invocation_id()).startswith("inv_1")
    return [got, bare.decode(), sorted(both), once, attached, known, await called]


@work.handler()
async def sends(ctx: perdure.Context, name: str) -> float:
    ctx.service_send(note, arg=f"{name}-now")
    began = await ctx.time()
    handle = ctx.service_send(note, arg=f"{name}-later", send_delay=timedelta(milliseconds=300))
    ctx.generic_send("Target", "note", f'"{name}-bare"'.encode())
    await ctx.attach_invocation(await handle.invocation_id(), type_hint=int)
    return await ctx.time() - began


@work.handler()
async def failing_call(ctx: perdure.Context) -> str:
    try:
        await ctx.service_call(terminal, arg=455)
    except perdure.TerminalError as error:
        return f"{error.status_code} {error.message}"
    return "nothing"


@work.handler()
async def cancels(ctx: perdure.Context, name: str) -> str:
    called = ctx.service_call(wait_for_ever, arg=name)
    # On Lambda the call goes out when the attempt ends: a step must not wait for it.
    while not await ctx.run("started", touched, args=(f"{name}-started",)):
        await ctx.sleep(SHORT)
    await called.cancel_invocation()
    try:
        return await called
    except perdure.TerminalError as error:
        return f"{error.status_code} {error.message}"


@work.handler()
async def parent(ctx: perdure.Context, name: str) -> str:
    """Is cancelled while two children run; says how they ended, and compensates."""
    children = [ctx.service_call(wait_for_ever, arg=f"{name}-{number}") for number in (1, 2)]
    try:
        return str(await asyncio.gather(*children))
    except perdure.TerminalError as error:
        await ctx.run_typed("undo", lambda: touch(f"{name}-undone"))
        ended = [await _outcome(ctx, await child.invocation_id()) for child in children]
        raise perdure.TerminalError(f"{error.message}; {ended}", error.status_code) from error


async def _outcome(ctx: perdure.Context, invocation_id: str) -> str:
    try:
        return await ctx.attach_invocation(invocation_id, type_hint=str)
    except perdure.TerminalError as error:
        return error.message


# --- awakeables, signals, promises ------------------------------------------------------------------------------------


@cell.handler()
async def awaits(ctx: perdure.ObjectContext, how_many: int) -> list[Any]:
    """Awakeables that are completed from outside, in any order; their ids are found in the state."""
    made = [ctx.awakeable() for _ in range(how_many)]
    ctx.set("ids", [name for name, _ in made])
    outcomes = await asyncio.gather(*(future for _, future in made), return_exceptions=True)
    return [
        f"{outcome.status_code} {outcome.message}" if isinstance(outcome, perdure.TerminalError) else outcome
        for outcome in outcomes
    ]


@cell.handler(kind="shared")
async def ids(ctx: perdure.ObjectSharedContext) -> list[str]:
    return await ctx.get("ids") or []


@target.handler()
async def complete(ctx: perdure.Context, what: dict[str, Any]) -> None:
    if "reason" in what:
        ctx.reject_awakeable(what["id"], what["reason"], 461)
    else:
        ctx.resolve_awakeable(what["id"], what["value"])


@work.handler()
async def own_awakeable(ctx: perdure.Context) -> list[Any]:
    """Two awakeables, the second completed first."""
    first_id, first = ctx.awakeable()
    second_id, second = ctx.awakeable()
    ctx.service_send(complete, arg={"id": second_id, "value": [2]})
    got = [await second]
    ctx.service_send(complete, arg={"id": first_id, "reason": "no"})
    try:
        await first
    except perdure.TerminalError as error:
        got.append(f"{error.status_code} {error.message}")
    return got


@target.handler()
async def signals_twice(ctx: perdure.Context, invocation_id: str) -> None:
    ctx.resolve_signal(invocation_id, "go", {"n": 1})
    ctx.reject_signal(invocation_id, "stop", "stopped", 462)


@work.handler()
async def signalled(ctx: perdure.Context) -> list[Any]:
    go, stop = ctx.signal("go"), ctx.signal("stop")
    ctx.service_send(signals_twice, arg=ctx.request().id)
    got = [await go]
    try:
        await stop
    except perdure.TerminalError as error:
        got.append(f"{error.status_code} {error.message}")
    return got


@flow.main()
async def run(ctx: perdure.WorkflowContext, name: str) -> list[Any]:
    ctx.set("phase", "waiting")
    peeked = await ctx.promise("approval").peek()
    answer = await ctx.promise("approval").value()
    ctx.set("phase", "done")
    again = await ctx.promise("approval").peek()
    return [name, peeked, answer, again, ctx.key()]


@flow.handler()
async def approve(ctx: perdure.WorkflowSharedContext, answer: str) -> str:
    await ctx.promise("approval").resolve(answer)
    try:
        await ctx.promise("approval").resolve("again")
    except perdure.TerminalError:
        return "once"
    return "twice"


@flow.handler()
async def reject(ctx: perdure.WorkflowSharedContext, reason: str) -> None:
    await ctx.promise("approval").reject(reason, 463)


@flow.handler()
async def phase(ctx: perdure.WorkflowSharedContext) -> str | None:
    return await ctx.get("phase", type_hint=str)


# --- crashes ----------------------------------------------------------------------------------------------------------


@work.handler()
async def survives(ctx: perdure.Context, name: str) -> list[int]:
    """Waits for its process to be killed, twice."""
    first = await ctx.run_typed("first", lambda: touch(f"{name}-first"))
    await ctx.run("wait", until_released, args=(f"{name}-one",))
    second = await ctx.run_typed("second", lambda: touch(f"{name}-second"))
    await asyncio.sleep(0.05)
    third = await ctx.run_typed("third", lambda: touch(f"{name}-third"))
    return [first, second, third]


async def until_released(name: str) -> None:
    touch(f"{name}-waiting")
    while not touched(f"{name}-released"):
        await asyncio.sleep(0.01)


@work.handler()
async def changing(ctx: perdure.Context, name: str) -> list[str]:
    """Code that is deployed anew while it runs: CHANGED=1 is the wrong version, FIXED=1 the one that no longer fails."""
    first = await ctx.run(os.environ.get("CHANGED", "one"), value_of, args=("one",))
    await ctx.run("wait", until_released, args=(name,))
    return [first, "ended"]


@work.handler()
async def fails_until_fixed(ctx: perdure.Context, name: str) -> int:
    before = await ctx.run("before", touch, args=(name,))
    if "FIXED" not in os.environ:
        raise RuntimeError("there is a bug here")
    return before


async def value_of(value: str) -> str:
    return value


@work.handler()
async def interrupted(ctx: perdure.Context, name: str) -> None:
    """A step that says how it ended."""
    await ctx.run("endless", endless, args=(name,))


async def endless(name: str) -> None:
    touch(f"{name}-running")
    try:
        await asyncio.sleep(3600)
    finally:
        touch(f"{name}-stopped")


class Turned(perdure.JournalValueCodec):
    """Not a cipher, but told from what it hides."""

    def encode(self, buf: bytes) -> bytes:
        return b"turned:" + buf[::-1]

    async def decode(self, buf: bytes) -> bytes:
        assert buf.startswith(b"turned:"), buf
        return buf[7:][::-1]


# A test that fails is to fail soon.
few_tries = perdure.InvocationRetryPolicy(
    initial_interval=timedelta(milliseconds=50), max_attempts=8, on_max_attempts="kill"
)
app = perdure.app([work, cell, flow, target], invocation_retry_policy=few_tries)
secret = perdure.app([work, cell, flow, target], invocation_retry_policy=few_tries, journal_value_codec=Turned())
signed = perdure.app(
    [work], invocation_retry_policy=few_tries, identity_keys=os.environ.get("IDENTITY_KEYS", "").split()
)
# Tried again and again: what gets lost on the way is no failure of the handler.
soon = perdure.InvocationRetryPolicy(timedelta(milliseconds=10), 1.5, timedelta(milliseconds=100), 10_000)
patient = perdure.app([work, cell, flow, target], invocation_retry_policy=soon)
# Paused at the second failure.
paused = perdure.app(
    [work, cell, flow, target],
    invocation_retry_policy=perdure.InvocationRetryPolicy(
        timedelta(milliseconds=10), max_attempts=2, on_max_attempts="pause"
    ),
)
# Suspended as soon as nothing has come for a moment, so that every wait is a replay.
hasty = perdure.app(
    [work, cell, flow, target], invocation_retry_policy=few_tries, inactivity_timeout=timedelta(milliseconds=1)
)
