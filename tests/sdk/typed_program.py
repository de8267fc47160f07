"""What type checkers see of the public API; `test_typing` runs mypy over it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, assert_type

import perdure
from perdure import Context, ObjectContext, RunOptions, Service, VirtualObject, Workflow, WorkflowContext

service = Service("S")
thing = VirtualObject("O")
flow = Workflow("W")


async def charge(card: str, amount: int) -> str:
    return card


def divide(x: int, *, by: int = 1) -> float:
    return x / by


@service.handler()
async def greet(ctx: Context, name: str) -> int:
    return 1


@service.handler()
async def ping(ctx: Context) -> str:
    return ""


@thing.handler()
async def add(ctx: ObjectContext, by: int) -> int:
    assert_type(await ctx.get("n", type_hint=int, default=0), int)
    assert_type(await ctx.get("n", type_hint=int), int | None)
    assert_type(await ctx.get("n"), Any)
    ctx.set("n", by)
    return by


@flow.main()
async def main(ctx: WorkflowContext, x: str) -> bool:
    assert_type(await ctx.run_typed("c", charge, RunOptions(), "x", 1), str)
    assert_type(await ctx.run_typed("c", divide, RunOptions(max_attempts=3), 1, by=2), float)
    assert_type(await ctx.run("c", lambda: 1), int)
    assert_type(await ctx.service_call(greet, "a"), int)
    assert_type(await ctx.service_call(ping), str)
    assert_type(await ctx.object_call(add, "k", 1), int)
    assert_type(await ctx.promise("a", type_hint=bool).value(), bool)
    assert_type(await ctx.attach_invocation("inv_", type_hint=str), str)
    assert_type(await ctx.time(), float)
    _, answer = ctx.awakeable(type_hint=int)
    first, _ = await asyncio.gather(ctx.service_call(greet, "a"), ctx.sleep(timedelta(seconds=1)))
    assert_type(first, int)
    ctx.service_send(greet, "a", send_delay=timedelta(seconds=1))
    ctx.object_send(add, "k", 1)
    ctx.service_send(ping)

    ctx.service_call(greet, 1)  # type: ignore[arg-type]
    ctx.service_send(greet, 1)  # type: ignore[arg-type]
    ctx.object_call(add, 1, 1)  # type: ignore[call-overload]
    ctx.run_typed("c", charge, RunOptions(), "x")  # type: ignore[call-overload]
    return bool(await perdure.select(a=answer))
