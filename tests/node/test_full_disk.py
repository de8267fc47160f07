"""A disk without room for SQLite: work goes on from memory and the log, and the checkpoint follows when there is room."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

import perdure
from perdure.model.limits import SEGMENT_FIRST_BYTES
from perdure.node.engine import Engine
from perdure.node.phase import Phase
from perdure.node.settings import EngineSettings
from perdure.store.checksums import checksum_vfs
from perdure.store.errors import CheckpointFailed

from .rig import call, until
from .virtual import InlineExecutor, SeededRandom, VirtualClock, in_virtual_time

echo = perdure.Service("Echo")


@echo.handler()
async def say(ctx: perdure.Context, what: str) -> str:
    return await ctx.run_typed("say", lambda: what)


class SmallDisk(apsw.VFS):
    def __init__(self, name: str) -> None:
        self.name = name
        self.full = False
        self.refused = 0
        super().__init__(name, checksum_vfs())

    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> apsw.VFSFile:
        return SmallFile(self, name, flags)


class SmallFile(apsw.VFSFile):
    def __init__(self, disk: SmallDisk, name: apsw.URIFilename | str | None, flags: list[int]) -> None:
        self._disk = disk
        self._grows = bool(flags[0] & apsw.SQLITE_OPEN_WAL)
        super().__init__(checksum_vfs(), name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        if self._disk.full and self._grows:
            self._disk.refused += 1
            raise apsw.FullError
        super().xWrite(data, offset)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(f"small-{tmp_path}")
    yield disk
    disk.unregister()


async def started(data: Path, disk: SmallDisk) -> Engine:
    engine = Engine(
        EngineSettings(
            data=data, segment_bytes=SEGMENT_FIRST_BYTES, durability="os", checkpoint_interval_ms=1_000, loop_stall_ms=0
        ),
        perdure.app([echo], dev=False),
        clock=VirtualClock(asyncio.get_running_loop()),
        random=SeededRandom(1),
        executor=InlineExecutor(),
        sqlite_vfs=disk.name,
    )
    await engine.start()
    return engine


@in_virtual_time
async def test_checkpoints_wait_for_room_and_work_goes_on(tmp_path: Path, disk: SmallDisk) -> None:
    engine = await started(tmp_path, disk)
    assert await call(engine, "Echo/say", "before") == "before"
    await until(lambda: engine.store.applied_lsn == engine.performer.applied_lsn)
    written = engine.store.applied_lsn
    disk.full = True
    assert await call(engine, "Echo/say", "meanwhile") == "meanwhile"
    await asyncio.sleep(30)
    assert disk.refused >= 10, "it is tried again and again"
    assert (engine.phase, engine.store.applied_lsn) == (Phase.READY, written)
    assert await call(engine, "Echo/say", "still") == "still"
    disk.full = False
    await until(lambda: engine.store.applied_lsn == engine.performer.applied_lsn)
    await engine.stop()


@in_virtual_time
async def test_a_stop_on_a_full_disk_says_so_and_loses_nothing(tmp_path: Path, disk: SmallDisk) -> None:
    engine = await started(tmp_path, disk)
    disk.full = True
    sent = asyncio.ensure_future(call(engine, "Echo/say", "kept"))
    assert await sent == "kept"
    await asyncio.sleep(10)
    with pytest.raises(CheckpointFailed):
        await engine.stop()
    disk.full = False
    again = await started(tmp_path, disk)
    assert len((await again.invocations()).rows) == 1
    await again.stop()
