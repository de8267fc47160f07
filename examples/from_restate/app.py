"""A program written for Restate's Python SDK: its import is the only line that was changed."""

from datetime import timedelta
from typing import TypedDict

import perdure as restate

greeter = restate.Service("Greeter")
cart = restate.VirtualObject("Cart")
payment = restate.Workflow("Payment")


class Item(TypedDict):
    name: str
    price: float


@greeter.handler()
async def greet(ctx: restate.Context, name: str) -> str:
    greeting = await ctx.run_typed("greeting", lambda: f"Hello {name}!")
    await ctx.sleep(timedelta(milliseconds=10))
    return greeting


@cart.handler()
async def add(ctx: restate.ObjectContext, item: Item) -> float:
    items = await ctx.get("items", type_hint=list[Item]) or []
    items.append(item)
    ctx.set("items", items)
    return sum(each["price"] for each in items)


@cart.handler()
async def check_out(ctx: restate.ObjectContext) -> str:
    items = await ctx.get("items", type_hint=list[Item]) or []
    if not items:
        raise restate.TerminalError("the cart is empty", status_code=409)
    total = sum(item["price"] for item in items)
    order = str(ctx.uuid())
    ctx.workflow_send(pay, key=order, arg=total)
    ctx.clear("items")
    return order


@cart.handler(kind="shared")
async def total(ctx: restate.ObjectSharedContext) -> float:
    items = await ctx.get("items", type_hint=list[Item]) or []
    return sum(item["price"] for item in items)


@payment.main()
async def pay(ctx: restate.WorkflowContext, amount: float) -> str:
    ctx.set("status", "waiting for the bank")
    confirmed = ctx.promise("bank", type_hint=bool).value()
    match await restate.select(bank=confirmed, timeout=ctx.sleep(timedelta(days=1))):
        case ["bank", True]:
            ctx.set("status", "paid")
            return f"{amount} paid"
        case _:
            ctx.set("status", "refused")
            raise restate.TerminalError("not paid")


@payment.handler()
async def bank_says(ctx: restate.WorkflowSharedContext, ok: bool) -> None:
    await ctx.promise("bank", type_hint=bool).resolve(ok)


@payment.handler()
async def status(ctx: restate.WorkflowSharedContext) -> str | None:
    return await ctx.get("status", type_hint=str)


app = restate.app([greeter, cart, payment])
