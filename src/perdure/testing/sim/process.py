"""One process of a simulation: the production engine on a loop, a disk and a clock of its own, until it ends.

What always holds: once it is dead it has no effect on the disk or the world, whatever its code still does.
"""

from __future__ import annotations

import asyncio
import traceback
from random import Random
from typing import TYPE_CHECKING, Any, TypeAlias

from perdure.log.errors import LogStopped
from perdure.model.errors import PerdureError
from perdure.model.limits import SEGMENT_FIRST_BYTES
from perdure.node.errors import NodeStopped
from perdure.node.phase import Phase
from perdure.node.settings import EngineSettings
from perdure.store.rows import Status
from perdure.testing.sim.attempts import WatchedApp
from perdure.testing.sim.clients import Client, Operator, Outside
from perdure.testing.sim.disk import NO_FAULTS, Mount
from perdure.testing.sim.engine import DATA, SimEngine
from perdure.testing.sim.errands.errand import Errand
from perdure.testing.sim.files import SimFiles, SimVFS
from perdure.testing.sim.lateness import Lateness
from perdure.testing.sim.scenario import Life
from perdure.testing.sim.virtual_time import SeededRandom, SimExecutor, SimLoop, Stuck, VirtualClock

if TYPE_CHECKING:
    from perdure.testing.sim.simulation import Simulation

_LONGEST_LIFE_S = 120.0
"""Of a process that nothing ends: what is paused would keep its callers waiting for ever."""
_LONGEST_WAIT_S = 400.0
"""For callers; then what is paused is resumed."""
_QUIET_S = 150.0
"""Longer than anything waits: when nothing has happened for this time, nothing will."""
_FORGOTTEN_WITHIN_S = 30.0
"""Of the end of its retention and a checkpoint: longer than a turn of the cleaner takes."""
_WRITTEN_WITHIN_S = 5.0
_SEGMENTS_MAX = 2
"""That is written to, and one that was sealed when the last checkpoint began."""
_UNWINDING_ROUNDS = 20


_ROOM_SEEN_WITHIN_S = 10.0
"""Of the moment from which a full disk has room again."""
_FAILURE_TOLD_WITHIN_S = 1.0
"""Of a write or a sync of the log that fails: longer than the news from a thread takes."""
_AT_REST_WITHIN_S = 1.1
"""Of the end of the engine: longer than what it does once only waits to be done."""
_TOLD_WITHIN_S = 60.0
"""Of the end of the engine: longer than anybody sleeps between two things that he does."""
_NOT_LEFT = ("perdure.testing.", "perdure.invoker.remote.")
"""Modules whose timers may outlive an engine: those of the simulation, and the one that sees to the end of a farewell."""
Someone: TypeAlias = Client | Errand | Outside | Operator


