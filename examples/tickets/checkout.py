"""Checking out: charge the card, ask by e-mail, wait for the answer; take the money back when there is none.

Each of the steps runs until its result is recorded and never again after that. The token comes from the invocation, so it
is the same in every attempt: should the process die between the bank's answer and its record, the bank sees the same
token again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import perdure
from examples.tickets import outside, settings
from perdure import Context, TerminalError

checkout = perdure.Service("Checkout")

PRICE = 40


@dataclass
class Order:
    customer: str
    card: str
    tickets: list[str]


@dataclass
class Receipt:
    token: str
    amount: int


@checkout.handler()
async def pay(ctx: Context, order: Order) -> Receipt:
    """Errors: TerminalError 402 when the bank refuses, 409 when the customer does, 408 when nothing is heard of him."""
    me = ctx.request().id
    token = str(ctx.uuid())
    amount = PRICE * len(order.tickets)
    payment = await ctx.run_typed(
        "charge", outside.charge, invocation_id=me, card=order.card, token=token, amount=amount
    )
    if not payment.accepted:
        raise TerminalError("the card was refused", status_code=402)
    try:
        await confirmed_by_mail(ctx, order.customer)
    except TerminalError:
        await ctx.run_typed("refund", outside.refund, invocation_id=me, token=token)
        raise
    return Receipt(token, amount)


async def confirmed_by_mail(ctx: Context, customer: str) -> None:
    """Errors: TerminalError when the customer declines, or says nothing in time."""
    awakeable_id, answer = ctx.awakeable(type_hint=str)
    await ctx.run_typed(
        "mail", outside.send_mail, invocation_id=ctx.request().id, address=customer, awakeable_id=awakeable_id
    )
    try:
        async with asyncio.timeout(settings.CONFIRMATION.total_seconds()):
            word = await answer
    except TimeoutError:
        raise TerminalError("the purchase was not confirmed in time", status_code=408) from None
    if word != "yes":
        raise TerminalError("the customer declined", status_code=409)
