"""State that is read when it is asked for (`enable_lazy_state`): the same values as otherwise, from the journal on replay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import perdure
from perdure.model.driver import AttemptStart
from perdure.model.ids import parse_invocation_id
from perdure.model.journal import GetLazyState, GetLazyStateKeys
from perdure.sdk.app import App

lazy = perdure.VirtualObject("Lazy", enable_lazy_state=True)
mixed = perdure.VirtualObject("Mixed", enable_lazy_state=True)
flow = perdure.Workflow("Flow", enable_lazy_state=True)


@lazy.handler()
async def fill(ctx: perdure.ObjectContext, values: dict[str, int]) -> None:
    for name, value in values.items():
        ctx.set(name, value)


@lazy.handler()
async def read_write_read(ctx: perdure.ObjectContext) -> list[Any]:
    seen: list[Any] = [await ctx.get("a", type_hint=int), await ctx.get("nothing", type_hint=int, default=-1)]
    ctx.set("a", 10)
    await ctx.sleep(0)
    seen.append(await ctx.get("a", type_hint=int))
    ctx.clear("b")
    seen += [await ctx.get("b"), sorted(await ctx.state_keys())]
    await ctx.sleep(0)
    ctx.clear_all()
    seen += [await ctx.get("c"), await ctx.state_keys()]
    ctx.set("d", 4)
    return seen


@lazy.handler(kind="shared")
async def look(ctx: perdure.ObjectSharedContext) -> int | None:
    return await ctx.get("d", type_hint=int)


@mixed.handler()
async def put(ctx: perdure.ObjectContext, value: int) -> None:
    ctx.set("n", value)


@mixed.handler(enable_lazy_state=False)
async def eager(ctx: perdure.ObjectContext) -> int | None:
    return await ctx.get("n", type_hint=int)


@flow.main()
async def run(ctx: perdure.WorkflowContext) -> int | None:
    ctx.set("step", 1)
    await ctx.promise("go").value()
    return await ctx.get("step", type_hint=int)


@flow.handler()
async def step(ctx: perdure.WorkflowSharedContext) -> int | None:
    return await ctx.get("step", type_hint=int)


@flow.handler()
async def go(ctx: perdure.WorkflowSharedContext) -> None:
    await ctx.promise("go").resolve(None)


class Watched(App):
    """Notes the state that each attempt begins with."""

    starts: list[AttemptStart]

    def begin(self, driver: Any, start: AttemptStart) -> Any:
        self.starts.append(start)
        return super().begin(driver, start)


@pytest.mark.parametrize("always_replay", [False, True])
async def test_what_is_read_written_and_cleared(always_replay: bool) -> None:
    app = Watched([lazy, mixed, flow])
    app.starts = []
    async with perdure.Node(app, settings=perdure.EngineSettings(always_replay=always_replay)) as node:
        client = node.client
        await client.object_call(fill, "k", {"a": 1, "b": 2, "c": 3})
        sent = await client.object_send(read_write_read, "k")
        assert await client.attach(sent) == [1, -1, 10, None, ["a", "c"], None, []]
        _, journal = node.engine.describe(parse_invocation_id(sent.invocation_id))
        read = [entry.key for entry in journal.entries if isinstance(entry, GetLazyState)]
        assert read == ["a", "nothing"], "what the handler wrote itself is not asked for"
        assert sum(isinstance(entry, GetLazyStateKeys) for entry in journal.entries) == 1
        assert await client.object_call(look, "k") == 4
        assert await client.state("Lazy", "k") == {"d": b"4"}
    of_lazy = [start for start in app.starts if start.target.service == "Lazy"]
    assert of_lazy and all(start.state_partial and not start.state for start in of_lazy), "no attempt carries the state"
    assert (len(of_lazy) > 3) is always_replay


async def test_a_handler_may_choose_otherwise_than_its_service() -> None:
    app = Watched([mixed])
    app.starts = []
    async with perdure.Node(app) as node:
        await node.client.object_call(put, "k", 7)
        assert await node.client.object_call(eager, "k") == 7
    assert [(start.state_partial, start.state) for start in app.starts] == [(True, {}), (False, {"n": b"7"})]


async def test_it_survives_a_restart_of_the_engine(tmp_path: Path) -> None:
    app = perdure.app([flow])
    async with perdure.Node(app, data=tmp_path) as node:
        await node.client.workflow_submit(run, "k")
        while await node.client.workflow_call(step, "k") is None:
            pass
    async with perdure.Node(app, data=tmp_path) as node:
        assert await node.client.workflow_call(step, "k") == 1
        await node.client.workflow_call(go, "k")
        assert await node.client.workflow_attach(run, "k") == 1
