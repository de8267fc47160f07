"""A node in memory that can die and come back, and clients that do not mind.

What always holds: a request of the scenario is made once, however often the node dies under it; ids and seeds are drawn so
that a run with a crash draws the same ones as a run without; steps run one after the other.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import hashlib
import itertools
import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar, cast

from perdure.client.errors import CallFailed, Refused
from perdure.client.operator import Operator
from perdure.client.transport import Existing, Invoke, Receipt
from perdure.embedded_operations import InProcessOperator, answers
from perdure.log.errors import LogStopped
from perdure.log.log import Log, OnDurable, OnFailure, OnRefused
from perdure.model.driver import App as DrivenApp
from perdure.model.ids import format_invocation_id, parse_awakeable_id
from perdure.model.journal import Failure, Result
from perdure.model.records import DeliverSignal, Record
from perdure.model.records import Invoke as InvokeRecord
from perdure.node.engine import Engine
from perdure.node.errors import NodeStopped
from perdure.node.requests import NewInvocation, Outcome
from perdure.node.settings import EngineSettings
from perdure.sdk.app import App
from perdure.sdk.service import Registry
from perdure.store.rows import Invocation, Status
from perdure.testing.clock import VirtualClock
from perdure.testing.crashes.log import AtRecord, CrashingLog, Disk
from perdure.testing.in_memory import ClockedEngine, InMemoryClient, InMemoryNode, SkippingTransport
from perdure.testing.mocking import Steps

T = TypeVar("T")


class CrashNode(InMemoryNode):
    """`crash` ends the engine as a kill would; another one starts at once on what the disk has."""

    def __init__(
        self,
        app: App | Iterable[Registry],
        *,
        clock: VirtualClock,
        dies_at: AtRecord | None,
        settings: EngineSettings,
        steps: Steps,
        watched: Callable[[DrivenApp], DrivenApp],
        on_append: Callable[[int, Record], None],
        on_restart: Callable[[], None],
    ) -> None:
        super().__init__(app, settings=settings, steps=steps)
        self.clock = clock
        clock.next_life = self.next_life
        self.disk = Disk(dies_at, on_append=self._appended, on_crash=self._crashed)
        self._on_append = on_append
        self.crashes = 0
        self.failure: BaseException | None = None
        """A restart that failed: the run is over."""
        self._watched = watched
        self._on_restart = on_restart
        self._random = RepeatableRandom()
        self._draws: dict[int, int] = {0: 0}
        self._alive = asyncio.Event()
        self._restarting: asyncio.Task[None] | None = None
        self._requests = itertools.count()
        operator = SurvivingOperator(self, InProcessOperator(lambda: self.engine))
        self.client = InMemoryClient(self, SurvivingTransport(self), cast(Operator, operator))

    async def start(self) -> None:
        self.real_loop = asyncio.get_running_loop()
        await self._begin_life()

    def make_engine(self) -> Engine:
        app = self._watched(self.driven_app())
        return CrashEngine(
            self.disk, self._settings, app, clock=self.clock, random=self._random, executor=JoinedExecutor()
        )

    async def stop(self, *, grace_s: float = 0.0) -> None:
        if self._restarting is not None:
            await asyncio.wait([self._restarting])
        await super().stop(grace_s=grace_s)

    def crash(self) -> None:
        log = self.engine.log
        assert isinstance(log, CrashingLog)
        log.crash()

    # --- lives ------------------------------------------------------------------------------------------------------------

    async def next_life(self) -> Engine:
        """The engine that runs, as soon as there is one."""
        await self._alive.wait()
        if self.failure is not None:
            raise self.failure
        return self.engine

    async def _begin_life(self) -> None:
        self._random.drawn = self._draws[self.disk.last_lsn]
        self._engine = self.make_engine()
        self._ingress = self._admin = None
        await self._engine.start()
        self._alive.set()

    def _appended(self, lsn: int, record: Record) -> None:
        self._draws[lsn] = self._random.drawn
        self._on_append(lsn, record)

    def _crashed(self) -> None:
        self.crashes += 1
        self._alive.clear()
        self._restarting = asyncio.get_running_loop().create_task(self._restart(), name="perdure-test-restart")

    async def _restart(self) -> None:
        try:
            await self.engine.stop()
            self._on_restart()
            await self._begin_life()
        except BaseException as error:
            self.failure = error
            self._alive.set()
            raise

    # --- what the end of a run is judged by -------------------------------------------------------------------------------

    def rows(self) -> list[Invocation]:
        """All invocations, in the order in which they were accepted."""
        found = []
        for tables in self.engine.store.tables:
            for seq in range(1, tables.meta.next_seq):
                row = tables.invocation(seq)
                if row is not None:
                    found.append(row)
        return found

    def paused(self) -> list[Invocation]:
        return [row for row in self.rows() if row.status is Status.PAUSED]

    def state(self) -> dict[str, dict[str, bytes]]:
        """Everything that objects and workflows keep, by `service/key`."""
        found: dict[str, dict[str, bytes]] = {}
        for row in self.rows():
            target = row.target
            if target.key is not None:
                state = self.engine.state_of(target.service, target.key)
                found[f"{target.service}/{target.key}"] = state
        return found

    def new_request(self) -> str:
        return f"perdure-scenario={next(self._requests)}"


class CrashEngine(ClockedEngine):
    def __init__(self, disk: Disk, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._disk = disk

    def memory_log(self, on_durable: OnDurable, on_failure: OnFailure, on_refused: OnRefused) -> Log:
        return CrashingLog(
            self._disk, loop=self.loop, on_durable=on_durable, on_failure=on_failure, on_refused=on_refused
        )


class SurvivingTransport(SkippingTransport):
    """Asks again after a crash, unless the log says that the request had been accepted."""

    def __init__(self, node: CrashNode) -> None:
        super().__init__(node)
        self._crashing = node

    async def call(self, invoke: Invoke) -> bytes:
        request = self._request(invoke)

        async def ask(engine: Engine) -> Outcome:
            accepted = self._accepted(request)
            return await (engine.call(request) if accepted is None else engine.attach(accepted))

        with self._clock.somebody_waits():
            return _value(await self._ask(ask))

    async def send(self, invoke: Invoke) -> Receipt:
        request = self._request(invoke)

        async def ask(engine: Engine) -> Receipt:
            accepted = self._accepted(request)
            if accepted is not None:
                return Receipt(format_invocation_id(accepted), False)
            answer = await engine.send(request)
            return Receipt(format_invocation_id(answer.invocation_id), answer.duplicate)

        return await self._ask(ask)

    async def attach(self, existing: Existing) -> bytes:
        with self._clock.somebody_waits():
            return _value(await self._ask(lambda engine: engine.attach(self._id_of(existing))))

    async def output(self, existing: Existing) -> bytes | None:
        outcome = await self._ask(lambda engine: engine.output(self._id_of(existing)))
        return None if outcome is None else _value(outcome)

    async def complete(self, awakeable_id: str, value: Result) -> None:
        from_lsn = self._crashing.disk.last_lsn + 1
        invocation_id, number = parse_awakeable_id(awakeable_id)

        async def ask(engine: Engine) -> None:
            if not self._told(from_lsn, invocation_id, number):
                await engine.signal(invocation_id, number, value)

        await self._ask(ask)

    # --- inside -----------------------------------------------------------------------------------------------------------

    async def _ask(self, ask: Callable[[Engine], Awaitable[T]]) -> T:
        while True:
            engine = await self._crashing.next_life()
            lives = self._crashing.crashes
            try:
                with answers():
                    return await _raising_stops(ask(engine))
            except _Died:
                if lives == self._crashing.crashes:
                    raise

    def _request(self, invoke: Invoke) -> NewInvocation:
        return NewInvocation(
            invoke.target,
            invoke.body,
            invoke.content_type,
            invoke.headers,
            invoke.idempotency_key,
            invoke.delay_ms,
            tracestate=self._crashing.new_request(),
        )

    def _accepted(self, request: NewInvocation) -> bytes | None:
        for _, record in self._crashing.disk.records():
            if isinstance(record, InvokeRecord) and record.request.tracestate == request.tracestate:
                return record.request.invocation_id
        return None

    def _told(self, from_lsn: int, invocation_id: bytes, signal: int | str) -> bool:
        return any(
            isinstance(record, DeliverSignal) and (record.invocation_id, record.signal_id) == (invocation_id, signal)
            for _, record in self._crashing.disk.records(from_lsn)
        )


class SurvivingOperator:
    """Asks again after a crash. What had been done before it is done once more; it is the last word that counts."""

    def __init__(self, node: CrashNode, operator: Operator) -> None:
        self._node = node
        self._operator = operator

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        operation = getattr(self._operator, name)

        async def ask(*arguments: Any, **named: Any) -> Any:
            while True:
                await self._node.next_life()
                try:
                    return await operation(*arguments, **named)
                except Refused as refused:
                    if not isinstance(refused.__cause__, NodeStopped):
                        raise
                    await asyncio.sleep(0)

        return ask


class _Died(Exception):
    """The engine went away under a request."""


async def _raising_stops(answer: Awaitable[T]) -> T:
    try:
        return await answer
    except (NodeStopped, LogStopped) as error:
        raise _Died(str(error)) from error


def _value(outcome: Outcome) -> bytes:
    result = outcome.result
    if isinstance(result, Failure):
        raise CallFailed(result.message, result.code, result.metadata)
    return result or b""


class RepeatableRandom:
    """The nth draw is always the same; after a crash it goes on behind the draws that the log holds."""

    def __init__(self) -> None:
        self.drawn = 0

    def bytes(self, count: int) -> bytes:
        self.drawn += 1
        return hashlib.shake_128(f"perdure {self.drawn}".encode()).digest(count)

    def fraction(self) -> float:
        return 0.5


class JoinedExecutor:
    """Work runs on a thread, and everything else waits for it: the same order in every run."""

    def submit(self, name: str, work: Callable[[], T]) -> concurrent.futures.Future[T]:
        future: concurrent.futures.Future[T] = concurrent.futures.Future()

        def run() -> None:
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)

        if name == "steps":
            thread = threading.Thread(target=run, name="perdure-test-step")
            thread.start()
            thread.join()
        else:
            run()
        return future

    def submit_process(self, work: Callable[[], T], *, timeout_s: float | None) -> concurrent.futures.Future[T]:
        return self.submit("steps", work)

    def shutdown(self, *, wait: bool) -> None:
        pass
