"""The deterministic event loop: a small asyncio loop, one per attempt, that only durable operations can wake.

What always holds:
* Callbacks run first in, first out, in turns; a turn is a plain call made from outside any task.
* Time is what the engine said last, never the clock. Timers are kept in (wake time, creation) order.
* Nothing from outside a turn may schedule anything; the loop does no I/O (`guards` refuses it by name).

It knows neither journals nor drivers: `attempt` decides what is delivered, and makes the earliest timer durable.
"""

# pyright: reportPrivateUsage=false
# asyncio's interface for other loops is spelled with underscores.

from __future__ import annotations

import asyncio
import contextvars
import gc
import heapq
import logging
import math
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from concurrent.futures import Executor
from threading import get_ident
from typing import Any, TypeVar

import msgspec

from perdure.sdk import dropping, guards
from perdure.sdk.errors import cancelled_error
from perdure.sdk.task import NUMBER_BITS, HandlerFuture, HandlerTask

T = TypeVar("T")

LOOP_VERSION = 1
"""Part of an app's identity: raised when the order in which this loop runs things changes."""

_get_running_loop, _set_running_loop = asyncio._get_running_loop, asyncio._set_running_loop
_ONE_CURRENT_TASK = sys.version_info >= (3, 14)
"""The current task is the thread's, not the loop's: a turn within a task of another loop has to put that one aside."""
_swap_current_task: Any = getattr(asyncio.tasks, "_swap_current_task", None)  # not in Python 3.11
_get_hooks, _set_hooks = sys.get_asyncgen_hooks, sys.set_asyncgen_hooks
_collecting, _stop_collecting, _collect_again = gc.isenabled, gc.disable, gc.enable
_log = logging.getLogger("perdure.handler")
_SLEEP_DONE = asyncio.futures._set_result_unless_cancelled  # type: ignore[attr-defined]

Entered = tuple[Any, Any, Any, bool]
Ready = deque["TurnHandle | TurnTimer"]

_spare_queues: list[Ready] = []
"""A queue of ready callbacks is needed only during a turn, and an empty one takes 600 bytes."""
_NO_QUEUE: Ready = deque(maxlen=0)


class TurnHandle(msgspec.Struct, eq=False):
    """A scheduled callback. A struct, because one is made for every wake-up of a handler."""

    _callback: Any
    _args: Any
    _context: contextvars.Context
    _cancelled: bool = False

    def cancel(self) -> None:
        self._cancelled = True
        self._callback = self._args = None

    def cancelled(self) -> bool:
        return self._cancelled


class TurnTimer(asyncio.TimerHandle):
    """A callback due at `wake_ms`."""

    __slots__ = ("loop", "wake_ms")

    _callback: Any
    _args: Any
    _context: contextvars.Context
    _cancelled: bool
    _when: float

    def __init__(
        self,
        when: float,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        context: contextvars.Context,
        loop: DeterministicLoop,
    ) -> None:
        self._when = when
        self._callback = callback
        self._args = args
        self._context = context
        self._cancelled = False
        self.loop = loop
        # Rounded first, so that a float's noise does not cost a millisecond.
        self.wake_ms = math.ceil(round(when * 1000, 3))

    def cancel(self) -> None:
        if not self._cancelled:
            self._cancelled = True
            self._callback = self._args = None
            self.loop.timer_cancelled()

    def sleeper(self) -> asyncio.Future[Any] | None:
        """The future that a task in `asyncio.sleep` waits for, if this is its timer and it waits."""
        if self._cancelled or self._callback is not _SLEEP_DONE or self._args[0].done():
            return None
        waiting: asyncio.Future[Any] = self._args[0]
        return waiting

    def __hash__(self) -> int:
        return hash(self._when)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        return f"<TurnTimer at {self.wake_ms} {self._callback!r}>"


