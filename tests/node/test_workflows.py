"""Workflows end to end in one engine: once per key, state, promises before and after the wait, crashes, retention."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import perdure
from perdure.model.records import Purge
from perdure.node.engine import Engine
from perdure.store.rows import Status

from .rig import abandon, call, image, make_engine, request, result_of, row_of, running, send, until, until_status
from .rig import value as value_of
from .virtual import in_virtual_time

flow = perdure.Workflow("Flow")
starter = perdure.Service("Starter")

ONCE = (409, "the workflow method was already invoked")


flash = perdure.Workflow("Flash")
on_end: list[Callable[[], object]] = []


@flash.main()
async def end(ctx: perdure.WorkflowContext, name: str) -> str:
    """What is put off until the end of this turn comes between its end and the next batch."""
    await ctx.sleep(1)
    for each in on_end:
        each()
    return name


@flow.main(workflow_retention=timedelta(hours=1))
async def run(ctx: perdure.WorkflowContext, name: str) -> list[str]:
    ctx.set("name", name)
    answers = []
    for promise in ("first", "second"):
        ctx.set("waits for", promise)
        try:
            answers.append(await ctx.promise(promise, type_hint=str).value())
        except perdure.TerminalError as refusal:
            answers.append(f"{refusal.status_code} {refusal.message}")
    ctx.set("waits for", "nothing")
    return answers


@flow.handler()
async def resolve(ctx: perdure.WorkflowSharedContext, what: list[str]) -> str:
    try:
        await ctx.promise(what[0], type_hint=str).resolve(what[1])
    except perdure.TerminalError as refusal:
        return f"{refusal.status_code} {refusal.message}"
    return "done"


@flow.handler()
async def reject(ctx: perdure.WorkflowSharedContext, what: list[str]) -> None:
    await ctx.promise(what[0], type_hint=str).reject(what[1], 410)


@flow.handler()
async def peek(ctx: perdure.WorkflowSharedContext, promise: str) -> str | None:
    return await ctx.promise(promise, type_hint=str).peek()


@flow.handler()
async def value(ctx: perdure.WorkflowSharedContext, promise: str) -> str:
    return await ctx.promise(promise, type_hint=str).value()


@flow.handler()
async def state(ctx: perdure.WorkflowSharedContext) -> dict[str, str]:
    return {key: await ctx.get(key, type_hint=str) or "" for key in sorted(await ctx.state_keys())}


@starter.handler()
async def start(ctx: perdure.Context, keys: list[str]) -> list[Any]:
    """By call and by send, from a handler."""
    ctx.workflow_send(run, keys[0], "sent")
    for promise in ("first", "second"):
        await ctx.workflow_call(resolve, keys[1], [promise, f"{promise} from a handler"])
    called = await ctx.workflow_call(run, keys[1], "called")
    try:
        await ctx.workflow_call(run, keys[1], "called again")
    except perdure.TerminalError as refusal:
        return [called, refusal.status_code, refusal.message]
    return [called]


SERVICES = [flow, starter]


async def waits_for(engine: Engine, key: str, promise: str) -> None:
    while (await call(engine, f"Flow/{key}/state")).get("waits for") != promise:
        await asyncio.sleep(0.01)


@in_virtual_time
@pytest.mark.parametrize("purged", [False, True])
async def test_who_calls_while_the_run_ends_is_answered_for_what_it_has_called(purged: bool) -> None:
    async with running([flash]) as engine:
        answer: asyncio.Future[Any] = engine.loop.create_future()
        again = request("Flash/k/end", "b")

        def call_again() -> None:
            first = engine.derived_id(again.target, None)
            if purged:
                engine.propose(Purge(engine.home_of(first), engine.now_ms(), first), awaited=True)
            engine.begin_call(again, lambda told: answer.done() or answer.set_result(told))
            on_end.clear()

        on_end.append(lambda: engine.loop.call_soon(call_again))
        assert await call(engine, "Flash/k/end", "a") == "a"
        assert value_of((await answer).result) == ("b" if purged else ONCE)


@in_virtual_time
async def test_a_run_happens_once_for_each_key() -> None:
    async with running(SERVICES) as engine:
        first = await send(engine, "Flow/a/run", "ann")
        assert await call(engine, "Flow/a/run", "bob") == ONCE, "also while it still runs"
        accepted = await engine.send(request("Flow/a/run", "bob"))
        assert accepted.duplicate and accepted.invocation_id == first
        await send(engine, "Flow/b/run", "bob")
        await waits_for(engine, "b", "first")
        assert (await call(engine, "Flow/a/state"))["name"] == "ann"
        assert (await call(engine, "Flow/b/state"))["name"] == "bob", "another key is another run"
        for key in "ab":
            await call(engine, f"Flow/{key}/resolve", ["first", "1"])
            await call(engine, f"Flow/{key}/resolve", ["second", "2"])
        assert await result_of(engine, first) == ["1", "2"]
        assert await call(engine, "Flow/a/run", "bob") == ONCE, "also when it is over"


@in_virtual_time
async def test_promises_before_and_after_the_wait() -> None:
    async with running(SERVICES) as engine:
        assert await call(engine, "Flow/k/peek", "second") is None
        assert await call(engine, "Flow/k/resolve", ["second", "early"]) == "done", "before there is a run"
        assert await call(engine, "Flow/k/peek", "second") == "early"
        assert await call(engine, "Flow/k/value", "second") == "early"
        invocation = await send(engine, "Flow/k/run", "ann")
        await waits_for(engine, "k", "first")
        watcher = asyncio.ensure_future(call(engine, "Flow/k/value", "first"))
        await asyncio.sleep(0.1)
        assert not watcher.done() and await call(engine, "Flow/k/peek", "first") is None
        await call(engine, "Flow/k/reject", ["first", "no longer"])
        assert await watcher == (410, "no longer"), "everybody who waits is told"
        assert await result_of(engine, invocation) == ["410 no longer", "early"]
        assert await call(engine, "Flow/k/resolve", ["first", "late"]) == "409 promise was already completed"
        assert await call(engine, "Flow/k/peek", "first") == (410, "no longer")
        assert await call(engine, "Flow/k/value", "second") == "early"


@in_virtual_time
async def test_handlers_start_workflows() -> None:
    async with running(SERVICES) as engine:
        assert await call(engine, "Starter/start", ["sent", "called"]) == [
            ["first from a handler", "second from a handler"],
            *ONCE,
        ]
        await waits_for(engine, "sent", "first")
        assert await call(engine, "Flow/sent/state") == {"name": "sent", "waits for": "first"}


@pytest.mark.parametrize("always_replay", [False, True])
@in_virtual_time
async def test_a_crash_at_each_wait(tmp_path: Path, always_replay: bool) -> None:
    """The state, the promise that is completed and the wait for the other one all outlive the process."""
    engine = make_engine(SERVICES, tmp_path / "0", always_replay=always_replay)
    await engine.start()
    invocation = await send(engine, "Flow/k/run", "ann")
    for crash, promise in enumerate(("first", "second")):
        await waits_for(engine, "k", promise)
        copy = image(tmp_path / str(2 * crash), tmp_path / str(2 * crash + 1))
        await abandon(engine)
        engine = make_engine(SERVICES, copy, always_replay=always_replay)
        await engine.start()
        assert await call(engine, "Flow/k/run", "bob") == ONCE
        assert await call(engine, "Flow/k/state") == {"name": "ann", "waits for": promise}
        assert await call(engine, "Flow/k/resolve", [promise, f"{promise} answer"]) == "done"
        copy = image(copy, tmp_path / str(2 * crash + 2))
        await abandon(engine)
        engine = make_engine(SERVICES, copy, always_replay=always_replay)
        await engine.start()
        assert await call(engine, "Flow/k/peek", promise) == f"{promise} answer"
    assert await result_of(engine, invocation) == ["first answer", "second answer"]
    await engine.stop(grace_s=0)


@in_virtual_time
async def test_state_and_promises_go_with_the_run() -> None:
    async with running(SERVICES, cleanup_interval_ms=60_000) as engine:
        invocation = await send(engine, "Flow/k/run", "ann")
        await call(engine, "Flow/k/resolve", ["first", "1"])
        await call(engine, "Flow/k/resolve", ["second", "2"])
        await until_status(engine, invocation, Status.COMPLETED)
        await asyncio.sleep(3_500)
        assert row_of(engine, invocation) is not None
        assert (await call(engine, "Flow/k/state"))["name"] == "ann", "kept for its hour"
        await until(lambda: engine.find(invocation) is None)
        assert await call(engine, "Flow/k/state") == {}
        assert await call(engine, "Flow/k/peek", "first") is None
        assert await send(engine, "Flow/k/run", "bob") == invocation, "the key is free, and gives the same id"
        await waits_for(engine, "k", "first")
        assert await call(engine, "Flow/k/state") == {"name": "bob", "waits for": "first"}
