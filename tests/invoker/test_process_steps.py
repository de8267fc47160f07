"""`pool="process"`: a step in a worker process, its death, its timeout, its end with the invocation and with the node."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

import perdure
from perdure.env.executor import ThreadExecutor
from perdure.model.ids import parse_invocation_id
from perdure.node.settings import EngineSettings
from perdure.sdk.errors import StepError

ELSEWHERE = perdure.RunOptions[int](pool="process")


def add(one: int, two: int) -> int:
    return one + two


def process_of_step() -> int:
    return os.getpid()


def dies_once(mark: str) -> str:
    path = Path(mark)
    if not path.exists():
        path.write_text("died")
        os.kill(os.getpid(), signal.SIGKILL)
    return path.read_text()


def hangs_once(mark: str) -> str:
    path = Path(mark)
    if not path.exists():
        path.write_text(str(os.getpid()))
        time.sleep(600)
    return path.read_text()


def refuses() -> int:
    raise perdure.TerminalError("no such colour", status_code=422)


heavy = perdure.Service(
    "Heavy", invocation_retry_policy=perdure.InvocationRetryPolicy(initial_interval=timedelta(milliseconds=1))
)


@heavy.handler()
async def sums(ctx: perdure.Context) -> list[int]:
    return [
        await ctx.run_typed("add", add, ELSEWHERE, 2, two=3),
        await ctx.run_typed("pid", process_of_step, ELSEWHERE),
    ]


@heavy.handler()
async def dies(ctx: perdure.Context, mark: str) -> str:
    return await ctx.run_typed("dies", dies_once, perdure.RunOptions(pool="process"), mark)


@heavy.handler()
async def hangs(ctx: perdure.Context, mark: str) -> str:
    options = perdure.RunOptions[str](pool="process", timeout=timedelta(seconds=3))
    return await ctx.run_typed("hangs", hangs_once, options, mark)


@heavy.handler()
async def hangs_for_good(ctx: perdure.Context, mark: str) -> str:
    return await ctx.run_typed("hangs", hangs_once, perdure.RunOptions(pool="process"), mark)


@heavy.handler()
async def terminal(ctx: perdure.Context) -> int:
    return await ctx.run_typed("refuses", refuses, ELSEWHERE)


@heavy.handler()
async def threaded_timeout(ctx: perdure.Context) -> str:
    try:
        await ctx.run_typed("add", add, perdure.RunOptions(timeout=timedelta(seconds=1)), 1, 2)
    except StepError as refused:
        return refused.what
    return "taken"


@heavy.handler()
async def slow_once(ctx: perdure.Context, mark: str) -> str:
    async def body() -> str:
        path = Path(mark)
        if not path.exists():
            path.write_text("slow")
            await asyncio.sleep(600)
        return "fast"

    return await ctx.run_typed("slow", body, perdure.RunOptions(timeout=timedelta(milliseconds=20)))


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.fixture
def node() -> Iterator[perdure.Node]:
    yield perdure.Node([heavy], settings=EngineSettings(step_processes=1, durability="os"))


async def test_a_step_runs_elsewhere_and_its_result_comes_back(node: perdure.Node) -> None:
    async with node:
        five, pid = await node.client.service_call(sums, None)
        assert five == 5 and pid != os.getpid()
        assert not gone(pid), "the worker is kept for the next step"
    assert gone(pid), "and goes with the node"


@pytest.mark.slow
async def test_a_worker_that_dies_is_a_failed_try_of_the_step(node: perdure.Node, tmp_path: Path) -> None:
    async with node:
        assert await node.client.service_call(dies, str(tmp_path / "mark")) == "died"


@pytest.mark.slow
async def test_a_step_past_its_timeout_is_killed_and_tried_again(node: perdure.Node, tmp_path: Path) -> None:
    async with node:
        first = int(await node.client.service_call(hangs, str(tmp_path / "mark")))
        assert gone(first)


@pytest.mark.slow
async def test_a_terminal_error_travels_as_one(node: perdure.Node) -> None:
    async with node:
        with pytest.raises(perdure.TerminalError) as failed:
            await node.client.service_call(terminal, None)
        assert (failed.value.status_code, failed.value.message) == (422, "no such colour")


@pytest.mark.slow
async def test_a_stop_does_not_wait_for_a_worker_and_leaves_none(node: perdure.Node, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    async with node:
        await node.client.service_send(hangs_for_good, str(mark))
        while not (mark.exists() and mark.read_text()):
            await asyncio.sleep(0.01)
        await node.stop(grace_s=0)
    assert gone(int(mark.read_text()))


async def test_killing_the_invocation_kills_the_worker(node: perdure.Node, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    async with node:
        sent = await node.client.service_send(hangs_for_good, str(mark))
        while not (mark.exists() and mark.read_text()):
            await asyncio.sleep(0.01)
        await node.engine.kill(parse_invocation_id(sent.invocation_id))
        while not gone(int(mark.read_text())):
            await asyncio.sleep(0.01)


async def test_an_async_step_past_its_timeout_is_tried_again_and_a_thread_can_have_none(
    node: perdure.Node, tmp_path: Path
) -> None:
    async with node:
        assert await node.client.service_call(slow_once, str(tmp_path / "mark")) == "fast"
        assert "nothing can stop" in await node.client.service_call(threaded_timeout, None)


def test_the_executor_makes_no_process_before_there_is_work() -> None:
    executor = ThreadExecutor()
    executor.shutdown(wait=True)
    assert executor._workers is None
