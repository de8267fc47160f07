"""Services of the official SDK that tests deploy. Each call makes new ones, so that a deployment can be another version."""

from __future__ import annotations

from datetime import timedelta
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


def payloads() -> restate.Service:
    """Handlers with all kinds of input and output, and of ends."""
    service = restate.Service("Payloads")
    policy = restate.InvocationRetryPolicy(
        initial_interval=timedelta(milliseconds=5), max_attempts=2, on_max_attempts="kill"
    )

    @service.handler()
    async def word(ctx: restate.Context, word: str) -> str:
        return word

    @service.handler(
        accept="application/octet-stream",
        content_type="image/png",
        input_serde=restate.serde.BytesSerde(),
        output_serde=restate.serde.BytesSerde(),
    )
    async def raw(ctx: restate.Context, data: bytes) -> bytes:
        return data

    @service.handler()
    async def nothing(ctx: restate.Context) -> None:
        return None

    @service.handler()
    async def headers(ctx: restate.Context) -> dict[str, str]:
        return dict(ctx.request().headers)

    @service.handler()
    async def refuse(ctx: restate.Context, code: int) -> None:
        raise restate.TerminalError("it cannot be done", status_code=code, metadata={"why": "because"})

    @service.handler(invocation_retry_policy=policy)
    async def break_down(ctx: restate.Context) -> None:
        raise ValueError("broken")

    return service


def signup() -> restate.Workflow:
    workflow = restate.Workflow("Signup")

    @workflow.main()
    async def run(ctx: restate.WorkflowContext, name: str) -> str:
        return f"welcome {name}"

    @workflow.handler()
    async def name(ctx: restate.WorkflowSharedContext) -> str:
        return ctx.key()

    return workflow
