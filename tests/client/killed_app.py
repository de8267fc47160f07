"""Handlers that wait until they are told to go on, for a server that is killed in the meantime."""

from __future__ import annotations

import perdure

held = perdure.VirtualObject("Held")
notes = perdure.VirtualObject("Notes")
flow = perdure.Workflow("Flow")


@held.handler()
async def hold(ctx: perdure.ObjectContext, number: int) -> str:
    awakeable_id, let = ctx.awakeable(type_hint=str)
    await ctx.object_call(enter, ctx.key(), awakeable_id)
    await let
    return f"held {number}"


@notes.handler()
async def enter(ctx: perdure.ObjectContext, awakeable_id: str) -> None:
    ctx.set("entered", await ctx.get("entered", type_hint=int, default=0) + 1)
    ctx.set("id", awakeable_id)


@notes.handler(kind="shared")
async def holding(ctx: perdure.ObjectSharedContext) -> str | None:
    return await ctx.get("id", type_hint=str)


@notes.handler(kind="shared")
async def entered(ctx: perdure.ObjectSharedContext) -> int:
    return await ctx.get("entered", type_hint=int, default=0)


@notes.handler(kind="shared")
async def let_go(ctx: perdure.ObjectSharedContext, awakeable_id: str) -> None:
    ctx.resolve_awakeable(awakeable_id, "go")


@flow.main()
async def approve(ctx: perdure.WorkflowContext, what: str) -> str:
    awakeable_id, answer = ctx.awakeable(type_hint=str)
    ctx.set("id", awakeable_id)
    return f"{what}: {await answer}"


@flow.handler()
async def asked(ctx: perdure.WorkflowSharedContext) -> str | None:
    return await ctx.get("id", type_hint=str)


APP = perdure.app([held, notes, flow])
