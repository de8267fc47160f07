"""The event loop as an engine under a virtual clock sees it: the test's own loop, with timers that wait for that clock.

Callbacks, tasks and futures are those of the real loop, so that a test and its engine run on the same one. What always
holds: a timer runs only when the clock has been moved to it, from a plain callback of the real loop, in the order of its
time and of its creation. `asyncio.sleep` and timeouts inside an async step go by the virtual clock too; those of the test
itself do not.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
import math
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from perdure.model.limits import BATCH_LINGER_MS

T = TypeVar("T")

_step_timers: contextvars.ContextVar[ClockedLoop | None] = contextvars.ContextVar("perdure_step_timers", default=None)


class ClockedTimer(asyncio.TimerHandle):
    """Due at `due_ms` of the virtual clock; `of_step`: somebody's step waits for it."""

    _cancelled: bool
    _callback: Callable[..., Any]
    _args: tuple[Any, ...]
    _context: contextvars.Context

    def __init__(
        self,
        due_ms: int,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context | None,
        of_step: bool,
    ) -> None:
        asyncio.Handle.__init__(self, callback, args, loop, context)
        self.due_ms = due_ms
        self.of_step = of_step

    def cancel(self) -> None:
        self._cancelled = True

    def when(self) -> float:
        return self.due_ms / 1000

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        return f"<ClockedTimer at {self.due_ms} ms>"


class ClockedLoop:
    """Passed to an engine as its loop. Units: milliseconds since this loop was made, which is what `time` shows in seconds."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timers: list[tuple[int, int, ClockedTimer]] = []
        self._numbers = itertools.count()
        self.elapsed_ms = 0
        self.outstanding = 0
        """Callbacks of the engine that are due and have not run."""
        self.activity = 0
        """Grows whenever something is scheduled."""
        self._changed = asyncio.Event()
        _let_steps_follow(loop)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    # --- what an engine uses ----------------------------------------------------------------------------------------------

    def time(self) -> float:
        return self.elapsed_ms / 1000

    def call_soon(
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        self._active()
        self.outstanding += 1
        return self._loop.call_soon(self._run, callback, args, context=context)

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        # Rounded first, so that a float's noise does not cost a millisecond.
        delay_ms = math.ceil(round(delay * 1000, 3))
        if delay_ms <= BATCH_LINGER_MS:
            delay_ms = 0  # how long records wait for company is no time that a test should have to let pass
        return self._at(self.elapsed_ms + delay_ms, callback, args, context, of_step=False)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self._at(math.ceil(round(when * 1000, 3)), callback, args, context, of_step=False)

    def create_task(
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: contextvars.Context | None = None
    ) -> asyncio.Task[T]:
        """A step, most of the time: its own timers go by this loop's clock."""
        context = contextvars.copy_context() if context is None else context
        context.run(_step_timers.set, self)
        self._active()
        return self._loop.create_task(coro, name=name, context=context)

    # --- what the clock uses ----------------------------------------------------------------------------------------------

    def move_to(self, elapsed_ms: int) -> None:
        """Let it be that late: what is due by then is scheduled, in order."""
        self.elapsed_ms = max(self.elapsed_ms, elapsed_ms)
        while self._timers and self._timers[0][0] <= self.elapsed_ms:
            self._schedule(heapq.heappop(self._timers)[2])

    def next_of_a_step(self) -> int | None:
        """When the earliest timer that a step waits for is due."""
        due = [due_ms for due_ms, _, timer in self._timers if timer.of_step and not timer.cancelled()]
        return min(due, default=None)

    def wake(self) -> None:
        """Whoever waits for something to be scheduled looks again."""
        self._changed.set()

    async def until_active(self, seconds: float) -> bool:
        """Wait in real time for something to be scheduled; False: nothing was."""
        self._changed.clear()
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except TimeoutError:
            return False
        return True

    # --- inside -----------------------------------------------------------------------------------------------------------

    def step_timer(
        self, due_s: float, callback: Callable[..., Any], args: tuple[Any, ...], context: contextvars.Context | None
    ) -> asyncio.TimerHandle:
        return self._at(math.ceil(round(due_s * 1000, 3)), callback, args, context, of_step=True)

    def _at(
        self,
        due_ms: int,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
        *,
        of_step: bool,
    ) -> ClockedTimer:
        timer = ClockedTimer(due_ms, callback, args, self._loop, context, of_step)
        if due_ms <= self.elapsed_ms:
            self._schedule(timer)
        else:
            self._active()
            heapq.heappush(self._timers, (due_ms, next(self._numbers), timer))
        return timer

    def _schedule(self, timer: ClockedTimer) -> None:
        self._active()
        self.outstanding += 1
        self._loop.call_soon(self._run_timer, timer, context=timer._context)

    def _run_timer(self, timer: ClockedTimer) -> None:
        self.outstanding -= 1
        if not timer._cancelled:
            timer._callback(*timer._args)

    def _run(self, callback: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.outstanding -= 1
        callback(*args)

    def _active(self) -> None:
        self.activity += 1
        self._changed.set()


def _let_steps_follow(loop: asyncio.AbstractEventLoop) -> None:
    """Timers that are made inside a step of such an engine are given to its clock; all others stay what they are.

    Where a loop takes no attributes (uvloop), steps sleep in real time.
    """
    if getattr(loop, "_perdure_steps_follow", False):
        return
    real_time, real_at, real_later = loop.time, loop.call_at, loop.call_later

    def time() -> float:
        clocked = _step_timers.get()
        return real_time() if clocked is None else clocked.time()

    def call_at(
        when: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        clocked = _step_timers.get()
        if clocked is None:
            return real_at(when, callback, *args, context=context)
        return clocked.step_timer(when, callback, args, context)

    def call_later(
        delay: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        clocked = _step_timers.get()
        if clocked is None:
            return real_later(delay, callback, *args, context=context)
        return clocked.step_timer(clocked.time() + delay, callback, args, context)

    try:
        for name, value in {"time": time, "call_at": call_at, "call_later": call_later}.items():
            setattr(loop, name, value)
        loop._perdure_steps_follow = True  # type: ignore[attr-defined]
    except AttributeError:
        return
