"""Programs of the kinds that the documentation of Restate's SDK shows, written for that SDK: only the import is ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypedDict

import msgspec
from pydantic import BaseModel

import perdure as restate
from perdure import (
    Context,
    InvocationRetryPolicy,
    ObjectContext,
    ObjectSharedContext,
    RunOptions,
    Service,
    TerminalError,
    VirtualObject,
    Workflow,
    WorkflowContext,
    WorkflowSharedContext,
)
from perdure.exceptions import RetryableError
from perdure.extensions import contextvar, current_context
from perdure.serde import BytesSerde, JsonSerde, PydanticJsonSerde

outside: Counter[str] = Counter()
"""What the world saw: which side effects ran, and how often."""


def happened(what: str) -> str:
    outside[what] += 1
    return f"{what}-{outside[what]}"


# --- saga: undo what was done, newest first -------------------------------------------------------------------------------

trips = Service("Trips")


class Trip(BaseModel):
    customer: str
    car_sold_out: bool = False


@trips.handler()
async def book(ctx: Context, trip: Trip) -> str:
    compensations = []
    try:
        compensations.append(lambda: ctx.run_typed("cancel flight", lambda: happened("flight cancelled")))
        flight = await ctx.run_typed("book flight", lambda: happened("flight"))
        compensations.append(lambda: ctx.run_typed("cancel car", lambda: happened("car cancelled")))
        await ctx.run_typed("book car", rent, sold_out=trip.car_sold_out)
        return flight
    except TerminalError as e:
        for compensation in reversed(compensations):
            await compensation()
        raise TerminalError(f"no trip for {trip.customer}: {e.message}", status_code=410) from e


def rent(sold_out: bool) -> str:
    if sold_out:
        raise TerminalError("no cars left", status_code=409)
    return happened("car")


# --- approval: an awakeable that a person resolves ------------------------------------------------------------------------

approvals = Service("Approvals")
desk = VirtualObject("Desk")


@approvals.handler()
async def request_refund(ctx: Context, amount: int) -> str:
    name, promise = ctx.awakeable(type_hint=bool)
    ctx.object_send(put, key="desk", arg=name)
    match await restate.select(decision=promise, timeout=ctx.sleep(timedelta(days=2))):
        case ["decision", True]:
            return f"refunded {amount}"
        case ["decision", False]:
            raise TerminalError("refused", status_code=403)
        case _:
            raise TerminalError("nobody answered", status_code=408)


@desk.handler("put")
async def put(ctx: ObjectContext, name: str) -> None:
    ctx.set("paper", name)


@desk.handler("look", kind="shared")
async def look(ctx: ObjectSharedContext) -> str | None:
    return await ctx.get("paper", type_hint=str)


# --- fan-out and fan-in ---------------------------------------------------------------------------------------------------

work = Service("Work")


@work.handler()
async def total_length(ctx: Context, words: list[str]) -> int:
    calls = [ctx.service_call(length, arg=word) for word in words]
    return sum([await done for done in await restate.gather(*calls)])


@work.handler()
async def length(ctx: Context, word: str) -> int:
    return await ctx.run("measure", lambda: len(word))


@work.handler()
async def fastest(ctx: Context, words: list[str]) -> list[int]:
    order = []
    async for future in restate.as_completed(*[ctx.service_call(length, arg=word) for word in words]):
        order.append(await future)
    return sorted(order)


# --- state machine: an object that allows some transitions ----------------------------------------------------------------

machine = VirtualObject("Machine")


class Status(TypedDict):
    state: str
    changes: int


@machine.handler("setUp")
async def set_up(ctx: ObjectContext) -> str:
    status = await ctx.get("status", type_hint=Status)
    if status is not None and status["state"] == "UP":
        return f"{ctx.key()} is up already"
    await ctx.run_typed("bring up", lambda: happened(f"{ctx.key()} up"))
    ctx.set("status", Status(state="UP", changes=(status["changes"] if status else 0) + 1))
    return f"{ctx.key()} is up"


@machine.handler("tearDown")
async def tear_down(ctx: ObjectContext) -> list[str]:
    names = await ctx.state_keys()
    ctx.clear_all()
    return names


# --- schedule: an object that sends to itself -----------------------------------------------------------------------------

cron = VirtualObject("Cron")


class Job(msgspec.Struct):
    every_ms: int
    times: int


@cron.handler()
async def initiate(ctx: ObjectContext, job: Job) -> str:
    if await ctx.get("next") is not None:
        raise TerminalError("there is a job under this name", status_code=409)
    return await schedule(ctx, job, 0)


@cron.handler()
async def execute(ctx: ObjectContext, job: Job) -> None:
    done = (await ctx.get("done", type_hint=int) or 0) + 1
    await ctx.run_typed("tick", lambda: happened("tick"))
    ctx.set("done", done)
    if done < job.times:
        await schedule(ctx, job, done)
    else:
        ctx.clear("next")


async def schedule(ctx: ObjectContext, job: Job, done: int) -> str:
    handle = ctx.object_send(
        execute, key=ctx.key(), arg=job, send_delay=timedelta(milliseconds=job.every_ms), idempotency_key=f"tick-{done}"
    )
    invocation_id = await handle.invocation_id()
    ctx.set("next", invocation_id)
    return invocation_id


@cron.handler(kind="shared")
async def ticks(ctx: ObjectSharedContext) -> int:
    return await ctx.get("done", type_hint=int) or 0


# --- limits: a bucket of tokens -------------------------------------------------------------------------------------------

limiter = VirtualObject("Limiter")


@limiter.handler()
async def take(ctx: ObjectContext, capacity: int) -> int:
    taken = await ctx.get("taken", serde=JsonSerde()) or 0
    if taken >= capacity:
        raise TerminalError("too many requests", status_code=429)
    ctx.set("taken", taken + 1)
    return capacity - taken - 1


# --- payments: the same payment twice charges once ------------------------------------------------------------------------

payments = VirtualObject("Payments")


@dataclass
class Payment:
    card: str
    cents: int


@payments.handler()
async def pay(ctx: ObjectContext, payment: Payment) -> dict[str, str]:
    if await ctx.get("receipt") is not None:
        return {"receipt": await ctx.get("receipt"), "note": "paid before"}
    key = str(ctx.uuid())
    receipt = await ctx.run_typed("charge", charge, RunOptions(max_attempts=3), payment.card, key=key)
    ctx.set("receipt", receipt)
    return {"receipt": receipt}


async def charge(card: str, *, key: str) -> str:
    if outside["declined"] < 1:
        happened("declined")
        raise RetryableError("the bank is busy", retry_after=timedelta(milliseconds=1))
    return happened(f"charged {card}")


# --- sign-up: a workflow with a promise -----------------------------------------------------------------------------------

signup = Workflow("Signup")


@signup.main()
async def run(ctx: WorkflowContext, email: str) -> bool:
    secret = await ctx.run_typed("secret", lambda: "s3cret")
    ctx.set("stage", "mail sent")
    await ctx.run_typed("send mail", lambda: happened("mail"))
    clicked = await ctx.promise("email.clicked", type_hint=str).value()
    ctx.set("stage", "done")
    return clicked == secret


@signup.handler()
async def click(ctx: WorkflowSharedContext, secret: str) -> None:
    await ctx.promise("email.clicked", type_hint=str).resolve(secret)


@signup.handler("stage")
async def stage(ctx: WorkflowSharedContext) -> str | None:
    return await ctx.get("stage", type_hint=str)


# --- retries, serdes, context managers, calls by name ---------------------------------------------------------------------

odds = Service(
    "Odds",
    description="what fits nowhere else",
    metadata={"owner": "tests"},
    invocation_retry_policy=InvocationRetryPolicy(initial_interval=timedelta(milliseconds=1), max_attempts=5),
)


@odds.handler()
async def third_time(ctx: Context) -> str:
    happened("attempt")
    if outside["attempt"] < 3:
        raise ValueError("not yet")
    return "lucky"


@odds.handler(accept="application/octet-stream", content_type="application/octet-stream", input_serde=BytesSerde())
async def reverse(ctx: Context, data: bytes) -> bytes:
    return data[::-1]


@odds.handler(input_serde=PydanticJsonSerde(Trip))
async def by_name(ctx: Context, trip: Trip) -> str:
    body = f'"{trip.customer}"'.encode()
    answer = await ctx.generic_call("Work", "length", body, headers={"x-from": "odds"})
    handle = ctx.generic_send("Limiter", "take", b"5", key=trip.customer)
    return f"{answer.decode()} {(await handle.invocation_id())[:4]}"


@contextvar
@asynccontextmanager
async def resource() -> AsyncGenerator[str, None]:
    yield "resource"


@odds.handler(invocation_context_managers=[resource])
async def with_resource(ctx: Context) -> str:
    assert current_context() is ctx
    return resource.value


@odds.handler()
async def hang_up(ctx: Context) -> str:
    call = ctx.service_call(sleeper, arg=1)
    await call.cancel_invocation()
    try:
        return await call
    except TerminalError as e:
        return f"{e.status_code}"


@odds.handler()
async def sleeper(ctx: Context, days: int) -> str:
    await ctx.sleep(timedelta(days=days), name="long")
    return "awake"


app = restate.app([trips, approvals, desk, work, machine, cron, limiter, payments, signup, odds])
