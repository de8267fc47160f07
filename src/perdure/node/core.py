"""The core of a running engine: it joins log, store, partitions and invoker, starts and stops them.

The loop of the house (DESIGN 1): whoever wants something proposes a record; the log makes it durable; `Performer` applies
it and performs the actions. This file is start, stop and the few services that rooms below need; what an engine can be
asked is in `engine`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

from perdure.env.clock import Clock, SystemClock
from perdure.env.executor import Executor, ThreadExecutor
from perdure.env.files import Files, SystemFiles
from perdure.env.random import Random, SystemRandom
from perdure.env.watchdog import LoopWatchdog
from perdure.invoker.pool import AttemptPool
from perdure.invoker.remote.connection import Bounds
from perdure.invoker.remote.identity import load_identity
from perdure.invoker.remote.transport import Transport
from perdure.log.errors import RecordRefused
from perdure.log.log import Log, OnDurable, OnFailure, OnRefused
from perdure.log.memory import MemoryLog
from perdure.log.segment_log import SegmentLog
from perdure.model.deployment import Deployment
from perdure.model.driver import App
from perdure.model.errors import PerdureError
from perdure.model.limits import TIMERS_IN_MEMORY_MAX
from perdure.model.records import Forget, Progress, Record, TimersFired
from perdure.model.service import HandlerSpec, ServiceSpec
from perdure.node.callers import Callers
from perdure.node.checkpoints import Checkpoints
from perdure.node.cleaner import Cleaner
from perdure.node.data_directory import DataDirectory
from perdure.node.errors import ApplyFailed, NodeStopped
from perdure.node.performer import Performer, Reply
from perdure.node.phase import Phase
from perdure.node.recovery import Backlog, Recovered, replay, take_up
from perdure.node.registry import Registry
from perdure.node.settings import EngineSettings
from perdure.node.timers import Timers
from perdure.partition.actions import Action
from perdure.store.rows import Invocation, JournalChunk
from perdure.store.store import Store

_logger = logging.getLogger("perdure.node")
_SWEEP_S = 1.0
_SLEEP_ROUNDS_MAX = 100
"""Batches that a stop waits for at most; whoever goes on for longer starts again after it."""
_SET_BACK_MS = 1_000
"""A clock that is behind by more than this has been set back; by less, time waits for it."""


class Core:
    """Made on the event loop that it will run on. `start` before anything else; `stop` once."""

    loop: asyncio.AbstractEventLoop
    store: Store
    log: Log
    transport: Transport
    pool: AttemptPool
    timers: Timers
    performer: Performer
    backlog: Backlog

    def __init__(
        self,
        settings: EngineSettings,
        app: App | None,
        *,
        clock: Clock | None = None,
        files: Files | None = None,
        random: Random | None = None,
        executor: Executor | None = None,
        sqlite_vfs: str | None = None,
    ) -> None:
        self.settings = settings
        self.app = app
        self.registry = Registry((), settings) if app is None else Registry(app.services(), settings, app.identity)
        self.phase = Phase.STARTING
        self.callers = Callers()
        self.room = asyncio.Event()
        """Set when the store has caught up with the load."""
        self.replies_waiting: set[asyncio.Future[list[Action]]] = set()
        """Requests whose record is not applied yet."""
        self.recovered: Recovered | None = None
        self.clock: Clock = clock or SystemClock()
        self.files: Files = files or SystemFiles()
        self.random: Random = random or SystemRandom()
        self.executor: Executor = executor or ThreadExecutor(settings.step_threads, settings.step_processes)
        self._sqlite_vfs = sqlite_vfs
        self.partitions = 1
        self.may_start_steps = True
        self.ingress_url = settings.ingress_url
        """Set by whoever opens the port, where the settings do not name it."""
        self._now_ms = 0
        self._ahead_ms = 0
        self._released = False
        self._directory: DataDirectory | None = None
        self._changed = asyncio.Event()
        self._failure: PerdureError | None = None
        self._sweep_handle: asyncio.TimerHandle | None = None
        self._watchdog: LoopWatchdog | None = None

    # --- start and stop ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the data, bring the tables up to the log's end, take up what was under way. Errors: PerdureError."""
        self.loop = asyncio.get_running_loop()
        began = self.clock.monotonic()
        try:
            await self._open()
            recovered = Recovered()
            await replay(self, recovered)
            for deployment in self.store.tables[0].deployments().values():
                self.registry.changed(deployment.id, deployment)
            self._now_ms = max([self._now_ms, *(tables.meta.now_ms for tables in self.store.tables)])
            take_up(self, recovered)
        except BaseException as error:
            self._fail(error if isinstance(error, PerdureError) else NodeStopped(f"the start failed: {error!r}."))
            await self._leave()
            raise
        recovered.seconds = self.clock.monotonic() - began
        self.recovered = recovered
        self._checkpoints.start()
        self._cleaner.start()
        self._sweep()
        if self.settings.loop_stall_ms:
            own = str(Path(__file__).parents[1])
            self._watchdog = LoopWatchdog(self.loop, self.settings.loop_stall_ms / 1000, self._stalled, (own,))
        self._enter(Phase.READY)

    async def _open(self) -> None:
        settings = self.settings
        if settings.data is None:
            self.partitions = settings.partitions or 1
            self.store = Store.open(None, self.partitions, executor=self.executor)
            self.log = self.memory_log(self._on_durable, self._fail, self._on_refused)
        else:
            self._directory = directory = DataDirectory(settings.data, self.files, settings.partitions)
            self.partitions = directory.partitions
            self.store = Store.open(
                str(directory.store),
                self.partitions,
                executor=self.executor,
                vfs=self._sqlite_vfs,
                on_failure=self._fail,
            )
            self.log = await SegmentLog.open(
                self.files,
                directory.log,
                loop=self.loop,
                executor=self.executor,
                clock=self.clock,
                random=self.random,
                durability=settings.durability,
                on_durable=self._on_durable,
                on_failure=self._fail,
                on_refused=self._on_refused,
                checkpoint_lsn=self.store.applied_lsn,
                segment_bytes=settings.segment_bytes,
            )
        key = settings.request_identity_private_key_pem_file
        self.transport = Transport(
            bounds=Bounds(
                connect_s=settings.deployment_connect_timeout_ms / 1000,
                ping_interval_s=settings.deployment_ping_interval_ms / 1000,
                ping_timeout_s=settings.deployment_ping_timeout_ms / 1000,
            ),
            identity=None if key is None else load_identity(self.files, key, self.clock),
        )
        self.pool = AttemptPool(
            self,
            self.app,
            attempts_max=settings.concurrent_attempts_max,
            idle_bytes_max=settings.idle_attempts_bytes_max,
            always_replay=settings.always_replay,
            transport=self.transport,
            protocol_version_max=settings.protocol_version_max,
        )
        self.timers = Timers(
            self.loop, self.now_ms, self.store.tables, self._fire_timers, in_memory_max=TIMERS_IN_MEMORY_MAX
        )
        self.performer = Performer(self)
        self.backlog = Backlog(self)
        self._checkpoints = Checkpoints(
            self.loop,
            self.store,
            self.log,
            lambda: self.performer.applied_lsn,
            self._fail,
            self._checkpoint_done,
            interval_ms=settings.checkpoint_interval_ms,
        )
        self._cleaner = Cleaner(
            self.loop,
            self.store,
            self._forget,
            self.now_ms,
            interval_ms=settings.cleanup_interval_ms,
            bytes_max=settings.retention_bytes_max,
        )

    def memory_log(self, on_durable: OnDurable, on_failure: OnFailure, on_refused: OnRefused) -> Log:
        """The log of an engine without a data directory; tests give it another."""
        return MemoryLog(loop=self.loop, on_durable=on_durable, on_failure=on_failure, on_refused=on_refused)

    async def checkpoint_while_replaying(self) -> None:
        await self._checkpoints.write()

    async def ready(self) -> None:
        """Return when the engine takes requests. Errors: NodeStopped when it never will."""
        while self.phase is Phase.STARTING:
            await self._changed.wait()
        if self.phase is not Phase.READY:
            raise self._stopped()

    async def failed(self) -> PerdureError | None:
        """Return when the engine has ended: the error if it failed, None after a stop."""
        while self.phase not in (Phase.STOPPED, Phase.FAILED):
            await self._changed.wait()
        return self._failure

    async def stop(self, *, grace_s: float = 10.0) -> None:
        """End in order: no new work, running steps get the grace, the tables are written to the end of the log.

        After a failure it only lets go of the data directory. Errors: PerdureError when the end could not be written.
        """
        if self.phase is Phase.FAILED:
            await self._leave()
        if self.phase is not Phase.READY:
            return
        self._enter(Phase.STOPPING)
        self.pool.accepting = self.may_start_steps = False
        self.timers.close()
        self._cleaner.close()
        if self._sweep_handle is not None:
            self._sweep_handle.cancel()
        self.pool.leave_elsewhere()
        await self._let_steps_finish(grace_s)
        self.callers.fail(self._stopped)
        try:
            await self._put_to_sleep()
            self.pool.close()
            await self.transport.close()
            await self._checkpoints.last()
            await self.log.close(clean=True)
        except PerdureError as error:
            self._fail(error)
            await self._leave()
            raise
        self._release()
        self._enter(Phase.STOPPED)

    async def _put_to_sleep(self) -> None:
        """Suspend what only waits, until the log is at rest: what one batch brings may let a handler go on to its next wait."""
        for _ in range(_SLEEP_ROUNDS_MAX):
            await self.log.sync()
            self.pool.suspend_all()
            if self.log.durable_lsn == self.log.next_lsn - 1:
                break

    async def _let_steps_finish(self, grace_s: float) -> None:
        deadline = self.loop.time() + grace_s
        while self.pool.busy and self.phase is Phase.STOPPING and self.loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async def _leave(self) -> None:
        """Give up what a failed engine still holds. What cannot be closed in order any more is left to the next start."""
        if self._released:
            return
        if hasattr(self, "transport"):
            await self.transport.close()
        if hasattr(self, "log"):
            with contextlib.suppress(PerdureError, OSError):
                await self.log.close(clean=False)
        self._release()

    def _release(self) -> None:
        if self._released:
            return
        self._released = True
        if self._watchdog is not None:
            self._watchdog.close()
        if hasattr(self, "store"):
            self.store.close()
        self.executor.shutdown(wait=False)
        if self._directory is not None:
            self._directory.release()

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        self.room.set()  # whoever waits for it looks at the phase again

    def _fail(self, error: PerdureError) -> None:
        """The log or the store can no longer be trusted: stop at once, tell everybody, repair nothing."""
        if self.phase in (Phase.FAILED, Phase.STOPPED):
            return
        self._failure = error
        self._enter(Phase.FAILED)
        self.callers.fail(self._stopped)
        for waiting in self.replies_waiting:
            if not waiting.done():
                waiting.set_exception(self._stopped())
        for name in ("timers", "_checkpoints", "_cleaner", "pool"):
            part = getattr(self, name, None)
            if part is not None:
                part.close()
        if self._sweep_handle is not None:
            self._sweep_handle.cancel()

    def _stopped(self) -> NodeStopped:
        if self._failure is not None:
            return NodeStopped(f"the node has failed: {self._failure}")
        return NodeStopped("the node stops.", "Try again when it is back.")

    # --- what rooms below need (invoker.Host) -------------------------------------------------------------------------------

    def now_ms(self) -> int:
        """Unix time that never goes back. When the clock is set back, time goes on from where it was: otherwise every sleep
        would take longer by as much."""
        now_ms = self.clock.now_ms() + self._ahead_ms
        if now_ms > self._now_ms:
            self._now_ms = now_ms
        elif self._now_ms - now_ms > _SET_BACK_MS:
            self._ahead_ms += self._now_ms - now_ms
        return self._now_ms

    def propose(self, record: Record, *, awaited: bool, reply: Reply | None = None) -> int:
        lsn = self.log.append(record, awaited=awaited)
        if reply is not None:
            self.performer.replies[lsn] = reply
        return lsn

    def is_pending(self, lsn: int) -> bool:
        return self.log.is_pending(lsn)

    def hurry(self) -> None:
        self.log.hurry()

    @property
    def applied_lsn(self) -> int:
        return self.performer.applied_lsn

    def resolve(self, service: str, handler: str) -> tuple[ServiceSpec, HandlerSpec]:
        return self.registry.resolve(service, handler)

    def place(self, row: Invocation) -> tuple[HandlerSpec, Deployment | None]:
        return self.registry.place(row)

    def accepted_by(self, service: str) -> str | None:
        return self.registry.accepted_by(service)

    def invocation(self, partition: int, seq: int) -> Invocation | None:
        return self.store.tables[partition].invocation(seq)

    def journal(self, partition: int, seq: int) -> JournalChunk:
        return self.store.tables[partition].journal(seq)

    def state(self, partition: int, service: str, key: str) -> dict[str, bytes]:
        return self.store.tables[partition].state(service, key)

    # --- between batches ----------------------------------------------------------------------------------------------------

    def _on_durable(self, first_lsn: int, records: list[Record]) -> None:
        if self.phase is Phase.FAILED:
            return  # the tables may lack a record before these: the next start applies them all
        try:
            self.performer.batch(first_lsn, records)
        except PerdureError as error:
            self._fail(error)
        except Exception as error:
            # What is applied by now cannot be told from what is not: only a restart from the log can.
            _logger.exception("a record could not be applied")
            self._fail(ApplyFailed(f"a record behind LSN {first_lsn - 1} could not be applied: {error!r}."))

    def _on_refused(self, lsn: int, record: Record, error: RecordRefused) -> None:
        """A record grew too large while it was pending: its LSN stays unused, and its proposer hears of it."""
        self.performer.replies.pop(lsn, None)
        if isinstance(record, Progress):
            self.pool.refuse(record.partition, record.seq, record.epoch, error)
        else:
            _logger.error("LSN %d: %s", lsn, error)

    def after_batch(self, records: list[Record]) -> None:
        """Turns run here, once the whole batch has been applied."""
        if self._cleaner.asking:
            for record in records:
                if type(record) is Forget:
                    self._cleaner.forgotten(record)
        if self.store.active_bytes > self.settings.layer_bytes_max:
            self._checkpoints.now()
            self.pool.throttled = self.store.active_bytes > 2 * self.settings.layer_bytes_max
        self.pool.run()
        if self.backlog and self.pool.accepting:
            self.backlog.take_up()
        self.pool.settle()

    def _checkpoint_done(self) -> None:
        if self.pool.throttled:
            self.pool.throttled = False
            self.room.set()
            self.loop.call_soon(self.pool.run)

    def _fire_timers(self, partition: int, keys: list[tuple[int, int, int]]) -> None:
        self.propose(TimersFired(partition, self.now_ms(), keys), awaited=True)

    def _forget(self, record: Forget) -> None:
        self.propose(record, awaited=False)

    def _sweep(self) -> None:
        self._sweep_handle = self.loop.call_later(_SWEEP_S, self._sweep)
        self.pool.sweep(self.loop.time())

    def _stalled(self, frame: str, stack: str) -> None:
        _logger.warning(
            "The node's loop has been blocked for more than %d ms at %s: nothing else runs meanwhile. "
            'Move such work into a step that is a plain `def` function, or one with pool="process" (docs/heavy-work.md).\n%s',
            self.settings.loop_stall_ms,
            frame,
            stack,
        )

    def stats(self) -> dict[str, int]:
        """Plain counters for people and tests."""
        meta = [tables.meta for tables in self.store.tables]
        return {
            "applied_lsn": self.performer.applied_lsn,
            "checkpoint_lsn": self.store.applied_lsn,
            "invocations": sum(m.next_seq - 1 for m in meta),
            "finished_kept": sum(m.finished for m in meta),
            "finished_bytes": sum(m.finished_bytes for m in meta),
            "attempts": len(self.pool),
            "attempts_waiting": self.pool.waiting,
            "attempts_idle_bytes": self.pool.idle_bytes,
            "callers": len(self.callers),
            "layer_bytes": self.store.active_bytes,
        }
