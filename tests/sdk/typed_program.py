"""What type checkers see of the author's API; `test_typing` runs mypy and pyright, both strict, over it.

`assert_type` holds what is known. A line that must be refused has the comments of both checkers, which they report when
it is not. docs/typing.md lists what stays `Any`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypedDict, assert_type

import perdure
from perdure import (
    Context,
    DurablePromise,
    InvocationRetryPolicy,
    ObjectContext,
    ObjectSharedContext,
    RestateDurableCallFuture,
    RestateDurableFuture,
    RestateDurableSleepFuture,
    RunOptions,
    SendHandle,
    Service,
    VirtualObject,
    Workflow,
    WorkflowContext,
    WorkflowSharedContext,
)
from perdure.serde import BytesSerde, Serde


@dataclass
class Order:
    item: str
    count: int


class Receipt(TypedDict):
    total: float


class OutOfStock(perdure.TerminalError):
    left: int = 0


class Upper(Serde[str]):
    def serialize(self, obj: str | None) -> bytes:
        return (obj or "").upper().encode()

    def deserialize(self, buf: bytes) -> str:
        return buf.decode()


class Client:
    async def charge(self, card: str, amount: int) -> Receipt:
        return {"total": amount}


service = Service("S", invocation_retry_policy=InvocationRetryPolicy(max_attempts=3))
thing = VirtualObject("O", enable_lazy_state=True)
flow = Workflow("W", inactivity_timeout=timedelta(seconds=5))


# --- handlers keep their own types ------------------------------------------------------------------------------------


@service.handler(errors=[OutOfStock])
async def greet(ctx: Context, name: str) -> int:
    return 1


@service.handler("ping", ingress_private=True)
async def ping(ctx: Context) -> str:
    return ""


@service.handler(input_serde=Upper(), output_serde=BytesSerde())
async def raw(ctx: Context, words: str) -> bytes:
    return words.encode()


@service.handler()
async def order(ctx: Context, order: Order) -> list[Receipt]:
    return []


@service.handler()
async def nothing(ctx: Context) -> None: ...


@thing.handler()
async def add(ctx: ObjectContext, by: int) -> float:
    return by


@thing.handler(kind="shared")
async def look(ctx: ObjectSharedContext) -> dict[str, int]:
    return {}


@flow.main()
async def main(ctx: WorkflowContext, x: str) -> bool:
    return True


@flow.handler()
async def approve(ctx: WorkflowSharedContext, who: str) -> Literal["yes", "no"]:
    return "yes"


async def handlers_can_be_called(ctx: Context, of_object: ObjectContext) -> None:
    assert_type(await greet(ctx, "a"), int)
    assert_type(await add(of_object, 1), float)


# --- calls and sends --------------------------------------------------------------------------------------------------


async def calls(ctx: Context) -> None:
    assert_type(ctx.service_call(greet, "a"), RestateDurableCallFuture[int])
    assert_type(await ctx.service_call(greet, "a"), int)
    assert_type(await ctx.service_call(greet, arg="a", idempotency_key="i", headers={"a": "b"}), int)
    assert_type(await ctx.service_call(ping), str)
    assert_type(await ctx.service_call(ping, None), str)
    assert_type(await ctx.service_call(raw, "a"), bytes)
    assert_type(await ctx.service_call(order, Order("hat", 1)), list[Receipt])
    assert_type(await ctx.object_call(add, "k", 1), float)
    assert_type(await ctx.object_call(add, key="k", arg=1), float)
    assert_type(await ctx.object_call(look, "k"), dict[str, int])
    assert_type(await ctx.workflow_call(main, "k", "x"), bool)
    assert_type(await ctx.workflow_call(approve, "k", "me"), Literal["yes", "no"])
    assert_type(await ctx.generic_call("S", "greet", b"", errors=[OutOfStock]), bytes)
    assert_type(await ctx.service_call(greet, "a").invocation_id(), str)

    ctx.service_call(greet, 1)  # type: ignore[arg-type]  # pyright: ignore
    ctx.service_call(greet)  # type: ignore[arg-type]  # pyright: ignore
    ctx.service_call(ping, "a")  # type: ignore[arg-type]  # pyright: ignore
    ctx.service_call(order, {"item": "hat"})  # type: ignore[arg-type]  # pyright: ignore
    ctx.object_call(add, 1, 1)  # type: ignore[call-overload]  # pyright: ignore
    ctx.workflow_call(main, "k", 1)  # type: ignore[arg-type]  # pyright: ignore
    ctx.generic_call("S", "greet", "text")  # type: ignore[arg-type]  # pyright: ignore
    ctx.generic_call("S", "greet", b"", errors=[Order])  # type: ignore[list-item]  # pyright: ignore


async def sends(ctx: Context) -> None:
    assert_type(ctx.service_send(greet, "a", send_delay=timedelta(seconds=1)), SendHandle)
    assert_type(ctx.service_send(ping), SendHandle)
    assert_type(ctx.object_send(add, "k", 1), SendHandle)
    assert_type(ctx.workflow_send(main, "k", "x"), SendHandle)
    assert_type(ctx.generic_send("S", "greet", b""), SendHandle)
    handle = ctx.service_send(greet, "a")
    assert_type(await handle.invocation_id(), str)
    assert_type(await ctx.attach_invocation(await handle.invocation_id(), type_hint=int), int)
    assert_type(await ctx.attach_invocation("inv_", serde=Upper()), str)
    ctx.cancel_invocation("inv_")

    ctx.service_send(greet, 1)  # type: ignore[arg-type]  # pyright: ignore
    ctx.object_send(add, "k", "one")  # type: ignore[arg-type]  # pyright: ignore
    ctx.service_send(greet)  # type: ignore[arg-type]  # pyright: ignore
    ctx.service_send(ping, "a")  # type: ignore[arg-type]  # pyright: ignore
    ctx.workflow_send(main, "k")  # type: ignore[arg-type]  # pyright: ignore
    ctx.service_send(greet, "a", send_delay=5)  # type: ignore[call-overload]  # pyright: ignore


# --- steps ------------------------------------------------------------------------------------------------------------


async def charge(card: str, amount: int) -> str:
    return card


def divide(x: int, *, by: int = 1) -> float:
    return x / by


def heavy(rounds: int) -> Order:
    return Order("hat", rounds)


async def steps(ctx: Context) -> None:
    assert_type(ctx.run("c", lambda: 1), RestateDurableFuture[int])
    assert_type(await ctx.run("c", lambda: 1), int)
    assert_type(await ctx.run("c", lambda: charge("x", 1)), str)
    assert_type(await ctx.run("c", charge, args=("x", 1)), str)
    assert_type(await ctx.run("c", divide, args=(1,), max_attempts=3), float)
    assert_type(await ctx.run("c", heavy, type_hint=Order, args=(1,)), Order)

    async def inner() -> list[str]:
        return []

    assert_type(await ctx.run("c", inner, max_retry_duration=timedelta(seconds=1)), list[str])

    assert_type(await ctx.run_typed("c", lambda: "a"), str)
    assert_type(await ctx.run_typed("c", charge, RunOptions(), "x", 1), str)
    assert_type(await ctx.run_typed("c", charge, RunOptions(max_attempts=1), card="x", amount=1), str)
    assert_type(await ctx.run_typed("c", divide, RunOptions(max_attempts=3), 1, by=2), float)
    assert_type(await ctx.run_typed("c", divide, x=1), float)
    process = RunOptions[Order](pool="process", timeout=timedelta(seconds=1))
    assert_type(await ctx.run_typed("c", heavy, process, 3), Order)
    assert_type(await ctx.run_typed("c", heavy, RunOptions(pool="process"), 3), Order)
    assert_type(await ctx.run_typed("c", Client().charge, RunOptions(), "x", 1), Receipt)
    assert_type(await ctx.run_typed("c", Upper().deserialize, RunOptions(serde=Upper()), b""), str)

    ctx.run_typed("c", charge, RunOptions(), "x")  # type: ignore[call-overload]  # pyright: ignore
    ctx.run_typed("c", charge, RunOptions(), 1, 1)  # type: ignore[call-overload]  # pyright: ignore
    ctx.run_typed("c", heavy, RunOptions(pool="thread"), 3)  # type: ignore[arg-type, call-overload]  # pyright: ignore
    ctx.run("c", "no function")  # type: ignore[call-overload]  # pyright: ignore
    await ctx.run("c", lambda: 1, max_attempts="many")  # type: ignore[call-overload]  # pyright: ignore


# --- time, randomness, the invocation ---------------------------------------------------------------------------------


async def surroundings(ctx: Context) -> None:
    assert_type(ctx.sleep(timedelta(seconds=1)), RestateDurableSleepFuture)
    assert_type(await ctx.sleep(1.5, name="nap"), None)
    assert_type(await ctx.time(), float)
    assert_type(ctx.random().random(), float)
    assert_type(ctx.uuid().hex, str)
    assert_type(ctx.attempt_epoch(), int)
    assert_type(ctx.request().idempotency_key, str | None)
    assert_type(ctx.request().body, bytes)


# --- what comes from outside ------------------------------------------------------------------------------------------


async def awakeables_and_signals(ctx: Context) -> None:
    name, answer = ctx.awakeable(type_hint=int)
    assert_type(name, str)
    assert_type(await answer, int)
    assert_type(await ctx.awakeable(type_hint=list[int])[1], list[int])
    assert_type(await ctx.awakeable(Upper())[1], str)
    assert_type(ctx.awakeable_url(name), str)
    ctx.resolve_awakeable(name, 1)
    ctx.reject_awakeable(name, "no", failure_code=409)
    assert_type(await ctx.signal("news", type_hint=Order), Order)
    assert_type(await ctx.signal("news", Upper()), str)
    ctx.resolve_signal("inv_", "news", Order("hat", 1))
    ctx.awakeable_url(1)  # type: ignore[arg-type]  # pyright: ignore


# --- state and promises -----------------------------------------------------------------------------------------------


async def state(ctx: ObjectContext, shared: ObjectSharedContext) -> None:
    assert_type(ctx.key(), str)
    assert_type(await ctx.get("n", type_hint=int), int | None)
    assert_type(await ctx.get("n", type_hint=int, default=0), int)
    assert_type(await ctx.get("n", type_hint=int, default="none"), int | str)
    assert_type(await ctx.get("n", type_hint=dict[str, int]), dict[str, int] | None)
    assert_type(await ctx.get("n", Upper()), str | None)
    assert_type(await ctx.state_keys(), list[str])
    assert_type(await shared.get("n", type_hint=Order), Order | None)
    ctx.set("n", 1)
    ctx.set("n", "a", Upper())
    ctx.clear("n")
    ctx.clear_all()
    shared.set("n", 1)  # type: ignore[attr-defined]  # pyright: ignore
    shared.clear_all()  # type: ignore[attr-defined]  # pyright: ignore
    ctx.promise("p")  # type: ignore[attr-defined]  # pyright: ignore


async def promises(ctx: WorkflowContext, shared: WorkflowSharedContext) -> None:
    assert_type(ctx.promise("a", type_hint=bool), DurablePromise[bool])
    assert_type(await ctx.promise("a", type_hint=bool), bool)
    assert_type(await ctx.promise("a", type_hint=bool).value(), bool)
    assert_type(await ctx.promise("a", type_hint=bool).peek(), bool | None)
    assert_type(await ctx.promise("a", Upper()).value(), str)
    assert_type(await shared.promise("a", type_hint=bool).resolve(True), None)
    assert_type(await shared.promise("a", type_hint=bool).reject("no"), None)
    shared.promise("a", type_hint=bool).resolve("yes")  # type: ignore[arg-type]  # pyright: ignore


# --- waiting for several ----------------------------------------------------------------------------------------------


async def several(ctx: Context) -> None:
    number, text = await asyncio.gather(ctx.service_call(greet, "a"), ctx.run("c", lambda: "b"))
    assert_type(number, int)
    assert_type(text, str)
    assert_type(await asyncio.wait_for(ctx.service_call(ping), 5), str)
    assert_type(await asyncio.shield(ctx.service_call(greet, "a")), int)

    async def branch(name: str) -> int:
        return await ctx.service_call(greet, name)

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        task = group.create_task(branch("a"))
    assert_type(task.result(), int)
    done, pending = await asyncio.wait([ctx.service_call(greet, "a")], return_when=asyncio.FIRST_COMPLETED)
    assert_type(done.pop().result(), int)
    assert_type(pending.pop().result(), int)


# --- what stays Any (docs/typing.md) ----------------------------------------------------------------------------------


async def untyped(ctx: ObjectContext) -> None:
    first: Coroutine[Any, Any, int] = branch_of(ctx)
    assert_type(await ctx.get("n"), Any)
    assert_type(await ctx.get("n", default=0), Any)
    assert_type((await perdure.gather(ctx.service_call(greet, "a"), ctx.run("c", lambda: "b")))[0], asyncio.Future[Any])
    assert_type(await perdure.select(a=ctx.service_call(greet, "a")), list[Any])
    done, _ = await perdure.wait_completed(ctx.service_call(greet, "a"), first)
    assert_type(done, list[asyncio.Future[Any]])
    async for future in perdure.as_completed(ctx.service_call(greet, "a")):
        assert_type(future, asyncio.Future[Any])


async def branch_of(ctx: Context) -> int:
    return 1


app = perdure.app([service, thing, flow], invocation_retry_policy=InvocationRetryPolicy(on_max_attempts="kill"))
perdure.app([greet])  # type: ignore[list-item]  # pyright: ignore
service.handler(errors=[Order])  # type: ignore[list-item]  # pyright: ignore
InvocationRetryPolicy(on_max_attempts="sulk")  # type: ignore[arg-type]  # pyright: ignore
