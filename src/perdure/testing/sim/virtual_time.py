"""The one scheduler of a simulated process: an event loop on which time moves only when nothing else can happen.

What the seed decides is what asyncio leaves open: when work on a thread begins and ends, where its news enters the queue
of ready callbacks, how late a timer is. What asyncio promises (callbacks in the order in which they were made) holds.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import math
import random
import selectors
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")

BEGAN_MS = 1_700_000_000_000
ROUNDS_MAX = 200_000
"""Of a loop. Ten thousand are much."""
ROUNDS_AT_ONCE_MAX = 3_000
"""While time stands still."""
LIFETIME_MAX_S = 6_000.0
"""Of a loop. Whatever a process waits for takes a few hundred seconds together."""
ERRORS_MAX = 100


class Stuck(BaseException):
    """A loop that would never end by itself: nobody can go on, or somebody goes on for ever."""


class NoSelector(selectors.BaseSelector):
    """There is no I/O: to wait is to move the clock."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s
        self.on_wait: Callable[[float], None] = lambda seconds: None
        self._keys: dict[Any, selectors.SelectorKey] = {}
        self._until_s = now_s + LIFETIME_MAX_S
        self._rounds = self._rounds_at_once = 0

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, 0, events, data)
        self._keys[fileobj] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def get_map(self) -> Any:
        return self._keys

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stuck("everybody waits for what never comes")
        self._rounds += 1
        self._rounds_at_once = self._rounds_at_once + 1 if timeout <= 0.0 else 0
        if self._rounds_at_once > ROUNDS_AT_ONCE_MAX:
            raise self._stuck("somebody goes round while time stands still")
        if self._rounds > ROUNDS_MAX or self.now_s > self._until_s:
            raise self._stuck(f"time goes on, and no end comes in {self._rounds} rounds of the loop")
        if timeout > 0.0:
            self.on_wait(timeout)
            self.now_s += timeout
        return []

    def _stuck(self, why: str) -> Stuck:
        """From here on there is no bound: what is left is to be unwound."""
        self._rounds = self._rounds_at_once = 0
        self._until_s = math.inf
        return Stuck(why)


class SimLoop(asyncio.SelectorEventLoop):
    """`now_s` is where its clock begins: each process goes on from where the last one ended."""

    connect: Callable[[Callable[[], Any], int], Awaitable[tuple[Any, Any]]] | None = None
    """Makes a connection to a port; None: there is no network."""

    def __init__(self, random: random.Random, now_s: float, clock: NoSelector | None = None) -> None:
        self._clock = clock or NoSelector(now_s)
        self._chance = random
        self._told: list[asyncio.Handle] = []
        """What threads said and is still ready."""
        self.errors: deque[dict[str, Any]] = deque(maxlen=ERRORS_MAX)
        """What went to the loop's exception handler, the latest."""
        super().__init__(self._clock)
        self.set_exception_handler(lambda _, context: self.errors.append(context))

    def time(self) -> float:
        return self._clock.now_s

    def watch(self, on_wait: Callable[[float], None]) -> None:
        """`on_wait` is told each time that nothing else can happen, for how many seconds that will be so."""
        self._clock.on_wait = on_wait

    async def create_connection(  # type: ignore[override]
        self, protocol_factory: Callable[[], Any], host: str, port: int, **_: Any
    ) -> tuple[Any, Any]:
        if self.connect is None:
            raise ConnectionRefusedError(111, "Connection refused")
        return await self.connect(protocol_factory, port)

    def spend(self, seconds: float) -> None:
        """Time passes while the thread of the loop is busy."""
        self._clock.now_s += seconds

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """From another thread: its place among what is ready is open, behind what threads said before."""
        handle = self.call_soon(callback, *args, context=context)
        ready: deque[asyncio.Handle] = self._ready  # type: ignore[attr-defined]
        if len(ready) > 1 and self._chance.random() < 0.5:
            ready.pop()
            first = len(ready)
            while first and ready[first - 1] not in self._told:
                first -= 1
            ready.insert(self._chance.randint(first, len(ready)), handle)
        self._told = [told for told in self._told if told in ready]
        self._told.append(handle)
        return handle

    def _write_to_self(self) -> None:
        """Nobody sleeps in a system call."""


class VirtualClock:
    """The wall clock of a loop; `set_ms` is what somebody did to it."""

    def __init__(self, loop: SimLoop, set_ms: int = 0) -> None:
        self._loop = loop
        self.set_ms = set_ms

    def now_ms(self) -> int:
        return BEGAN_MS + round(self._loop.time() * 1000) + self.set_ms

    def monotonic(self) -> float:
        return self._loop.time()


class SeededRandom:
    """`env.Random` from a seed."""

    def __init__(self, random: random.Random) -> None:
        self._random = random

    def bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)

    def fraction(self) -> float:
        return self._random.random()


class _Late(concurrent.futures.Future[T]):
    """Work on a thread whose news takes a while; who blocks for it has it at once."""

    def __init__(self) -> None:
        super().__init__()
        self.tell: Callable[[], None] | None = None

    def cancel(self) -> bool:
        if self.tell is not None:
            self.tell()
        return super().cancel()


class SimExecutor:
    """Threads that take turns with the loop: work begins after a while, runs whole, and is known to be done later still.

    Work of one lane runs in order, one at a time; the lane "steps" runs any number.
    """

    def __init__(self, loop: SimLoop, random: random.Random) -> None:
        self._loop = loop
        self._random = random
        self._lanes: dict[str, deque[tuple[_Late[Any], Callable[[], Any]]]] = {}

    def submit(self, name: str, work: Callable[[], T]) -> concurrent.futures.Future[T]:
        future: _Late[T] = _Late()
        if name == "steps":
            self._later(self._run, future, work, lambda: None)
            return future
        lane = self._lanes.setdefault(name, deque())
        lane.append((future, work))
        if len(lane) == 1:
            self._later(self._next, name)
        return future

    def submit_process(self, work: Callable[[], T], *, timeout_s: float | None) -> concurrent.futures.Future[T]:
        return self.submit("steps", work)

    def shutdown(self, *, wait: bool) -> None:
        """What was submitted and has not begun never will."""
        for lane in self._lanes.values():
            lane.clear()

    def _later(self, call: Callable[..., None], *args: Any) -> None:
        self._loop.call_later(self._random.choice(_DELAYS_S), call, *args)

    def _next(self, name: str) -> None:
        lane = self._lanes[name]
        if not lane:
            return

        def done() -> None:
            if lane:
                lane.popleft()
            if lane:
                self._later(self._next, name)

        self._run(*lane[0], done)

    def _run(self, future: _Late[Any], work: Callable[[], Any], done: Callable[[], None]) -> None:
        if not future.set_running_or_notify_cancel():
            done()
            return
        try:
            result, error = work(), None
        except BaseException as raised:
            result, error = None, raised

        def tell() -> None:
            if future.tell is None:
                return
            future.tell = None
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
            done()

        future.tell = tell
        self._later(tell)


_DELAYS_S = (0.0, 0.0, 0.0002, 0.003, 0.03)
