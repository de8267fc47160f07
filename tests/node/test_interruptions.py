"""When the process dies under invocations: who starts again, when, and who is given up."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import perdure
from perdure.model.ids import format_invocation_id
from perdure.node.engine import Engine
from perdure.store.rows import Status

from .rig import abandon, image, make_engine, result_of, row_of, running, send, until, until_status
from .virtual import in_virtual_time

victim = perdure.Service("Victim")
started: Counter[str] = Counter()
seen: list[tuple[str, int]] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    started.clear()
    seen.clear()


@victim.handler()
async def hangs(ctx: perdure.Context) -> str:
    """A step that never ends, as one that kills its process never does."""

    async def body() -> str:
        started["hangs"] += 1
        await asyncio.sleep(1_000_000)
        return "never"

    return await ctx.run_typed("hang", body)


@victim.handler()
async def fenced(ctx: perdure.Context) -> str:
    async def body() -> str:
        await asyncio.sleep(1_000_000)
        return "never"

    seen.append((ctx.request().id, ctx.attempt_epoch()))
    return await ctx.run_typed("hang", body)


@victim.handler()
async def progresses(ctx: perdure.Context) -> int:
    async def body() -> str:
        await asyncio.sleep(1)
        return "done"

    for number in range(40):
        await ctx.run_typed(f"step-{number}", body)
    return 40


@victim.handler()
async def sleeps(ctx: perdure.Context) -> str:
    started["sleeps"] += 1
    await ctx.sleep(timedelta(hours=1))
    return "rested"


@victim.handler()
async def rests(ctx: perdure.Context) -> str:
    started["rests"] += 1
    return await ctx.awakeable(type_hint=str)[1]


class Machine:
    """A machine whose engine is killed again and again."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.directory = directory
        self.settings = settings
        self.kills = 0

    async def start(self) -> Engine:
        engine = make_engine([victim], self.directory / str(self.kills), **self.settings)
        await engine.start()
        return engine

    async def kill(self, engine: Engine) -> None:
        await asyncio.sleep(0.1)  # nobody waits for a step's command: it lingers before it is durable
        self.kills += 1
        image(self.directory / str(self.kills - 1), self.directory / str(self.kills))
        await abandon(engine)


