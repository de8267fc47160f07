"""Orders in a FastAPI application: the web side is FastAPI's, what has to survive a crash is perdure's, in one process."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Literal

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

import perdure
from perdure import WorkflowContext, WorkflowSharedContext

orders = perdure.Workflow("Order")


class Order(BaseModel):
    item: str
    cents: int


class Outcome(BaseModel):
    status: Literal["shipped", "expired"]
    parcel: str | None = None


@orders.main()
async def fulfil(ctx: WorkflowContext, order: Order) -> Outcome:
    """One run for each order id: waits for the payment, for days if need be, and ships once."""
    paid = ctx.promise("paid", type_hint=int).value()
    match await perdure.select(paid=paid, too_late=ctx.sleep(timedelta(days=3))):
        case ["paid", int(cents)] if cents >= order.cents:
            parcel = await ctx.run_typed("ship", ship, perdure.RunOptions(), order.item)
            return Outcome(status="shipped", parcel=parcel)
    return Outcome(status="expired")


@orders.handler()
async def pay(ctx: WorkflowSharedContext, cents: int) -> None:
    await ctx.promise("paid", type_hint=int).resolve(cents)


async def ship(item: str) -> str:
    return f"parcel with {item}"


node = perdure.Node([orders], data=os.environ.get("ORDERS_DATA", "orders-data"))


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """The node lives as long as the application does, on its event loop."""
    async with node:
        yield


api = FastAPI(lifespan=lifespan)
api.mount("/durable", node.asgi)


@api.post("/orders/{order_id}", status_code=202)
async def place(order_id: str, order: Order) -> dict[str, str | bool]:
    sent = await node.client.workflow_submit(fulfil, order_id, order)
    return {"invocation": sent.invocation_id, "placed_before": sent.duplicate}


@api.post("/orders/{order_id}/payment", status_code=204)
async def take_payment(order_id: str, cents: int) -> None:
    await node.client.workflow_call(pay, order_id, cents)


@api.get("/orders/{order_id}")
async def show(order_id: str) -> Outcome | None:
    """null while the order is not finished."""
    try:
        output = await node.client.workflow_output(fulfil, order_id)
    except perdure.Refused as refused:
        raise HTTPException(refused.status_code, refused.message) from refused
    return output.value
