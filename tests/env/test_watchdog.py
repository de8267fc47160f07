"""The watch over the loop names what blocks it, once for each time, and says nothing of a loop that turns."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import time
from datetime import timedelta

import pytest

import perdure
from perdure.env.watchdog import LoopWatchdog
from perdure.node.settings import EngineSettings


class Reports:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.came = threading.Event()

    def __call__(self, frame: str, stack: str) -> None:
        self.seen.append((frame, stack))
        self.came.set()


def block(until: threading.Event, *, also_s: float = 0.0) -> None:
    until.wait(30)
    time.sleep(also_s)


async def test_it_names_the_frame_once_each_time() -> None:
    reports = Reports()
    watch = LoopWatchdog(asyncio.get_running_loop(), 0.05, reports)
    try:
        block(reports.came, also_s=0.3)
        assert len(reports.seen) == 1, "not again for the same block"
        frame, stack = reports.seen[0]
        assert re.fullmatch(rf"{re.escape(__file__)}:\d+, in block", frame), "not the wait inside threading"
        assert "test_it_names_the_frame_once_each_time" in stack
        reports.came.clear()
        await asyncio.sleep(0)  # a turn of the loop is the sign of life that it asked for
        block(reports.came)
        assert len(reports.seen) == 2
    finally:
        watch.close()


async def test_a_loop_that_turns_is_not_reported() -> None:
    reports = Reports()
    watch = LoopWatchdog(asyncio.get_running_loop(), 5, reports)
    thread = watch._thread
    await asyncio.sleep(0)
    watch.close()
    await asyncio.to_thread(thread.join, 30)
    assert not thread.is_alive() and reports.seen == []


slow = perdure.Service("Slow")


@slow.handler()
async def blocks(ctx: perdure.Context) -> str:
    time.sleep(0.5)  # noqa: ASYNC251  what it is about
    return "late"


@slow.handler()
async def in_a_step(ctx: perdure.Context) -> str:
    def body() -> str:
        time.sleep(0.5)
        return "in time"

    await ctx.sleep(timedelta(milliseconds=1))
    return await ctx.run_typed("body", body)


async def test_a_node_writes_it_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "perdure.node")
    async with perdure.Node([slow], settings=EngineSettings(loop_stall_ms=100)) as node:
        assert await node.client.service_call(blocks, None) == "late"
    stalls = [record.getMessage() for record in caplog.records if "blocked for more than" in record.getMessage()]
    assert len(stalls) == 1
    assert re.search(rf"{re.escape(__file__)}:\d+, in blocks", stalls[0])


async def test_a_plain_step_blocks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "perdure.node")
    async with perdure.Node([slow], settings=EngineSettings(loop_stall_ms=400)) as node:
        assert await node.client.service_call(in_a_step, None) == "in time"
    assert not [record for record in caplog.records if ", in body" in record.getMessage()]
