"""The driver against journals in which answers come in any order, and attempts that are cut off at any wait.

The official state machine compares each command with the journal: a handler that were told anything in another order, or at
another time, would be refused.
"""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import timedelta
from typing import Any

import pytest

import perdure
from perdure.endpoint.attempt import NO_PARK
from perdure.model import journal as j
from perdure.model.ids import CANCEL_SIGNAL
from perdure.model.limits import TURN_CALLBACKS_BUDGET
from perdure.model.target import Target
from tests.endpoint.journal_server import JournalServer

cell = perdure.VirtualObject("Cell")
observed: list[list[str]] = []
"""What each attempt saw, in order."""


async def value_of(value: int) -> int:
    return value


def see(what: str) -> None:
    observed[-1].append(what)


@cell.handler()
async def mixed(ctx: perdure.ObjectContext, width: int) -> list[str]:
    """Steps, calls, timers, state and awakeables at once; what it does next hangs on what was first."""
    observed.append([])
    seen = observed[-1]
    seen.append(f"{ctx.random().random()}")

    async def steps(number: int) -> None:
        got = await ctx.run(f"a{number}", value_of, args=(number,))
        see(f"a{number} {got}")
        if len(seen) % 2:
            await ctx.sleep(timedelta(seconds=number))
            see(f"slept {number}")
        ctx.set(f"k{number}", len(seen))
        await ctx.run(f"b{number} at {len(seen)}", value_of, args=(number,))
        see(f"b{number}")

    async def calls(number: int) -> None:
        called = ctx.generic_call("Other", "echo", str(number).encode())
        if number % 2:
            see(f"id {await called.invocation_id()}")
        see(f"call {number} {await called!r} {await ctx.get(f'k{number}')} at {len(seen)}")

    async def timers(number: int) -> None:
        try:
            async with asyncio.timeout(number + 1):
                await asyncio.sleep(number * 0.7 + 1)
            see(f"in time {number}")
        except TimeoutError:
            see(f"late {number}")
        await ctx.run(f"after {len(seen)}", value_of, args=(number,))

    async def awakeables(number: int) -> None:
        name, future = ctx.awakeable()
        ctx.resolve_awakeable(name, number)
        see(f"awake {await future} {len(seen)}")

    await asyncio.gather(*(work(number) for number in range(width) for work in (steps, calls, timers, awakeables)))
    ctx.clear_all()
    return seen


@cell.handler()
async def undone(ctx: perdure.ObjectContext, width: int) -> list[str]:
    """Is cancelled at some moment; what it does about it is recorded too."""
    observed.append([])
    seen = observed[-1]
    calls = [ctx.generic_call("Other", "slow", str(number).encode()) for number in range(width)]
    sleeps = [asyncio.create_task(asyncio.sleep(number + 1)) for number in range(width)]
    for number in range(width):
        try:
            see(f"step {await ctx.run(f's{number}', value_of, args=(number,))}")
            see(f"called {await calls[number]!r}")
            await sleeps[number]
            see(f"slept {number}")
        except perdure.TerminalError as error:
            see(f"{error.message} at {number}")
            await ctx.run(f"undo {number}", value_of, args=(number,))
            see("undone")
    await asyncio.gather(*calls, *sleeps, return_exceptions=True)
    return seen


@cell.handler()
async def long_turn(ctx: perdure.ObjectContext, rounds: int) -> int:
    """More callbacks than a turn may have at once, between two durable operations."""
    before = await ctx.run("before", value_of, args=(1,))
    for _ in range(rounds):
        await asyncio.sleep(0)
    return before + await ctx.run("after", value_of, args=(1,))


@cell.handler()
async def stuck(ctx: perdure.ObjectContext, width: int) -> None:
    await ctx.run("before", value_of, args=(1,))
    await asyncio.Event().wait()


@cell.handler()
async def catches_all(ctx: perdure.ObjectContext, width: int) -> str:
    try:
        await ctx.run("issued", value_of, args=(1,))
    except BaseException:
        return "caught"
    return "not"


