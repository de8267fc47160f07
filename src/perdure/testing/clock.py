"""`VirtualClock`: the time of a node in a test. It stands still until the test moves it, or waits for a result.

What always holds: time moves only when the engine has nothing left to do, from one due thing to the next, so that sleeps,
timeouts, delayed sends and retries happen in the order and at the time in which they would.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING

from perdure.model.errors import PerdureError
from perdure.node.phase import Phase
from perdure.testing.clocked_loop import ClockedLoop

if TYPE_CHECKING:
    from perdure.node.engine import Engine

_log = logging.getLogger("perdure.testing")

_PASSES = 20
"""Rounds of the event loop in which nothing happens, after which the test's own code is taken to wait as well."""
_STEP_PATIENCE_S = 1.0
"""Real time that a running step is waited for before time moves without it."""
_SILENCE_S = 5.0
_STOPS_AT_ONE_TIME_MAX = 10_000


class TimeStuck(PerdureError):
    """Something is due again and again without time passing."""

    code = "PD0801"


class VirtualClock:
    """Read it with `now`, move it with `advance`. Units: Unix time in milliseconds inside."""

    def __init__(self, start: datetime.datetime | None = None, *, skips: bool = True) -> None:
        start = datetime.datetime.now(datetime.UTC) if start is None else start
        self._start_ms = int(start.timestamp() * 1000)
        self._skips = skips
        self._held = 0
        self._waiting = 0
        self._loop: ClockedLoop | None = None
        self._engine: Engine | None = None
        self._skipper: asyncio.Task[None] | None = None
        self.next_life: Callable[[], Awaitable[object]] | None = None
        """Set where an engine that has died comes back: returns when it has."""

    # --- for tests --------------------------------------------------------------------------------------------------------

    def now(self) -> datetime.datetime:
        """The time that handlers and the engine see."""
        return datetime.datetime.fromtimestamp(self.now_ms() / 1000, datetime.UTC)

    async def advance(
        self,
        delta: datetime.timedelta | None = None,
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
        milliseconds: float = 0,
    ) -> None:
        """Let this much time pass: everything that falls due happens, in order, and what follows from it."""
        span = datetime.timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds)
        total = span + (delta or datetime.timedelta())
        if total < datetime.timedelta():
            raise ValueError("time does not go back")
        target_ms = self.now_ms() + round(total / datetime.timedelta(milliseconds=1))
        with self.held():
            await self.settle()
            at_once = 0
            while (stop_ms := self._next_stop_ms()) is not None and stop_ms <= target_ms:
                at_once = at_once + 1 if stop_ms <= self.now_ms() else 0
                if at_once > _STOPS_AT_ONE_TIME_MAX:
                    raise TimeStuck(
                        f"something is due at {self.now()} again and again.", "Look for a timer without delay."
                    )
                self._move(stop_ms)
                await self.settle()
            self._move(target_ms)
            await self.settle()

    async def settle(self) -> None:
        """Let everything happen that can happen without time passing.

        A step that waits for something else than time (a thread, the network) is waited for, up to a second.
        """
        while True:
            loop, engine = self._parts()
            if _away(engine):
                if self.next_life is None:
                    return
                await self.next_life()
            elif loop.outstanding:
                await asyncio.sleep(0)
            elif not engine.pool.busy or not await self._let_steps_run(loop):
                return

    @contextlib.contextmanager
    def held(self) -> Generator[None, None, None]:
        """Within the block only `advance` moves time, also while the test waits for results."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
            if self._loop is not None:
                self._loop.wake()

    # --- for the engine (env.Clock) ---------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        return self._start_ms + (0 if self._loop is None else self._loop.elapsed_ms)

    def monotonic(self) -> float:
        return 0.0 if self._loop is None else self._loop.time()

    # --- for the node -----------------------------------------------------------------------------------------------------

    def drives(self, engine: Engine, loop: ClockedLoop) -> None:
        """The engine that starts now; after a crash another one, in which time goes on."""
        if self._loop is not None:
            loop.elapsed_ms = self._loop.elapsed_ms
            self._loop.wake()  # whoever waits for it waits for the other from now on
        self._engine, self._loop = engine, loop

    @contextlib.contextmanager
    def somebody_waits(self) -> Generator[None, None, None]:
        """The test waits for a result: time may skip to what brings it nearer."""
        self._waiting += 1
        if self._skips and (self._skipper is None or self._skipper.done()):
            self._skipper = asyncio.get_running_loop().create_task(self._skip(), name="perdure-time-skipping")
        try:
            yield
        finally:
            self._waiting -= 1
            if not self._waiting and self._skipper is not None:
                self._skipper.cancel()
                self._skipper = None

    # --- inside -----------------------------------------------------------------------------------------------------------

    async def _skip(self) -> None:
        said = False
        while True:
            await self.settle()
            loop, engine = self._parts()
            if _away(engine) or self._held:
                await loop.until_active(_SILENCE_S)
                continue
            if not await self._test_waits_too(loop) or _away(engine):
                continue
            stop_ms = self._next_stop_ms()
            if stop_ms is not None:
                self._move(stop_ms)
            elif not await loop.until_active(_SILENCE_S) and not said:
                said = True
                _log.warning("A test waits for a result, but nothing is due: somebody has to resolve, signal or call.")

    async def _test_waits_too(self, loop: ClockedLoop) -> bool:
        before = loop.activity
        for _ in range(_PASSES):
            await asyncio.sleep(0)
            if loop.activity != before:
                return False
        return True

    async def _let_steps_run(self, loop: ClockedLoop) -> bool:
        """True when something came of it; False when the running steps wait, for time or for longer than we do."""
        if not await self._test_waits_too(loop):
            return True
        if loop.next_of_a_step() is not None:
            return False
        return await loop.until_active(_STEP_PATIENCE_S)

    def _next_stop_ms(self) -> int | None:
        loop, engine = self._parts()
        due = [timer.key[0] for tables in engine.store.tables for timer in tables.timers_after((0, 0, 0), 1)]
        of_a_step = loop.next_of_a_step()
        if of_a_step is not None:
            due.append(self._start_ms + of_a_step)
        return min(due, default=None)

    def _move(self, to_ms: int) -> None:
        loop, _ = self._parts()
        loop.move_to(to_ms - self._start_ms)

    def _parts(self) -> tuple[ClockedLoop, Engine]:
        if self._loop is None or self._engine is None:
            raise RuntimeError("the clock belongs to a node that has not been started")
        return self._loop, self._engine


def _away(engine: Engine) -> bool:
    return engine.phase is not Phase.READY
