"""Programs made at random out of asyncio's parts: each replays at every prefix, and after a crash at every entry."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

import perdure
from perdure import Context, RunOptions, TerminalError
from perdure.model.driver import Turn
from perdure.model.journal import Signal

from .driver import Script, ScriptedDriver, commands, is_notification

programs = perdure.Service("Random")
Part = Callable[[Context, random.Random, int], Awaitable[int]]


async def add(left: int, right: int) -> int:
    if right % 7 == 6:
        raise TerminalError("seven", 400)
    return left + right


async def step(ctx: Context, dice: random.Random, depth: int) -> int:
    return await ctx.run_typed(f"add {depth}", add, RunOptions(), depth, dice.randrange(20))


async def nap(ctx: Context, dice: random.Random, depth: int) -> int:
    seconds = dice.choice([0, 0.001, 0.5, 2])
    return await asyncio.sleep(seconds, depth) if dice.random() < 0.5 else await ctx.sleep(seconds) or depth


async def grouped(ctx: Context, dice: random.Random, depth: int) -> int:
    tasks: list[asyncio.Task[int]] = []
    try:
        async with asyncio.TaskGroup() as group:
            tasks.extend(group.create_task(part(ctx, dice, depth + 1)) for _ in range(dice.randrange(1, 5)))
    except* TerminalError:
        ctx.generic_send("S", "h", f"group {depth} failed".encode())
    return sum(task.result() for task in tasks if not task.cancelled() and task.exception() is None)


async def gathered(ctx: Context, dice: random.Random, depth: int) -> int:
    parts = [part(ctx, dice, depth + 1) for _ in range(dice.randrange(1, 4))]
    results = await asyncio.gather(*parts, return_exceptions=True)
    return sum(result for result in results if isinstance(result, int))


async def limited(ctx: Context, dice: random.Random, depth: int) -> int:
    try:
        async with asyncio.timeout(dice.choice([0, 0.01, 1])):
            return await part(ctx, dice, depth + 1)
    except TimeoutError:
        return await ctx.run_typed("late", add, RunOptions(), depth, 1)


async def first(ctx: Context, dice: random.Random, depth: int) -> int:
    tasks = {asyncio.create_task(part(ctx, dice, depth + 1)) for _ in range(3)}
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
        ctx.generic_send("S", "h", task.get_name().encode())
    await asyncio.gather(*pending, return_exceptions=True)
    return sum(1 for task in done if task.exception() is None)


async def part(ctx: Context, dice: random.Random, depth: int) -> int:
    leaves: list[Part] = [step, nap]
    branches: list[Part] = [grouped, gathered, limited, first]
    chosen = dice.choice(leaves if depth > 3 or dice.random() < 0.3 else branches)
    return await chosen(ctx, dice, depth)


@programs.handler()
async def anything(ctx: Context) -> int:
    try:
        return await grouped(ctx, ctx.random(), 0) + await gathered(ctx, ctx.random(), 0)
    except TerminalError as error:
        return -error.status_code


app = perdure.app([programs])


def program(seed: int, **kwargs: object) -> ScriptedDriver:
    events = [(dice.randrange(3000), Signal(1))] if (dice := random.Random(seed)).random() < 0.5 else []
    script = Script(events=events, step_ms=7)
    script.tail = kwargs.pop("tail", None)  # type: ignore[assignment]
    return ScriptedDriver(app, "Random", "anything", seed=seed, script=script, **kwargs)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [*range(8), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(8, 40))])
def test_a_random_program_replays(seed: int) -> None:
    whole = program(seed)
    assert whole.run() is Turn.ENDED, whole.error
    entries = list(zip(whole.journal, whole.times, strict=True))
    for cut in range(1, len(entries)):
        rest = [(entry, at) for entry, at in entries[cut:] if is_notification(entry)]
        replay = program(seed, journal=whole.journal[:cut], times=whole.times[:cut], tail=rest)
        assert replay.run() is Turn.ENDED, (cut, replay.error)
        assert commands(replay.journal) == commands(whole.journal), cut
        assert replay.step_runs == {}

    crashing = program(seed)
    for crash_at in range(2, len(entries) + 50):
        crashing.crash_at = crash_at
        if crashing.run() is Turn.ENDED and not crashing._crashing():
            break
        assert crashing.error is None, crashing.error
    assert set(crashing.step_runs.values()) <= {1}