class Process:
    def __init__(self, simulation: Simulation, number: int, life: Life) -> None:
        self._simulation = simulation
        self._number = number
        self._life = life
        self.crashed = False
        self.stopped = False
        """It stopped in order."""
        self.refused = False
        self.everything_ended = False
        self._ending_s: float | None = None

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
            self._leave_the_network(loop)
            loop.stop()

        disk.on_kill = end
        world.on_violation = loop.stop
        world.process = self._number
        world.kill = disk.kill
        world.ended = False
        world.process_began_s = simulation.now_s
        if simulation.fleet is not None:
            simulation.fleet.attach(loop, final=life.final)
        mount = self._mount = Mount(disk, self._second_try)
        vfs = SimVFS(f"sim{self._number}", mount, simulation.scratch)
        engine = self._make_engine(loop, random, mount, vfs)
        main = loop.create_task(self._main(engine, loop))
        main.add_done_callback(lambda _: loop.stop())
        try:
            loop.run_forever()
        except Stuck as stuck:
            world.broken("stuck", str(stuck))
        finally:
            simulation.now_s = loop.time()
            self._leave_the_network(loop)
            self._bury(loop, engine, main, mount)
            vfs.unregister()

    def _leave_the_network(self, loop: SimLoop) -> None:
        if self._simulation.fleet is not None:
            self._simulation.fleet.detach(loop, silent=self._life.power)

    def _make_engine(self, loop: SimLoop, random: Random, mount: Mount, vfs: SimVFS) -> SimEngine:
        simulation = self._simulation
        scenario = simulation.scenario
        options = dict(scenario.settings)
        segment_bytes = options.pop("segment_bytes") * self._life.segments
        if self._life.synced:
            options["durability"] = "fsync"
        settings = EngineSettings(
            data=DATA,
            partitions=scenario.partitions,
            dev=True,
            loop_stall_ms=0,
            segment_bytes=SEGMENT_FIRST_BYTES,
            **options,
        )
        settings.segment_bytes = segment_bytes  # far below what is sensible, so that a short run fills many
        self._app = app = WatchedApp(
            simulation.app(self._life.version), lambda what: simulation.world.broken("driver", what)
        )
        engine = SimEngine(
            settings,
            app,
            clock=VirtualClock(loop, self._life.clock_ms),
            files=SimFiles(mount),
            random=SeededRandom(random),
            executor=SimExecutor(loop, random),
            sqlite_vfs=vfs.name,
        )
        engine.simulation, engine.vfs_name = simulation, vfs.name
        app.may_begin = lambda: self._may_begin(engine)
        engine.lateness = Lateness(simulation.world, engine, app, simulation.records)
        loop.watch(engine.lateness.look)
        if simulation.fleet is None:
            simulation.world.now_ms = engine.now_ms
        else:  # workers go on before it has read how late it was
            latest_ms = simulation.world.now_ms()
            simulation.world.now_ms = lambda: max(latest_ms, engine.now_ms())
        simulation.world.look_over = lambda: self._look_over(engine)
        if simulation.errands:  # who reads the store changes when its checkpoints end: without errands nobody does
            simulation.world.may_run, simulation.world.is_stopped = engine.runs, engine.is_stopped
        return engine

    # --- while it lives -----------------------------------------------------------------------------------------------------

    async def _main(self, engine: SimEngine, loop: SimLoop) -> None:
        simulation, life = self._simulation, self._life
        if life.ending == "operations":
            simulation.disk.kill_at, simulation.disk.kill_kind = int(life.after), life.kind
            simulation.disk.kill_then = life.then
        elif life.ending == "time":
            loop.call_later(life.after, simulation.disk.kill)
        self._plan_faults(loop, engine)
        try:
            await engine.start()
        except (PerdureError, OSError) as error:
            self._refused(error)
            return
        simulation.trace.note(f"started, {engine.recovered}")
        if simulation.stopped_in_order and engine.recovered is not None and engine.recovered.records:
            simulation.world.broken("start", f"{engine.recovered} after a stop that leaves nothing to apply")
        with simulation.disk.unwatched():
            simulation.records.check_start(engine)
        engine.lateness.began()
        if simulation.fleet is not None:
            await simulation.fleet.register(engine, self._number)
        background: list[Outside | Operator] = [simulation.outside]
        if simulation.scenario.operator_s and not life.final:
            background.append(simulation.operator)
        callers: list[Client | Errand] = [*simulation.clients, *simulation.errands]
        tasks = [loop.create_task(self._stoppable(each, engine)) for each in callers]
        helpers = [loop.create_task(self._stoppable(each, engine)) for each in background]
        await self._until_the_end(engine, tasks)
        if self._mount.failed and engine.phase is Phase.READY:
            await asyncio.sleep(_FAILURE_TOLD_WITHIN_S)
            if engine.phase is Phase.READY:
                simulation.world.broken("failed", f"{sorted(self._mount.failed)} failed, and the engine goes on")
        if engine.phase is Phase.READY:
            with simulation.disk.unwatched():
                engine.check_all()
            self._ending_s = engine.loop.time()
            try:
                await engine.stop(grace_s=life.after)
            except (PerdureError, OSError) as error:
                self._failed(error, stopping=True)
            else:
                self.stopped = True
                self._judge_stop()
            simulation.trace.note("stopped")
        else:
            self._failed(await engine.failed())
            applied_lsn = engine.applied_lsn
            await engine.stop()
            if engine.applied_lsn > applied_lsn:
                simulation.world.broken("failed", "the engine has failed, and goes on to apply what is durable")
        simulation.disk.at_rest = simulation.world.ended = True
        if simulation.disk.locks:
            simulation.world.broken("end", "the engine has ended, and its data directory is locked")
        await self._everybody_hears(dict(zip([*callers, *background], [*tasks, *helpers], strict=True)))

    def _judge_stop(self) -> None:
        """What an engine leaves behind that stopped in order."""
        begun = [name for name in self._simulation.disk.names if name.endswith(".new") and "clean-stop" not in name]
        if begun:
            self._simulation.world.broken("end", f"left under construction: {begun}")

    def _second_try(self, path: str) -> None:
        if self._simulation.scenario.settings["durability"] == "fsync":
            self._simulation.world.broken("failed", f"{path} was written or synced after that had failed")

    async def _everybody_hears(self, tasks: dict[Someone, asyncio.Task[None]]) -> None:
        """Who waits for an engine that has come to its end is told so."""
        _, waiting = await asyncio.wait(tasks.values(), timeout=_TOLD_WITHIN_S)
        if self._simulation.disk.late:
            self._simulation.world.broken("end", f"the engine had ended, and then: {self._simulation.disk.late}")
        names = [type(someone).__name__ for someone, task in tasks.items() if task in waiting]
        if names:
            self._simulation.world.broken("caller", f"the engine has ended, and these still wait for it: {names}")
        await asyncio.sleep(_AT_REST_WITHIN_S)
        self._judge_rest(waiting)

    def _judge_rest(self, known: set[asyncio.Task[None]]) -> None:
        """Nothing of an engine goes on that has ended."""
        loop = asyncio.get_running_loop()
        left = [str(task.get_coro()) for task in asyncio.all_tasks() - known if task is not asyncio.current_task()]
        left += [f"attempt of {attempt.target}" for attempt in self._app.open]
        for handle in loop._scheduled:  # type: ignore[attr-defined]
            callback = handle._callback
            module: str = getattr(callback, "__module__", None) or ""
            if not handle.cancelled() and module.startswith("perdure.") and not module.startswith(_NOT_LEFT):
                left.append(f"timer of {callback.__qualname__}")
        if left:
            self._simulation.world.broken("end", f"the engine has ended, and these go on: {left}")

    def _may_begin(self, engine: SimEngine) -> bool:
        """What was begun before the end is let in: its task may not have had its turn."""
        if engine.phase in (Phase.STARTING, Phase.READY):
            return True
        if self._ending_s is None:
            self._ending_s = engine.loop.time()
        return engine.loop.time() <= self._ending_s

    def _judge_room(self, engine: SimEngine) -> None:
        if engine.phase is Phase.READY and not engine.log.accepting:
            self._simulation.world.broken("full", "there is room again, and new invocations are still refused")

    def _plan_faults(self, loop: SimLoop, engine: SimEngine) -> None:
        life, disk = self._life, self._simulation.disk

        def begin() -> None:
            disk.faults = life.faults

        def end() -> None:
            disk.faults = NO_FAULTS
            if life.faults.full:
                loop.call_later(_ROOM_SEEN_WITHIN_S, self._judge_room, engine)

        if life.faults == NO_FAULTS:
            return
        if life.faults_from_s:
            loop.call_later(life.faults_from_s, begin)
        else:
            begin()
        loop.call_later(life.faults_from_s + life.faults_for_s, end)

    async def _stoppable(self, someone: Someone, engine: SimEngine) -> None:
        try:
            await someone.run(engine)
        except (NodeStopped, LogStopped):
            pass
        except Exception as error:
            self._simulation.trace.note("".join(traceback.format_exception(error)))
            self._simulation.world.broken("caller", f"a caller was told what nobody should be: {error!r}")

    async def _until_the_end(self, engine: SimEngine, tasks: list[asyncio.Task[None]]) -> None:
        life = self._life
        failed = engine.loop.create_task(engine.failed())
        try:
            if life.ending == "stop":
                await asyncio.wait([failed], timeout=life.after)
                return
            limit_s = _LONGEST_WAIT_S if life.final else _LONGEST_LIFE_S
            waited: list[asyncio.Future[Any]] = [failed, asyncio.gather(*tasks, return_exceptions=True)]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED, timeout=limit_s)
            if life.final and not failed.done():
                await self._finish(engine, failed)
            elif not failed.done():
                await asyncio.wait([failed], timeout=60)
        finally:
            failed.cancel()

    async def _finish(self, engine: SimEngine, failed: asyncio.Task[Any]) -> None:
        """Let everything come to its end, errands with the turns that they have left; what is paused is resumed once."""
        simulation = self._simulation
        simulation.world.meddled = True
        await self._resume_paused(engine)
        resumed_again, seen_lsn, quiet_s, step_s = False, 0, 0.0, 0.05
        while not failed.done():
            left = engine.unfinished()
            left += [f"errand {each.check}" for each in simulation.errands if not each.done]
            left += [f"client with {client.requests[0].name}" for client in simulation.clients if client.requests]
            if not left:
                if simulation.scenario.forgets:
                    await self._judge_retention(engine)
                await self._judge_checkpoints(engine)
                self._judge(engine)
                return
            quiet_s = quiet_s + step_s if engine.applied_lsn == seen_lsn else 0.0
            seen_lsn = engine.applied_lsn
            if quiet_s > _QUIET_S:
                if simulation.scenario.incompatible_upgrade:
                    return  # what is left began under the other version
                if resumed_again:
                    simulation.world.broken("ends", f"{len(left)} do not come to their end: {left}")
                    return
                resumed_again, quiet_s = True, 0.0
                await self._resume_paused(engine)
            await asyncio.sleep(step_s)
            step_s = min(2 * step_s, 10.0)

    async def _judge_retention(self, engine: SimEngine) -> None:
        """What has ended is known to the cleaner from the next checkpoint on."""
        within_s = _FORGOTTEN_WITHIN_S + engine.settings.checkpoint_interval_ms / 1000
        await asyncio.sleep(2 * within_s)
        overdue_ms = engine.now_ms() - int(within_s * 1000)
        for tables in engine.store.tables:
            for seq in tables.with_status(Status.COMPLETED):
                row = tables.invocation(seq)
                if row is not None and row.expires_at_ms < overdue_ms:
                    self._simulation.world.broken("forgotten", f"{row.target} is kept beyond its retention")

    async def _judge_checkpoints(self, engine: SimEngine) -> None:
        """When nothing happens any more, everything is written down soon, and the log need not be kept."""
        await asyncio.sleep(2 * engine.settings.checkpoint_interval_ms / 1000 + _WRITTEN_WITHIN_S)
        broken, segments = self._simulation.world.broken, self._simulation.disk.names_in(f"{DATA}/log/segment-")
        if engine.phase is Phase.READY and engine.store.applied_lsn < engine.applied_lsn:
            broken("checkpoint", f"LSN {engine.applied_lsn} is not written down, but {engine.store.applied_lsn}")
        elif engine.phase is Phase.READY and len(segments) > _SEGMENTS_MAX:
            broken("checkpoint", f"everything is written down, and the log keeps {segments}")

    def _judge(self, engine: SimEngine) -> None:
        simulation = self._simulation
        self.everything_ended = True
        if self._app.open or len(engine.pool) or engine.pool.waiting or engine.pool.idle_bytes or len(engine.callers):
            simulation.world.broken("left", f"everything has ended, and in memory there are {engine.stats()}")
        with simulation.disk.unwatched():
            simulation.records.check_tables(engine)
        for client in simulation.clients:
            client.judge_end(engine)
        for errand in simulation.errands:
            errand.judge_end(engine)

    async def _resume_paused(self, engine: SimEngine) -> None:
        for tables in engine.store.tables:
            for seq in tables.with_status(Status.PAUSED):
                row = tables.invocation(seq)
                assert row is not None
                await engine.resume(row.id)

    def _look_over(self, engine: SimEngine) -> None:
        with self._simulation.disk.unwatched():
            try:
                engine.check_all()
            except PerdureError as broken:
                self._simulation.world.broken("invariants", str(broken))

    # --- how it ends --------------------------------------------------------------------------------------------------------

    def _refused(self, error: BaseException) -> None:
        simulation = self._simulation
        self.refused = True
        damage = simulation.damaged and _names_damage(error)
        if not (simulation.disk.dead or simulation.disk.errors or damage):
            simulation.world.broken("start", f"refused: {error}")
        if simulation.disk.locks and not simulation.disk.dead:
            simulation.world.broken("end", "the engine did not start, and its data directory is locked")
        simulation.trace.note(f"start refused: {type(error).__name__}")

    def _failed(self, error: BaseException | None, *, stopping: bool = False) -> None:
        """A full disk is no reason to fail; but a stop that cannot write its last checkpoint says so."""
        simulation = self._simulation
        disk = simulation.disk
        if simulation.damaged and _names_damage(error):
            simulation.over = True
        elif not (disk.dead or disk.errors > (0 if stopping else disk.refusals)):
            simulation.world.broken("failed", f"the engine failed: {error}")
        simulation.trace.note(f"failed: {type(error).__name__}")

    def _bury(self, loop: SimLoop, engine: SimEngine, main: asyncio.Task[None], mount: Mount) -> None:
        simulation = self._simulation
        world, disk, note = simulation.world, simulation.disk, simulation.trace.note
        if main.done() and not main.cancelled() and not disk.dead:
            error = main.exception()
            if error is not None and simulation.damaged and _names_damage(error):
                simulation.over = True
            elif error is not None:
                note("".join(traceback.format_exception(error)))
                world.broken("crash", f"{type(error).__name__}: {error}")
        for context in loop.errors:
            told = context.get("exception")
            known = _names_damage(told) and (simulation.over or disk.errors)  # the engine has failed by it
            if not disk.dead and not known:
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
        mount.unmount()
        disk.dead = False
        self.stopped = self.stopped and not self.crashed
        if self._life.power:
            disk.cut_power()


def _names_damage(error: BaseException | None) -> bool:
    """Whether the log or the store says that it cannot be read, as opposed to anything else going wrong."""
    return isinstance(error, PerdureError) and error.code.startswith(("PD01", "PD02"))


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
