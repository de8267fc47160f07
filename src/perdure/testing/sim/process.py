"""One process of a simulation: the production engine on a loop, a disk and a clock of its own, until it ends.

What always holds: once it is dead it has no effect on the disk or the world, whatever its code still does.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from perdure.model.errors import PerdureError
from perdure.model.limits import SEGMENT_FIRST_BYTES
from perdure.model.records import Record
from perdure.node.engine import Engine
from perdure.node.errors import NodeStopped
from perdure.node.phase import Phase
from perdure.node.settings import EngineSettings
from perdure.partition.invariants import check_partition
from perdure.store.rows import Status
from perdure.testing.sim.files import SimFiles, SimVFS
from perdure.testing.sim.handlers import make_app
from perdure.testing.sim.scenario import Life
from perdure.testing.sim.virtual_time import NothingHappens, SeededRandom, SimExecutor, SimLoop, VirtualClock

if TYPE_CHECKING:
    from perdure.testing.sim.simulation import Simulation

DATA = Path("/data")
_LONGEST_LIFE_S = 40_000.0
_UNWINDING_ROUNDS = 20


class SimEngine(Engine):
    """The engine, with somebody who looks on."""

    simulation: Simulation

    def after_batch(self, records: list[Record]) -> None:
        self.simulation.records.applied(self, records)
        super().after_batch(records)


class Process:
    def __init__(self, simulation: Simulation, number: int, life: Life) -> None:
        self._simulation = simulation
        self._number = number
        self._life = life
        self.crashed = False
        self.everything_ended = False
        self._error: BaseException | None = None

    def live(self) -> None:
        """From the start to the end, whatever it is."""
        simulation, life = self._simulation, self._life
        world, disk, note = simulation.world, simulation.disk, simulation.trace.note
        random = Random(simulation.random.random())
        loop = SimLoop(random, simulation.now_s)
        simulation.trace.now_s = loop.time
        disk.new_process()
        disk.wait = loop.spend
        sync_s = simulation.scenario.sync_s
        disk.sync_s = lambda: sync_s * random.choice((0.5, 1.0, 1.0, 10.0))
        note(f"process {self._number} {life}")

        def end() -> None:
            world.process = 0
            loop.stop()

        disk.on_kill = end
        world.on_violation = loop.stop
        world.process = self._number
        vfs = SimVFS(f"sim{self._number}", disk, simulation.scratch)
        engine = self._make_engine(loop, random, vfs)
        main = loop.create_task(self._main(engine, loop))
        main.add_done_callback(lambda _: loop.stop())
        try:
            loop.run_forever()
        except NothingHappens:
            world.broken("stuck", "everybody waits, and nothing will ever come")
        finally:
            simulation.now_s = loop.time()
            self._bury(loop, engine, main)
            vfs.unregister()

    def _make_engine(self, loop: SimLoop, random: Random, vfs: SimVFS) -> SimEngine:
        simulation = self._simulation
        scenario = simulation.scenario
        options = dict(scenario.settings)
        segment_bytes = options.pop("segment_bytes")
        settings = EngineSettings(
            data=DATA,
            partitions=scenario.partitions,
            dev=True,
            loop_stall_ms=0,
            segment_bytes=SEGMENT_FIRST_BYTES,
            **options,
        )
        settings.segment_bytes = segment_bytes  # far below what is sensible, so that a short run fills many
        engine = SimEngine(
            settings,
            make_app(simulation.world, self._life.version),
            clock=VirtualClock(loop, self._life.clock_ms),
            files=SimFiles(simulation.disk),
            random=SeededRandom(random),
            executor=SimExecutor(loop, random),
            sqlite_vfs=vfs.name,
        )
        engine.simulation = simulation
        return engine

    # --- while it lives -----------------------------------------------------------------------------------------------------

    async def _main(self, engine: SimEngine, loop: SimLoop) -> None:
        simulation, life = self._simulation, self._life
        if life.ending == "operations":
            simulation.disk.kill_at = int(life.after)
        elif life.ending == "time":
            loop.call_later(life.after, simulation.disk.kill)
        try:
            await engine.start()
        except (PerdureError, OSError) as error:
            self._refused(error)
            return
        simulation.trace.note(f"started, {engine.recovered}")
        with simulation.disk.unwatched():
            simulation.records.check_start(engine)
        others: list[Any] = [client.run(engine) for client in simulation.clients]
        background: list[Any] = [simulation.outside.run(engine)]
        if simulation.scenario.operated and not life.final:
            background.append(simulation.operator.run(engine))
        tasks = [loop.create_task(self._stoppable(each)) for each in others]
        helpers = [loop.create_task(self._stoppable(each)) for each in background]
        await self._until_the_end(engine, tasks)
        for task in (*tasks, *helpers):
            task.cancel()
        if engine.phase is Phase.READY:
            with simulation.disk.unwatched():
                self._check_all(engine)
            await engine.stop(grace_s=life.after)
            simulation.trace.note("stopped")
        else:
            self._failed(await engine.failed())
            await engine.stop()

    async def _stoppable(self, running: Any) -> None:
        try:
            await running
        except NodeStopped:
            pass

    async def _until_the_end(self, engine: SimEngine, tasks: list[asyncio.Task[None]]) -> None:
        life = self._life
        failed = engine.loop.create_task(engine.failed())
        try:
            if life.ending == "stop":
                await asyncio.wait([failed], timeout=life.after)
                return
            waited: list[asyncio.Future[Any]] = [failed, asyncio.gather(*tasks)]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED, timeout=_LONGEST_LIFE_S)
            if life.final and not failed.done():
                await self._finish(engine, failed)
            elif not failed.done():
                await asyncio.wait([failed], timeout=60)
        finally:
            failed.cancel()

    async def _finish(self, engine: SimEngine, failed: asyncio.Task[Any]) -> None:
        """Let everything come to its end; what is paused is resumed once."""
        simulation = self._simulation
        resumed = await self._resume_paused(engine)
        deadline = engine.loop.time() + _LONGEST_LIFE_S
        while not failed.done():
            left = [status for tables in engine.store.tables for status in _unfinished(tables)]
            if not left:
                self.everything_ended = True
                with simulation.disk.unwatched():
                    simulation.records.check_tables(engine)
                for client in simulation.clients:
                    client.judge_end(engine)
                return
            if all(status is Status.PAUSED for status in left) or engine.loop.time() > deadline:
                if simulation.scenario.incompatible_upgrade:
                    return
                if resumed > 1 or engine.loop.time() > deadline:
                    simulation.world.broken("ends", f"{len(left)} invocations do not come to their end: {left}")
                    return
                resumed += 1
                await self._resume_paused(engine)
            await asyncio.sleep(1.0)

    async def _resume_paused(self, engine: SimEngine) -> int:
        for tables in engine.store.tables:
            for seq in tables.with_status(Status.PAUSED):
                row = tables.invocation(seq)
                assert row is not None
                await engine.resume(row.id)
        return 1

    def _check_all(self, engine: SimEngine) -> None:
        for tables in engine.store.tables:
            check_partition(tables, range(1, tables.meta.next_seq), engine.partitions)

    # --- how it ends --------------------------------------------------------------------------------------------------------

    def _refused(self, error: BaseException) -> None:
        simulation = self._simulation
        if not simulation.disk.dead and not simulation.disk.errors:
            simulation.world.broken("start", f"refused: {error}")
        simulation.trace.note(f"start refused: {type(error).__name__}")

    def _failed(self, error: BaseException | None) -> None:
        simulation = self._simulation
        if not simulation.disk.dead and not simulation.disk.errors:
            simulation.world.broken("failed", f"the engine failed: {error}")
        simulation.trace.note(f"failed: {type(error).__name__}")

    def _bury(self, loop: SimLoop, engine: SimEngine, main: asyncio.Task[None]) -> None:
        simulation = self._simulation
        world, disk = simulation.world, simulation.disk
        if main.done() and not main.cancelled() and not disk.dead:
            error = main.exception()
            if error is not None:
                world.broken("crash", f"{type(error).__name__}: {error}")
        for context in loop.errors:
            if not disk.dead:
                world.broken("loop", f"{context.get('message')}: {context.get('exception')!r}")
        self.crashed = disk.dead
        world.process = 0
        simulation.trace.now_s = lambda: simulation.now_s
        disk.dead = True
        if hasattr(engine, "pool"):
            engine.pool.close()
        _unwind(loop)
        if hasattr(engine, "store"):
            try:
                engine.store.close()
            except BaseException as error:
                simulation.trace.note(f"closed: {type(error).__name__}")
        loop.close()
        disk.dead = False
        if self.crashed and self._life.power:
            disk.cut_power()


def _unwind(loop: SimLoop) -> None:
    """Let the coroutines of a dead process come to an end, so that none of them is left to the garbage collector."""
    for _ in range(_UNWINDING_ROUNDS):
        tasks = asyncio.all_tasks(loop)
        if not tasks:
            return
        for task in tasks:
            task.cancel()
        loop.call_soon(loop.stop)
        loop.run_forever()
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]


def _unfinished(tables: Any) -> list[Status]:
    found = []
    for seq in range(1, tables.meta.next_seq):
        row = tables.invocation(seq)
        if row is not None and row.status is not Status.COMPLETED:
            found.append(row.status)
    return found
