"""Services of the official SDK that tests deploy. Each call makes new ones, so that a deployment can be another version."""

from __future__ import annotations

from typing import Any

import restate


def greeter(words: str = "hello", **settings: Any) -> restate.Service:
    service = restate.Service("Greeter", **settings)

    @service.handler()
    async def greet(ctx: restate.Context, name: str) -> str:
        return f"{words} {name}"

    return service


def greeter_object() -> restate.VirtualObject:
    """Greeter as another kind of service."""
    service = restate.VirtualObject("Greeter")

    @service.handler()
    async def greet(ctx: restate.ObjectContext, name: str) -> str:
        return name

    return service


def counter() -> restate.VirtualObject:
    service = restate.VirtualObject("Counter")

    @service.handler()
    async def add(ctx: restate.ObjectContext, number: int) -> int:
        total = (await ctx.get("total", type_hint=int) or 0) + number
        ctx.set("total", total)
        return total

    @service.handler(kind="shared")
    async def get(ctx: restate.ObjectSharedContext) -> int:
        return await ctx.get("total", type_hint=int) or 0

    return service


def steps(version: str, told: list[str]) -> restate.Service:
    """`go` notes the version before and after it waits for an awakeable, whose id it tells."""
    service = restate.Service("Steps")

    @service.handler()
    async def go(ctx: restate.Context) -> str:
        first = await ctx.run_typed("first", lambda: version)
        name, answer = ctx.awakeable(type_hint=str)
        told.append(name)
        given = await answer
        second = await ctx.run_typed("second", lambda: version)
        return f"{first} {given} {second}"

    return service
