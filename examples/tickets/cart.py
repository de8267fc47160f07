"""A cart: a virtual object whose key is the customer. It holds tickets for a while, and sells them at checkout."""

from __future__ import annotations

import perdure
from examples.tickets import settings, ticket
from examples.tickets.checkout import Order, Receipt, pay
from perdure import ObjectContext, ObjectSharedContext, TerminalError

cart = perdure.VirtualObject("Cart")


@cart.handler()
async def add_ticket(ctx: ObjectContext, ticket_id: str) -> bool:
    """Whether the ticket could be had. It stays in the cart until it is bought, or for `settings.RESERVATION`."""
    if not await ctx.object_call(ticket.reserve, key=ticket_id, arg=None):
        return False
    ctx.set("tickets", [*await tickets_of(ctx), ticket_id])
    ctx.object_send(expire_ticket, key=ctx.key(), arg=ticket_id, send_delay=settings.RESERVATION)
    return True


@cart.handler()
async def expire_ticket(ctx: ObjectContext, ticket_id: str) -> None:
    tickets = await tickets_of(ctx)
    if ticket_id in tickets:
        ctx.set("tickets", [other for other in tickets if other != ticket_id])
        ctx.object_send(ticket.unreserve, key=ticket_id, arg=None)


@cart.handler(name="checkout")
async def check_out(ctx: ObjectContext, card: str) -> Receipt:
    """Buy what is in the cart. Errors: TerminalError 400 when that is nothing, and those of `pay`."""
    tickets = await tickets_of(ctx)
    if not tickets:
        raise TerminalError("the cart is empty", status_code=400)
    try:
        receipt = await ctx.service_call(pay, arg=Order(ctx.key(), card, tickets))
    except TerminalError:
        for ticket_id in tickets:
            ctx.object_send(ticket.unreserve, key=ticket_id, arg=None)
        ctx.clear("tickets")
        raise
    for ticket_id in tickets:
        ctx.object_send(ticket.mark_sold, key=ticket_id, arg=None)
    ctx.clear("tickets")
    return receipt


@cart.handler(kind="shared")
async def content(ctx: ObjectSharedContext) -> list[str]:
    return await tickets_of(ctx)


async def tickets_of(ctx: ObjectContext | ObjectSharedContext) -> list[str]:
    return await ctx.get("tickets", type_hint=list[str]) or []
