"""A ticket: a virtual object whose key names a seat, so that two customers can never both have it."""

from __future__ import annotations

import perdure
from perdure import ObjectContext, ObjectSharedContext

ticket = perdure.VirtualObject("Ticket")

AVAILABLE, RESERVED, SOLD = "available", "reserved", "sold"


@ticket.handler()
async def reserve(ctx: ObjectContext) -> bool:
    """Whether the ticket was free, and is now the caller's."""
    if await status_of(ctx) != AVAILABLE:
        return False
    ctx.set("status", RESERVED)
    return True


@ticket.handler()
async def unreserve(ctx: ObjectContext) -> None:
    if await status_of(ctx) != SOLD:
        ctx.clear("status")


@ticket.handler()
async def mark_sold(ctx: ObjectContext) -> None:
    ctx.set("status", SOLD)


@ticket.handler(kind="shared")
async def status(ctx: ObjectSharedContext) -> str:
    return await status_of(ctx)


async def status_of(ctx: ObjectContext | ObjectSharedContext) -> str:
    return await ctx.get("status", type_hint=str) or AVAILABLE
