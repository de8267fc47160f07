"""When the disk or the store cannot keep up, is full, or fails: work waits, new work is refused, nothing is lost."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence
from pathlib import Path

import pytest

import perdure
from perdure.env.files import File, SystemFiles
from perdure.log.errors import LogFailed
from perdure.node.errors import DiskFull, NodeStopped, Overloaded
from perdure.node.phase import Phase

from .rig import call, image, make_engine, result_of, running, send, until
from .virtual import InlineExecutor, in_virtual_time

load = perdure.Service("Load")


@load.handler()
async def work(ctx: perdure.Context, size: int) -> int:
    async def body() -> str:
        await asyncio.sleep(0.01)
        return "x" * size

    total = 0
    for number in range(10):
        total += len(await ctx.run_typed(f"step-{number}", body))
    return total


@load.handler()
async def waits(ctx: perdure.Context) -> str:
    return await ctx.awakeable(type_hint=str)[1]


class BadFiles(SystemFiles):
    """A disk that can be made full, or to fail its syncs."""

    def __init__(self) -> None:
        self.full = False
        self.broken = False

    def open(self, path: Path, *, create: bool = False, write: bool = True) -> File:  # type: ignore[override]
        if create and self.full:
            raise OSError(errno.ENOSPC, "no space left", str(path))
        return _BadFile(super().open(path, create=create, write=write), self)

    def free_bytes(self, path: Path) -> int:
        return 0 if self.full else super().free_bytes(path)


class _BadFile:
    def __init__(self, file: File, disk: BadFiles) -> None:
        self._file, self._disk = file, disk
        self.pread, self.size, self.close = file.pread, file.size, file.close

    def pwritev(self, buffers: Sequence[bytes], offset: int) -> None:
        self._file.pwritev(buffers, offset)

    def datasync(self) -> None:
        if self._disk.broken:
            raise OSError(errno.EIO, "the disk is broken")
        self._file.datasync()

    def sync(self) -> None:
        if self._disk.broken:
            raise OSError(errno.EIO, "the disk is broken")
        self._file.sync()


@in_virtual_time
async def test_a_store_that_cannot_keep_up_stops_turns_then_refuses_new_work_and_recovers(tmp_path: Path) -> None:
    executor, bound = InlineExecutor(), 200_000
    async with running([load], tmp_path, executor=executor, layer_bytes_max=bound) as engine:
        executor.hold("store")
        busy = [asyncio.create_task(call(engine, "Load/work", 3_000)) for _ in range(100)]
        await until(lambda: engine.pool.throttled)
        with pytest.raises(Overloaded, match="PD0304: the store cannot keep up"):
            await call(engine, "Load/work", 1)
        await asyncio.sleep(600)
        # What was under way may still end its step; no turn runs, so nothing new begins.
        assert engine.store.active_bytes < 2 * bound + 100 * 5_000
        assert not any(task.done() for task in busy)
        executor.let_go("store")
        assert await asyncio.gather(*busy) == [30_000] * 100
        assert await call(engine, "Load/work", 1) == 10


@in_virtual_time
async def test_a_caller_waits_for_room_before_it_is_refused(tmp_path: Path) -> None:
    executor = InlineExecutor()
    async with running([load], tmp_path, executor=executor, layer_bytes_max=200_000) as engine:
        executor.hold("store")
        busy = [asyncio.create_task(call(engine, "Load/work", 3_000)) for _ in range(100)]
        await until(lambda: engine.pool.throttled)
        patient = asyncio.create_task(call(engine, "Load/work", 1))
        await asyncio.sleep(2)
        assert not patient.done()
        executor.let_go("store")
        assert await patient == 10
        await asyncio.gather(*busy)


@in_virtual_time
async def test_a_full_disk_refuses_new_work_while_running_work_finishes(tmp_path: Path) -> None:
    files = BadFiles()
    async with running([load], tmp_path, files=files) as engine:
        waiting = await send(engine, "Load/waits")
        files.full = True
        with pytest.raises(DiskFull, match="PD0305"):
            for _ in range(100):
                await call(engine, "Load/work", 30_000)  # until a segment is used up and its reserve not replaced
        await engine.signal(waiting, 17, b'"finished"')
        assert await result_of(engine, waiting) == "finished"
        files.full = False
        await asyncio.sleep(5)
        assert await call(engine, "Load/work", 1) == 10


@in_virtual_time
async def test_a_failed_sync_ends_the_engine_and_everybody_is_told(tmp_path: Path) -> None:
    files = BadFiles()
    engine = make_engine([load], tmp_path / "0", files=files, durability="fsync")
    await engine.start()
    waiting = await send(engine, "Load/waits")
    ended = asyncio.create_task(engine.failed())
    attached = asyncio.create_task(engine.attach(waiting))
    await asyncio.sleep(1)
    files.broken = True
    with pytest.raises(NodeStopped, match="the node has failed"):
        await call(engine, "Load/work", 1)
    with pytest.raises(NodeStopped, match="the node has failed"):
        await attached
    assert isinstance(await ended, LogFailed)
    assert engine.phase is Phase.FAILED
    for ask in (call(engine, "Load/work", 1), engine.ready(), engine.signal(waiting, 17, b'"late"')):
        with pytest.raises(NodeStopped):
            await ask
    await engine.stop()
    image(tmp_path / "0", tmp_path / "1")
    async with running([load], tmp_path / "1") as engine:
        await engine.signal(waiting, 17, b'"after all"')
        assert await result_of(engine, waiting) == "after all"


@in_virtual_time
async def test_a_send_that_waits_for_a_failed_sync_is_told_too(tmp_path: Path) -> None:
    files = BadFiles()
    engine = make_engine([load], tmp_path, files=files, durability="fsync")
    await engine.start()
    files.broken = True
    with pytest.raises(NodeStopped):
        await send(engine, "Load/waits")
    await engine.stop()


@in_virtual_time
async def test_a_record_that_cannot_be_applied_ends_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine([load])
    await engine.start()

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("perdure.node.performer.apply", broken)
    with pytest.raises(NodeStopped, match="PD0313"):
        await call(engine, "Load/work", 1)
    await engine.stop()


@pytest.mark.parametrize("way", ["fails", "stops"])
@in_virtual_time
async def test_a_caller_that_waits_for_room_is_told_when_the_engine_ends(way: str, tmp_path: Path) -> None:
    executor = InlineExecutor()
    engine = make_engine([load], tmp_path, executor=executor, layer_bytes_max=200_000)
    await engine.start()
    executor.hold("store")
    busy = [asyncio.create_task(call(engine, "Load/work", 3_000)) for _ in range(100)]
    await until(lambda: engine.pool.throttled)
    waiting = asyncio.create_task(call(engine, "Load/work", 1))
    await asyncio.sleep(1)
    if way == "fails":
        engine._fail(LogFailed("writing", OSError("broken")))
        ending = asyncio.create_task(engine.stop())
    else:
        ending = asyncio.create_task(engine.stop(grace_s=0))
    with pytest.raises(NodeStopped):
        await waiting
    executor.let_go("store")
    await ending
    assert all(isinstance(each, NodeStopped) for each in await asyncio.gather(*busy, return_exceptions=True))
