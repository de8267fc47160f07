"""Dev mode flags what differs on replay, once per place, with the durable counterpart; and only in bodies."""

from __future__ import annotations

import asyncio
import datetime
import logging
import random
import secrets
import socket
import sys
import time
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import perdure
from perdure import Context, DeterminismWarning

from .driver import drive

CALLS: dict[str, tuple[Callable[[], Any], str]] = {
    "time.time": (lambda: time.time(), "ctx.time()"),
    "time.time_ns": (lambda: time.time_ns(), "ctx.time()"),
    "random.random": (lambda: random.random(), "ctx.random()"),
    "random.randint": (lambda: random.randint(1, 6), "ctx.random()"),
    "random.choice": (lambda: random.choice([1, 2]), "ctx.random()"),
    "uuid.uuid4": (lambda: uuid.uuid4(), "ctx.uuid()"),
    "secrets.token_hex": (lambda: secrets.token_hex(), "ctx.run_typed"),
    "datetime.now": (lambda: datetime.datetime.now(), "ctx.time()"),
    "Opening a file": (lambda: Path(__file__).read_bytes(), "ctx.run_typed"),
    "Connecting a socket": (lambda: socket.socket().connect_ex(("127.0.0.1", 9)), "ctx.run_typed"),
    "time.sleep": (lambda: time.sleep(0), "ctx.sleep"),
}


def flagged(handler: Callable[..., Any]) -> list[warnings.WarningMessage]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        drive(handler, dev=True)
    return [warning for warning in caught if warning.category is DeterminismWarning]


@pytest.mark.parametrize("name", CALLS)
async def test_a_raw_call_in_a_body_is_flagged_with_its_counterpart(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    call, instead = CALLS[name]

    async def handler(ctx: Context) -> None:
        call()
        call()
        await ctx.sleep(1)
        call()

    with caplog.at_level(logging.WARNING, "perdure"):
        found = flagged(handler)
    assert len(found) == 1, [str(warning.message) for warning in found]
    assert name in str(found[0].message)
    assert instead in str(found[0].message)
    assert found[0].filename == __file__
    assert found[0].lineno == call.__code__.co_firstlineno
    assert f"{__file__}:{found[0].lineno}" in caplog.text


async def test_the_same_in_a_step_or_outside_is_not() -> None:
    async def step() -> float:
        random.random()
        Path(__file__).read_bytes()
        return time.time()

    async def handler(ctx: Context) -> None:
        await ctx.run_typed("step", step)
        await ctx.run("plain", lambda: uuid.uuid4().hex)
        await ctx.time()
        ctx.random().random()
        ctx.uuid()
        asyncio.get_running_loop().time()

    assert flagged(handler) == []
    assert time.time() > 0


async def test_logging_and_imports_are_not_flagged() -> None:
    async def handler(ctx: Context) -> None:
        logging.getLogger("somewhere").warning("a line")
        sys.modules.pop("this_is_nothing", None)
        import colorsys  # noqa: F401

    sys.modules.pop("colorsys", None)
    assert flagged(handler) == []


async def test_inline_threads_are_flagged() -> None:
    async def handler(ctx: Context) -> None:
        await asyncio.to_thread(len, "x")

    found = flagged(handler)
    assert len(found) == 1 and "executor" in str(found[0].message)
    assert found[0].filename == __file__


async def test_without_dev_nothing_is_watched_and_a_profiler_survives() -> None:
    seen: list[str] = []

    async def handler(ctx: Context) -> None:
        time.time()
        await ctx.sleep(1)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drive(handler, dev=False)
    profiler = lambda frame, event, argument: seen.append(event)  # noqa: E731
    before = sys.getprofile()
    sys.setprofile(profiler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            drive(handler, dev=True)
        assert sys.getprofile() is profiler
    finally:
        sys.setprofile(before)


async def test_the_variable_turns_it_on(monkeypatch: pytest.MonkeyPatch) -> None:
    service = perdure.Service("S")
    assert not perdure.app([service]).dev
    monkeypatch.setenv("PERDURE_DEV", "1")
    assert perdure.app([service]).dev
    assert not perdure.app([service], dev=False).dev