@in_virtual_time
async def test_a_handler_sees_one_id_and_an_epoch_that_grows_over_two_kills_and_a_restart(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    engine = await machine.start()
    invocation_id = await send(engine, "Victim/fenced")
    for times in (1, 2):
        await until(lambda times=times: len(seen) == times)  # type: ignore[misc]
        await machine.kill(engine)
        engine = await machine.start()
    await until(lambda: len(seen) == 3)
    await engine.stop()
    engine = await machine.start()
    await until(lambda: len(seen) == 4)
    assert {each for each, _ in seen} == {format_invocation_id(invocation_id)}
    epochs = [epoch for _, epoch in seen]
    assert epochs == sorted(set(epochs)) and epochs[-1] == row_of(engine, invocation_id).epoch
    await abandon(engine)


@in_virtual_time
async def test_who_only_waits_makes_room_for_those_who_were_interrupted(tmp_path: Path) -> None:
    machine, loop = Machine(tmp_path, concurrent_attempts_max=3), asyncio.get_running_loop()
    engine = await machine.start()
    for _ in range(3):
        await send(engine, "Victim/rests")
    await until(lambda: started["rests"] == 3)
    await machine.kill(engine)
    machine.settings["concurrent_attempts_max"] = 1
    engine = await machine.start()
    assert engine.recovered is not None
    assert engine.recovered.interrupted == 3
    began = loop.time()
    await until(lambda: started["rests"] == 6)
    assert loop.time() - began < 1, "not after the inactivity timeout"
    await abandon(engine)


@in_virtual_time
async def test_the_first_restart_is_at_once_and_further_ones_wait_longer_each_time(tmp_path: Path) -> None:
    machine, loop = Machine(tmp_path), asyncio.get_running_loop()
    engine = await machine.start()
    invocation_id = await send(engine, "Victim/hangs")
    await until(lambda: started["hangs"] == 1)
    waits = []
    for _ in range(4):
        await machine.kill(engine)
        engine = await machine.start()
        assert engine.recovered is not None
        assert engine.recovered.interrupted == 1
        began, before = loop.time(), started["hangs"]
        await until(lambda: started["hangs"] > before)  # noqa: B023
        waits.append(loop.time() - began)
    assert waits[0] < 0.1
    assert 0.5 <= waits[1] < 0.8
    assert 1.0 <= waits[2] < 1.6
    assert 2.0 <= waits[3] < 3.0
    assert row_of(engine, invocation_id).interruptions == 4
    await abandon(engine)


@in_virtual_time
async def test_without_any_progress_it_is_paused_in_the_end_and_can_be_resumed(tmp_path: Path) -> None:
    machine = Machine(tmp_path, interruptions_max=3)
    engine = await machine.start()
    invocation_id = await send(engine, "Victim/hangs")
    for kill in range(1, 5):
        await until(lambda: started["hangs"] == kill)  # noqa: B023
        await machine.kill(engine)
        engine = await machine.start()
    row = await until_status(engine, invocation_id, Status.PAUSED)
    assert row.interruptions == 4
    assert row.last_error is not None
    assert row.last_error.doc_code == "PD0310"
    await engine.resume(invocation_id)
    await until(lambda: started["hangs"] == 5)
    assert row_of(engine, invocation_id).interruptions == 0
    await abandon(engine)


@in_virtual_time
async def test_one_that_only_waited_for_its_place_is_not_suspected(tmp_path: Path) -> None:
    machine = Machine(tmp_path, interruptions_max=3, concurrent_attempts_max=1)
    engine = await machine.start()
    invocations = [await send(engine, "Victim/hangs") for _ in range(10)]
    for kill in range(1, 4):
        await until(lambda: started["hangs"] >= kill)  # noqa: B023
        await machine.kill(engine)
        engine = await machine.start()
    counts = [row_of(engine, invocation_id).interruptions for invocation_id in invocations]
    assert counts[-1] == 0
    assert 0 < sum(counts) <= started["hangs"]
    await abandon(engine)


@in_virtual_time
async def test_many_kills_of_one_that_gains_entries_pause_nobody(tmp_path: Path) -> None:
    machine = Machine(tmp_path, interruptions_max=2)
    engine = await machine.start()
    invocation_id = await send(engine, "Victim/progresses")
    for _ in range(12):
        await asyncio.sleep(2.5)
        await machine.kill(engine)
        engine = await machine.start()
    assert await result_of(engine, invocation_id) == 40
    await abandon(engine)


@in_virtual_time
async def test_a_restart_wakes_no_sleeper(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    engine = await machine.start()
    sleepers = [await send(engine, "Victim/sleeps") for _ in range(20)]
    for invocation_id in sleepers:
        await until_status(engine, invocation_id, Status.SUSPENDED)
    await machine.kill(engine)
    engine = await machine.start()
    await asyncio.sleep(60)
    assert started["sleeps"] == 20
    assert len(engine.pool) == 0
    assert engine.recovered is not None
    assert engine.recovered.interrupted == 0
    assert await result_of(engine, sleepers[7]) == "rested"
    await abandon(engine)


@in_virtual_time
async def test_a_clean_stop_counts_as_no_interruption(tmp_path: Path) -> None:
    async with running([victim], tmp_path) as engine:
        invocation_id = await send(engine, "Victim/sleeps")
        await until_status(engine, invocation_id, Status.SUSPENDED)
    async with running([victim], tmp_path) as engine:
        assert engine.recovered is not None
        assert (engine.recovered.interrupted, engine.recovered.records) == (0, 0)
