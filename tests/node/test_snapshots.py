"""Snapshots of a running engine: the tables of one LSN, with what memory knew at that LSN."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import perdure
from perdure.node.engine import Engine
from perdure.node.errors import NodeStopped
from perdure.node.snapshots import Memory
from perdure.store.codec import decode_invocation
from perdure.store.rows import Invocation, Status
from perdure.store.snapshot import Snapshot

from .rig import call, make_engine, running, send, until, until_status
from .virtual import InlineExecutor, in_virtual_time

bell = perdure.Service("Bell")


@bell.handler()
async def ring(ctx: perdure.Context) -> str:
    return await ctx.signal("ring", type_hint=str)


@bell.handler()
async def say(ctx: perdure.Context, what: str) -> str:
    return what


SERVICES = [bell]


async def asked_while_the_tables_are_held(
    data: Path,
) -> tuple[Engine, InlineExecutor, asyncio.Future[tuple[Snapshot, Memory]]]:
    """An engine with one invocation that was asked for a snapshot, which waits for `let_go("store")`."""
    threads = InlineExecutor()
    engine = make_engine(SERVICES, data, executor=threads)
    await engine.start()
    await call(engine, "Bell/say", "a")
    threads.hold("store")
    asking = asyncio.ensure_future(engine.snapshot())
    await until(lambda: bool(threads.held["store"]))
    return engine, threads, asking


def rows(snapshot: Snapshot) -> dict[int, Invocation]:
    found = {}
    for chunk in snapshot.invocations():
        for partition, seq, row, crc in chunk:
            assert isinstance(partition, int) and isinstance(seq, int)
            found[seq] = decode_invocation(row, crc, (partition, seq))
    return found


@pytest.mark.parametrize("in_memory", [False, True])
@in_virtual_time
async def test_it_holds_what_was_applied_when_it_was_asked_for(in_memory: bool, tmp_path: Path) -> None:
    async with running(SERVICES, None if in_memory else tmp_path / "data") as engine:
        await call(engine, "Bell/say", "a")
        waiting = await send(engine, "Bell/ring")
        await until(lambda: len(engine.pool) == 1)
        snapshot, memory = await engine.snapshot()
        assert snapshot.lsn == engine.applied_lsn
        assert [row.status for row in rows(snapshot).values()] == [Status.INVOKED, Status.COMPLETED]
        row = engine.find(waiting)
        assert row is not None
        assert memory.attempts == [(0, row.seq)]
        assert [spec.name for spec in memory.services] == ["Bell"]
        assert (memory.local, memory.deployments) == (frozenset({"Bell"}), [])
        snapshot.close()


@in_virtual_time
async def test_nothing_to_write_takes_no_checkpoint(tmp_path: Path) -> None:
    async with running(SERVICES, tmp_path / "data") as engine:
        await call(engine, "Bell/say", "a")
        first, _ = await engine.snapshot()
        written = engine.store.applied_lsn
        second, _ = await engine.snapshot()
        assert (first.lsn, second.lsn, engine.store.applied_lsn) == (written, written, written)
        first.close()
        second.close()


@in_virtual_time
async def test_memory_is_that_of_the_same_lsn_though_it_moves_on_before_the_tables_are_written(tmp_path: Path) -> None:
    threads = InlineExecutor()
    engine = make_engine(SERVICES, tmp_path / "data", executor=threads)
    await engine.start()
    waiting = await send(engine, "Bell/ring")
    await until(lambda: len(engine.pool) == 1)
    threads.hold("store")
    asking = asyncio.ensure_future(engine.snapshot())
    await until(lambda: bool(threads.held["store"]))
    await engine.send_signal(waiting, "ring", b'"now"')
    await until_status(engine, waiting, Status.COMPLETED)
    assert len(engine.pool) == 0
    threads.let_go("store")
    snapshot, memory = await asking
    ((seq, row),) = rows(snapshot).items()
    assert (row.status, memory.attempts) == (Status.INVOKED, [(0, seq)])
    assert snapshot.lsn < engine.applied_lsn
    snapshot.close()
    await engine.stop(grace_s=0)


@in_virtual_time
async def test_who_asks_while_a_checkpoint_is_written_gets_the_next_one(tmp_path: Path) -> None:
    engine, threads, first = await asked_while_the_tables_are_held(tmp_path / "data")
    await call(engine, "Bell/say", "b")
    second = asyncio.ensure_future(engine.snapshot())
    threads.let_go("store")
    (one, _), (two, _) = await first, await second
    assert (len(rows(one)), len(rows(two))) == (1, 2)
    one.close()
    two.close()
    await engine.stop(grace_s=0)


@in_virtual_time
async def test_who_waits_for_one_hears_of_a_failure(tmp_path: Path) -> None:
    engine, threads, first = await asked_while_the_tables_are_held(tmp_path / "data")
    await call(engine, "Bell/say", "b")
    second = asyncio.ensure_future(engine.snapshot())
    await asyncio.sleep(0)
    engine.store._writer.execute("DROP TABLE invocation")
    threads.let_go("store")
    for asked in (first, second):
        with pytest.raises(NodeStopped):
            await asked
    await engine.stop(grace_s=0)


@in_virtual_time
async def test_a_stopped_engine_gives_none(tmp_path: Path) -> None:
    async with running(SERVICES, tmp_path / "data") as engine:
        await call(engine, "Bell/say", "a")
    with pytest.raises(NodeStopped):
        await engine.snapshot()


@in_virtual_time
async def test_whoever_goes_away_leaves_no_snapshot_behind(tmp_path: Path) -> None:
    engine, threads, asking = await asked_while_the_tables_are_held(tmp_path / "data")
    asking.cancel()
    threads.let_go("store")
    await until(lambda: asking.cancelled() and engine.store.applied_lsn == engine.applied_lsn)
    assert engine.store._spare_readers == []
    await engine.stop(grace_s=0)
