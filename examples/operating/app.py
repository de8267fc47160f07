"""Orders that stop half-way, for somebody to look after them: one waits for an approval, another cannot be charged."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import perdure
from perdure import InvocationRetryPolicy, ObjectContext

orders = perdure.VirtualObject(
    "Order",
    # Three tries, then the order is paused and waits for a person.
    invocation_retry_policy=InvocationRetryPolicy(initial_interval=timedelta(milliseconds=50), max_attempts=3),
)

CARDS = Path(os.environ.get("CARDS", "cards"))
"""A directory that plays the payment service: it is up while the directory exists."""


@orders.handler()
async def place(ctx: ObjectContext, amount: int) -> str:
    ctx.set("status", "reserved")
    await ctx.run_typed("reserve", reserve, order=ctx.key())
    if amount > 100 and not await ctx.signal("approval", type_hint=bool):
        ctx.set("status", "refused")
        return f"order {ctx.key()} was refused"
    receipt = await ctx.run_typed("charge", charge, order=ctx.key(), amount=amount)
    ctx.set("status", "paid")
    return receipt


def reserve(order: str) -> str:
    return f"goods for {order}"


def charge(order: str, amount: int) -> str:
    if not CARDS.is_dir():
        raise ConnectionError("the payment service is down")
    with (CARDS / "charges").open("a") as charges:
        charges.write(f"{order} {amount}\n")
    return f"order {order}: {amount} paid"


app = perdure.app([orders])
