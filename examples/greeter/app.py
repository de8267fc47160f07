"""The greeter that counts: one virtual object whose state is how often each name was greeted."""

from __future__ import annotations

import perdure
from perdure import ObjectContext, ObjectSharedContext

greeter = perdure.VirtualObject("Greeter")


@greeter.handler()
async def greet(ctx: ObjectContext, greeting: str) -> str:
    count = (await ctx.get("count", type_hint=int) or 0) + 1
    ctx.set("count", count)
    return f"{greeting} {ctx.key()} for the {ordinal(count)} time."


@greeter.handler(kind="shared")
async def greeted(ctx: ObjectSharedContext) -> int:
    """How often this name was greeted; answers also while a greeting is under way."""
    return await ctx.get("count", type_hint=int) or 0


def ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


app = perdure.app([greeter])
