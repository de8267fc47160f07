"""The app that is killed: a bit of everything an invocation can do, each step noted in a file that survives.

Served by a process of its own; `CRASH_TRACE` names the file.
"""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from pathlib import Path

import perdure
from perdure import Context, ObjectContext, ObjectSharedContext
from perdure.testing.steps import StepTrace

TRACE = StepTrace(Path(os.environ.get("CRASH_TRACE", "crash-trace.txt")))

steps = perdure.Service("Steps")
ledger = perdure.VirtualObject("Ledger")
orders = perdure.Service("Orders")


def step(invocation_id: str, position: int, words: tuple[str, ...] = ()) -> str:
    return TRACE.step(invocation_id, position, *words)


async def async_step(invocation_id: str, position: int) -> str:
    return TRACE.step(invocation_id, position)


@steps.handler()
async def in_sequence(ctx: Context, count: int) -> list[str]:
    """`count` steps, one after the other, on a thread and on the loop by turns."""
    me = ctx.request().id
    done = []
    for position in range(count):
        name = f"step {position}"
        if position % 2:
            done.append(await ctx.run_typed(name, step, invocation_id=me, position=position))
        else:
            done.append(await ctx.run_typed(name, async_step, invocation_id=me, position=position))
    return done


@steps.handler()
async def with_naps(ctx: Context, naps_ms: list[int]) -> int:
    """A step, a durable sleep, a step, a sleep, …"""
    me = ctx.request().id
    for position, nap_ms in enumerate(naps_ms):
        await ctx.run_typed(f"step {position}", step, invocation_id=me, position=position)
        await ctx.sleep(timedelta(milliseconds=nap_ms))
    return len(naps_ms)


@steps.handler()
async def approved(ctx: Context, question: str) -> str:
    """Publishes an awakeable and waits for its answer."""
    me = ctx.request().id
    awakeable_id, answer = ctx.awakeable(type_hint=str)
    await ctx.run_typed("ask", step, invocation_id=me, position=0, words=("awakeable", awakeable_id))
    word = await answer
    await ctx.run_typed("note", step, invocation_id=me, position=1)
    return f"{question}: {word}"


@ledger.handler()
async def add(ctx: ObjectContext, amount: int) -> int:
    """The sum so far, this amount included."""
    total = await ctx.get("total", type_hint=int, default=0) + amount
    ctx.set("total", total)
    return total


@ledger.handler()
async def append(ctx: ObjectContext, number: int) -> None:
    """Notes the order in which one key's messages run, in the state and outside."""
    await ctx.run_typed(
        "append", step, invocation_id=ctx.request().id, position=0, words=("append", ctx.key(), str(number))
    )
    ctx.set("numbers", [*await ctx.get("numbers", type_hint=list[int], default=[]), number])


@ledger.handler(kind="shared")
async def numbers(ctx: ObjectSharedContext) -> list[int]:
    return await ctx.get("numbers", type_hint=list[int], default=[])


@ledger.handler(kind="shared")
async def total(ctx: ObjectSharedContext) -> int:
    return await ctx.get("total", type_hint=int, default=0)


@orders.handler()
async def place(ctx: Context, accounts: list[str]) -> int:
    """Calls to several keys at once and to a service, gathered, between two steps."""
    me = ctx.request().id
    await ctx.run_typed("begin", step, invocation_id=me, position=0)
    totals = await asyncio.gather(
        *(ctx.object_call(add, key=account, arg=1) for account in accounts),
        ctx.service_call(with_naps, arg=[10]),
    )
    await ctx.run_typed("end", step, invocation_id=me, position=1)
    return len(totals)


app = perdure.app([steps, ledger, orders])
