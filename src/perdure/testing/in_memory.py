"""`node`: an engine in memory for one test, in milliseconds, with a clock that the test moves and steps it can replace.

    async with perdure.testing.node(app) as node:
        node.mock_step("charge", returning="receipt")
        assert await node.client.service_call(buy, "4242") == "receipt"

The real engine, without disk, network or server; the handlers are those of the app. Time: see `clock`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import datetime
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self, TypeVar, cast

from perdure.client.client import Client
from perdure.client.operator import Operator
from perdure.client.transport import Existing, Invoke, Transport
from perdure.embedded import InProcess, Node, NodeClient
from perdure.embedded_operations import InProcessOperator
from perdure.env.executor import ThreadExecutor
from perdure.model.driver import App as DrivenApp
from perdure.node.engine import Engine
from perdure.node.settings import EngineSettings
from perdure.sdk.app import App
from perdure.sdk.service import Registry
from perdure.testing.clock import VirtualClock
from perdure.testing.clocked_loop import ClockedLoop
from perdure.testing.mocking import _MISSING, StepCall, StepMock, Steps, WatchedApp

T = TypeVar("T")


class ClockedEngine(Engine):
    """An engine whose timers go by a virtual clock."""

    _clocked: ClockedLoop

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return cast(asyncio.AbstractEventLoop, self._clocked)

    @loop.setter
    def loop(self, loop: asyncio.AbstractEventLoop) -> None:
        self._clocked = ClockedLoop(loop)
        assert isinstance(self.clock, VirtualClock)
        self.clock.drives(self, self._clocked)


class StepThreads(ThreadExecutor):
    """Threads for `def` steps only: nothing else of an engine in memory takes long enough to need one."""

    def submit(self, name: str, work: Callable[[], T]) -> concurrent.futures.Future[T]:
        if name == "steps":
            return super().submit(name, work)
        done: concurrent.futures.Future[T] = concurrent.futures.Future()
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)
        return done


class InMemoryNode(Node):
    """See `node`. `clock` moves its time; `step_calls` are the bodies of steps that ran, in order."""

    clock: VirtualClock

    def __init__(
        self,
        app: App | Iterable[Registry] = (),
        *,
        always_replay: bool = False,
        skip_time: bool = True,
        start: datetime.datetime | None = None,
        settings: EngineSettings | None = None,
        steps: Steps | None = None,
    ) -> None:
        settings = dataclasses.replace(settings or EngineSettings(), data=None, loop_stall_ms=0)
        if always_replay:
            settings = dataclasses.replace(settings, always_replay=True)
        super().__init__(app, settings=settings)
        self.clock = VirtualClock(start, skips=skip_time)
        self._steps = steps or Steps()
        self._steps.now_s = lambda: self.clock.now_ms() / 1000
        self.client = InMemoryClient(self)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def start(self) -> None:
        self._engine = self.make_engine()
        self._ingress = self._admin = None
        await self._engine.start()

    async def stop(self, *, grace_s: float = 0.0) -> None:
        """Nothing outlives the test: steps that still run are not waited for."""
        await super().stop(grace_s=grace_s)

    def make_engine(self) -> Engine:
        threads = StepThreads(self._settings.step_threads, self._settings.step_processes)
        return ClockedEngine(self._settings, self.driven_app(), clock=self.clock, executor=threads)

    def driven_app(self) -> DrivenApp:
        """The app as the engine gets it."""
        return WatchedApp(self._app, self._steps)

    @property
    def step_calls(self) -> Sequence[StepCall]:
        return self._steps.calls

    def mock_step(
        self,
        name: str,
        *,
        returning: Any = _MISSING,
        raising: BaseException | type[BaseException] | Sequence[BaseException | type[BaseException]] | None = None,
        calling: Callable[..., Any] | None = None,
        times: int | None = None,
        where: Callable[[StepCall], bool] | None = None,
    ) -> StepMock:
        """Have the steps of this name do something else than their function, from now on.

        `returning` a value; `raising` an error, or a row of errors, one for each try, after which the step itself runs;
        `calling` a function, plain or async, with the step's arguments. `times`: for so many tries only. `where` chooses
        among the steps of the name. The newest stand-in counts. Its `calls` are recorded.
        """
        return self._steps.mock(name, returning=returning, raising=raising, calling=calling, times=times, where=where)

    async def settle(self) -> None:
        """Let everything happen that can happen without time passing."""
        await self.clock.settle()


class InMemoryClient(NodeClient):
    """Waiting for a result lets the node's time skip to what brings it nearer."""

    def __init__(
        self, node: InMemoryNode, transport: Transport | None = None, operator: Operator | None = None
    ) -> None:
        Client.__init__(
            self,
            transport or SkippingTransport(node),
            operator or InProcessOperator(lambda: node.engine),
            node.app.codec,
        )
        self._node = node


class SkippingTransport(InProcess):
    def __init__(self, node: InMemoryNode) -> None:
        super().__init__(lambda: node.engine)
        self._clock = node.clock

    async def call(self, invoke: Invoke) -> bytes:
        with self._clock.somebody_waits():
            return await super().call(invoke)

    async def attach(self, existing: Existing) -> bytes:
        with self._clock.somebody_waits():
            return await super().attach(existing)


def node(
    app: App | Iterable[Registry],
    *,
    always_replay: bool = False,
    skip_time: bool = True,
    start: datetime.datetime | None = None,
    settings: EngineSettings | None = None,
) -> InMemoryNode:
    """An engine in memory with the handlers of `app`, to use in `async with`.

    `always_replay`: a handler is dropped from memory at each wait and replayed, which finds those that do not replay.
    Its time begins at `start` (now, if that is not given) and stands still, unless the test waits for a result: then, with
    `skip_time`, it skips to the next thing that is due. `await node.clock.advance(days=3)` moves it.
    """
    return InMemoryNode(app, always_replay=always_replay, skip_time=skip_time, start=start, settings=settings)