@cell.handler()
async def logs(ctx: perdure.ObjectContext, rounds: int) -> None:
    log = logging.getLogger("tests.endpoint.logs")
    awakeables = [ctx.awakeable() for _ in range(rounds)]
    for number, (name, _) in enumerate(awakeables):
        ctx.resolve_awakeable(name, number)
    for number, (_, future) in enumerate(awakeables):
        log.warning("line %s", await future)
        if number % 2:
            log.warning("step %s", await ctx.run("step", value_of, args=(number,)))
    ctx.signal("nobody waits for this")


app = perdure.app([cell])


@pytest.fixture(autouse=True)
def nothing_observed() -> None:
    observed.clear()


@pytest.mark.parametrize("version", [5, 6, 7])
async def test_what_is_told_is_the_same_in_every_attempt(version: int) -> None:
    attempts = 0
    for seed in range(8):
        observed.clear()
        server = JournalServer(app, Target("Cell", "k", "mixed"), b"4", seed, version)
        result = await server.run()
        assert isinstance(result, bytes)
        assert json.loads(result) == observed[-1]
        assert server.attempts == len(observed)
        for attempt in observed:
            assert attempt == observed[-1][: len(attempt)]
        attempts += server.attempts
    assert attempts > 24


@pytest.mark.parametrize("seed", range(12))
async def test_a_cancellation_comes_at_the_same_place_in_every_attempt(seed: int) -> None:
    server = JournalServer(app, Target("Cell", "k", "undone"), b"3", seed)
    server.to_tell.append(j.Signal(CANCEL_SIGNAL, None))
    result = await server.run()
    assert isinstance(result, bytes)
    assert json.loads(result) == observed[-1]
    for attempt in observed:
        assert attempt == observed[-1][: len(attempt)]
    # One cancel for each call that was open, however often the attempt was replayed.
    cancels = [
        entry for entry in server.journal if isinstance(entry, j.SendSignal) and entry.signal_id == CANCEL_SIGNAL
    ]
    assert len(cancels) <= 3 and len({entry.invocation_id for entry in cancels}) == len(cancels)


async def test_without_cuts_there_is_one_attempt_and_each_step_once() -> None:
    server = JournalServer(app, Target("Cell", "k", "mixed"), b"4", 1)
    await server.run(cut_off=0.0)
    assert server.attempts == 1
    runs: list[Any] = [entry for entry in server.journal if isinstance(entry, j.Run)]
    done = [entry for entry in server.journal if isinstance(entry, j.Completion) and entry.code == j.CompletionCode.RUN]
    assert len(runs) == len(done) == 12


async def test_what_a_handler_logs_appears_once_however_often_it_is_replayed() -> None:
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    handler.addFilter(perdure.RestateLoggingFilter())
    log = logging.getLogger("tests.endpoint.logs")
    log.addHandler(handler)
    try:
        attempts = 0
        for seed in range(6):
            lines.clear()
            server = JournalServer(app, Target("Cell", "k", "logs"), b"6", seed)
            server.to_tell.append(j.Signal("never asked for", b"1"))
            await server.run(cut_off=0.0, suspend=0.5)
            attempts += server.attempts
            said = [f"line {number}" for number in range(6)] + [f"step {number}" for number in (1, 3, 5)]
            assert sorted(lines) == sorted(said)
        assert attempts > 12
    finally:
        log.removeHandler(handler)


async def test_a_long_turn_gives_way_and_goes_on() -> None:
    rounds = 2 * TURN_CALLBACKS_BUDGET
    assert await JournalServer(app, Target("Cell", "k", "long_turn"), str(rounds).encode(), 1).run() == b"2"


async def test_a_wait_for_nothing_fails_the_attempt_and_says_so() -> None:
    server = JournalServer(app, Target("Cell", "k", "stuck"), b"1", 1)
    attempt = server.begin()
    while not await server.settle(attempt):
        server.tell_some(attempt)
    assert "NothingToWaitForError" in attempt.ended and "PD0404" in attempt.ended
    assert attempt.ended.endswith(NO_PARK)


async def test_a_mismatch_ends_the_attempt_whatever_the_handler_catches() -> None:
    server = JournalServer(app, Target("Cell", "k", "catches_all"), b"1", 1)
    server.journal.append(j.Run(1, "recorded"))
    attempt = server.begin()
    assert await server.settle(attempt)
    assert "mismatch" in attempt.ended and len(server.journal) == 2
