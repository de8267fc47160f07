"""Handlers that use everything durable, with steps that note when their bodies run.

Step names are unique within a run, so that a journal says which of them have a result.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import perdure

ran: Counter[str] = Counter()
"""How often the body of each step ran, by name; tests clear it."""

corpus = perdure.Service("Corpus")
counter = perdure.VirtualObject("Counter")
helper = perdure.Service("Helper")


def step(ctx: perdure.Context, name: str, value: Any = None) -> Any:
    async def body() -> Any:
        ran[name] += 1
        await asyncio.sleep(0.01)
        return name if value is None else value

    return ctx.run_typed(name, body)


@counter.handler()
async def add(ctx: perdure.ObjectContext, amount: int) -> int:
    total = (await ctx.get("total", type_hint=int) or 0) + amount
    await step(ctx, f"add-{ctx.key()}-{total}")
    ctx.set("total", total)
    return total


@counter.handler(kind="shared")
async def total(ctx: perdure.ObjectSharedContext) -> int:
    return await ctx.get("total", type_hint=int) or 0


@helper.handler()
async def resolve(ctx: perdure.Context, awakeable: str) -> None:
    await ctx.sleep(1)
    ctx.resolve_awakeable(awakeable, "woken")


@helper.handler()
async def refuse(ctx: perdure.Context, awakeable: str) -> None:
    ctx.reject_awakeable(awakeable, "no", 418)


@helper.handler()
async def double(ctx: perdure.Context, number: int) -> int:
    await ctx.sleep(timedelta(milliseconds=10 * number))
    return int(await step(ctx, f"double-{number}", number * 2))


@helper.handler()
async def hang(ctx: perdure.Context) -> str:
    _, never = ctx.awakeable(type_hint=str)
    try:
        return await never
    except perdure.TerminalError as error:
        await step(ctx, "compensate")
        raise perdure.TerminalError(f"undone: {error.message}", 409) from error


@corpus.handler()
async def steps(ctx: perdure.Context) -> list[str]:
    return [await step(ctx, "one"), await step(ctx, "two"), await step(ctx, "three")]


@corpus.handler()
async def sleeps(ctx: perdure.Context) -> str:
    await ctx.sleep(timedelta(minutes=1))
    first = await step(ctx, "after-a-nap")
    await asyncio.sleep(120)
    return f"{first} {await step(ctx, 'after-a-rest')}"


@corpus.handler()
async def calls(ctx: perdure.Context) -> list[int]:
    ctx.object_send(add, "sent", 5)
    ctx.object_send(add, "sent", 7, send_delay=timedelta(seconds=20))
    first = await ctx.object_call(add, "called", 1)
    second = await ctx.object_call(add, "called", 10)
    doubles = await perdure.gather(*[ctx.service_call(double, number) for number in (3, 1, 2)])
    return [first, second, *[await double for double in doubles]]


@corpus.handler()
async def awakeables(ctx: perdure.Context) -> list[Any]:
    good_id, good = ctx.awakeable(type_hint=str)
    bad_id, bad = ctx.awakeable(type_hint=str)
    ctx.service_send(resolve, good_id)
    ctx.service_send(refuse, bad_id)
    answers: list[Any] = [await good]
    try:
        await bad
    except perdure.TerminalError as error:
        answers.append([error.status_code, error.message])
    return answers


@corpus.handler()
async def native(ctx: perdure.Context) -> list[Any]:
    """asyncio's own tools: TaskGroup, gather, a timeout that fires and one that does not, a queue."""
    queue: asyncio.Queue[str] = asyncio.Queue()

    async def produce(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await queue.put(await step(ctx, name))

    async with asyncio.TaskGroup() as group:
        group.create_task(produce("slow", 2.0))
        group.create_task(produce("fast", 1.0))
        order = [await queue.get(), await queue.get()]
    both = await asyncio.gather(step(ctx, "left"), step(ctx, "right"))
    try:
        async with asyncio.timeout(10):
            await ctx.awakeable(type_hint=str)[1]
        timed_out = False
    except TimeoutError:
        timed_out = True
    in_time = await asyncio.wait_for(step(ctx, "in-time"), 60)
    return [sorted(order), list(both), timed_out, in_time]


@corpus.handler()
async def compensates(ctx: perdure.Context) -> list[Any]:
    """Cancels a child, which compensates, and goes on with its failure."""
    child = ctx.service_call(hang)
    await ctx.sleep(1)
    await child.cancel_invocation()
    try:
        await child
        return []
    except perdure.TerminalError as error:
        return [error.status_code, error.message, await step(ctx, "went-on")]


@corpus.handler()
async def seeded(ctx: perdure.Context) -> list[Any]:
    first = await step(ctx, "seeded")
    return [first, str(ctx.uuid()), ctx.random().random()]


@counter.handler()
async def moves(ctx: perdure.ObjectContext, amount: int) -> list[Any]:
    """State of every kind, between steps."""
    ctx.set("a", amount)
    await step(ctx, "moved-1")
    ctx.set("b", await ctx.get("a", type_hint=int) or 0)
    ctx.clear("a")
    keys = await ctx.state_keys()
    await step(ctx, "moved-2")
    ctx.clear_all()
    ctx.set("c", "end")
    return [keys, await ctx.state_keys(), await ctx.get("c", type_hint=str)]


SERVICES = [corpus, counter, helper]
ROOTS = {
    "Corpus/steps": None,
    "Corpus/sleeps": None,
    "Corpus/calls": None,
    "Corpus/awakeables": None,
    "Corpus/native": None,
    "Corpus/compensates": None,
    "Corpus/seeded": None,
    "Counter/k/moves": 3,
}