class DeterministicLoop(guards.NoDirectIO, asyncio.AbstractEventLoop):
    """One attempt's loop. Units: `now_ms` is Unix time in milliseconds."""

    __slots__ = (
        "_cancelled_timers",
        "_closed",
        "_dated",
        "_halted",
        "_number",
        "_prune_at",
        "_ready",
        "_tasks",
        "_thread",
        "_timer_number",
        "_timers",
        "attempt",
        "now_ms",
    )

    def __init__(self, attempt: guards.Guarded, seed: int, now_ms: int, *, dated: bool = True) -> None:
        """`dated` False: time passes unseen, so a timer fires by itself only if it is due when it is made (`fire`)."""
        self.attempt: guards.Guarded = attempt
        self.now_ms = now_ms
        self._dated = dated
        self._ready: Ready = _NO_QUEUE
        self._timers: list[tuple[int, int, TurnTimer]] = []
        self._tasks: list[HandlerTask[Any]] = []
        self._halted: tuple[TurnHandle | TurnTimer, ...] = ()
        self._number = (seed & (1 << 40) - 1) << NUMBER_BITS
        self._timer_number = 0
        self._cancelled_timers = 0
        self._prune_at = 16
        self._thread = 0
        self._closed = False

    # --- turns --------------------------------------------------------------------------------------------------------

    def enter(self) -> Entered:
        """Make this the running loop of the calling thread; `leave` takes what this returns."""
        outer = _get_running_loop()
        task = _swap_current_task(outer, None) if _ONE_CURRENT_TASK and outer is not None else None
        entered = (outer, task, _get_hooks(), _collecting())
        # Garbage collection at a moment of its own choosing would run finalizers inside a turn.
        _stop_collecting()
        _set_running_loop(self)
        _set_hooks(None, self._finalize_asyncgen)
        self._thread = get_ident()
        if self._ready is _NO_QUEUE and not self._closed:
            self._ready = _spare_queues.pop() if _spare_queues else deque()
        return entered

    def leave(self, entered: Entered) -> None:
        self._thread = 0
        if not self._ready and not self._closed:
            _spare_queues.append(self._ready)
            self._ready = _NO_QUEUE
        outer, task, hooks, collecting = entered
        _set_hooks(*hooks)
        _set_running_loop(outer)
        if task is not None:
            _swap_current_task(outer, task)
        if collecting:
            _collect_again()

    def run(self, budget: int) -> bool:
        """Run what is ready and due; False: the budget of callbacks was used up before the loop was quiescent."""
        ready = self._ready
        popleft = ready.popleft
        while True:
            while ready:
                if budget <= 0:
                    return False
                budget -= 1
                handle = popleft()
                if handle._cancelled:
                    continue
                try:
                    handle._context.run(handle._callback, *handle._args)
                except Exception as error:
                    self.call_exception_handler(
                        {"message": f"Exception in callback {handle!r}", "exception": error, "handle": handle}
                    )
            if not self._timers or not self._dated or not self._fire_due():
                return True

    def halt(self) -> None:
        """End the run at this callback; `resume` brings back what was ready."""
        self._halted = tuple(self._ready)
        self._ready.clear()

    def resume(self) -> None:
        self._ready.extendleft(reversed(self._halted))
        self._halted = ()

    def stop_for_good(self) -> None:
        """Run nothing more, whatever is scheduled from now on."""
        self._ready.clear()
        self._ready = _NO_QUEUE
        self._halted = ()
        self._timers = []
        self._closed = True

    def unfinished_tasks(self) -> list[HandlerTask[Any]]:
        """In creation order."""
        return [task for task in self._tasks if not task.done()]

    def forget_tasks(self) -> None:
        self._tasks = []

    # --- time ---------------------------------------------------------------------------------------------------------

    def time(self) -> float:
        return self.now_ms / 1000

    def advance(self, at_ms: int) -> None:
        if at_ms > self.now_ms:
            self.now_ms = at_ms

    def next_wake_ms(self) -> int | None:
        """When the earliest timer is due, if there is one."""
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
            self._cancelled_timers -= 1
        return timers[0][0] if timers else None

    def _fire_due(self) -> bool:
        fired = False
        while (wake_ms := self.next_wake_ms()) is not None and wake_ms <= self.now_ms:
            self._ready.append(heapq.heappop(self._timers)[2])
            fired = True
        return fired

    def take_timers(self) -> list[tuple[int, list[TurnTimer]]]:
        """The timers made since the last call, by the time they are due: whoever takes them says when (`fire`)."""
        taken: dict[int, list[TurnTimer]] = {}
        for wake_ms, _, timer in sorted(self._timers):
            if not timer._cancelled:
                taken.setdefault(wake_ms, []).append(timer)
        self._timers = []
        self._cancelled_timers = 0
        return list(taken.items())

    def fire(self, timers: list[TurnTimer]) -> None:
        self._ready.extend(timers)

    def timer_cancelled(self) -> None:
        self._cancelled_timers += 1
        # A timeout around each of many steps leaves a cancelled timer each; do not let them pile up.
        if self._cancelled_timers > 64 and self._cancelled_timers * 2 > len(self._timers):
            self._timers = [entry for entry in self._timers if not entry[2]._cancelled]
            heapq.heapify(self._timers)
            self._cancelled_timers = 0

    def sleepers(self) -> list[asyncio.Future[Any]]:
        """The futures that tasks in `asyncio.sleep` wait for, in wake order."""
        return [sleeper for _, _, timer in sorted(self._timers) if (sleeper := timer.sleeper()) is not None]

    # --- asyncio's interface ------------------------------------------------------------------------------------------

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        if get_ident() != self._thread:
            guards.refuse_outside_wake(self.attempt)
        handle = TurnHandle(callback, args, context if context is not None else contextvars.copy_context())
        self._ready.append(handle)
        return handle  # type: ignore[return-value]

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        if get_ident() != self._thread:
            guards.refuse_outside_wake(self.attempt)
        timer = TurnTimer(when, callback, args, context if context is not None else contextvars.copy_context(), self)
        if callback is _SLEEP_DONE and self.attempt.take_cancel():
            args[0].set_exception(cancelled_error())
        elif not self._dated and timer.wake_ms <= self.now_ms:
            self._ready.append(timer)
        elif not self._closed:
            self._timer_number += 1
            heapq.heappush(self._timers, (timer.wake_ms, self._timer_number, timer))
        return timer

    def next_number(self) -> int:
        self._number = number = self._number + 1
        return number

    def create_future(self) -> asyncio.Future[Any]:
        future: HandlerFuture[Any] = HandlerFuture(loop=self)
        self._number = future.number = self._number + 1
        if self._closed:
            # The attempt is being dropped: whoever waits goes on unwinding instead.
            dropping.fail_with_exit(future)
        return future

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        **_unused: Any,
    ) -> asyncio.Task[T]:
        guards.refuse_unordered(sys._getframe(1), coro)
        task = HandlerTask(coro, self, name, context if context is not None else contextvars.copy_context())
        tasks = self._tasks
        tasks.append(task)
        if len(tasks) > self._prune_at:
            self._tasks = tasks = [known for known in tasks if not known.done()]
            self._prune_at = 2 * len(tasks) + 16
        return task

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Run the function here and now: a thread would come back at a time that no replay could repeat."""
        self.attempt.flag_inline_call(func)
        future = self.create_future()
        if not future.done():
            try:
                future.set_result(func(*args))
            except Exception as error:
                future.set_exception(error)
        return future

    get_debug = bool  # pyright: ignore[reportAssignmentType]
    """`bool()` is False, and asyncio asks for every future."""

    def set_debug(self, enabled: bool) -> None:
        pass

    def is_running(self) -> bool:
        return self._thread != 0

    def check_in_turn(self) -> None:
        """Errors: UsedOutsideError when the caller is not the handler's code in a turn, on the thread of the turn."""
        if get_ident() != self._thread and not self._closed:
            guards.refuse_use_outside(self.attempt, sys._getframe(1))

    def is_closed(self) -> bool:
        return self._closed

    def get_task_factory(self) -> None:
        return None

    def get_exception_handler(self) -> None:
        return None

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.default_exception_handler(context)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._closed and not self.attempt.replaying:
            _log.error("%s", context.get("message"), exc_info=context.get("exception"))

    def _finalize_asyncgen(self, generator: AsyncGenerator[Any, Any]) -> None:
        # Inside a turn it is a reference count that ended the generator, which every replay repeats; outside it is the
        # collector's doing, and the generator just goes.
        if get_ident() != self._thread:
            return
        if self._closed:
            dropping.close_generator(generator)
        else:
            self.create_task(generator.aclose())
