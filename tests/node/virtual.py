"""Virtual time: an event loop on which days pass in milliseconds, and the parts of `env` that go with it.

What always holds: time moves only when nothing else can happen, and then to the next timer. Work of every lane runs inline,
unless a test holds the lane. A program that waits for something that can never come fails instead of hanging.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import random
import selectors
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from perdure.testing.sim.virtual_time import BEGAN_MS, Stuck

P = ParamSpec("P")
T = TypeVar("T")

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits for time: what would be a wait moves the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1_000.0
        self.gives_up_s = self.now_s + 100_000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready: list[Any] = super().select(0)
        if not ready:
            if timeout is None or self.now_s > self.gives_up_s:
                raise Stuck(f"{self.now_s:.0f} s")
            self.now_s += max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        self.errors: list[dict[str, Any]] = []
        """What went to the loop's exception handler: a test fails by it."""
        self.set_exception_handler(lambda _, context: self.errors.append(context))

    def time(self) -> float:
        return self._jumping.now_s


class VirtualClock:
    """The wall clock of a `VirtualLoop`, which shows `now_ms` at first; `set_back_ms` is what a person did to it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, now_ms: int | None = None) -> None:
        self._loop = loop
        self._origin_ms = BEGAN_MS - 1_000_000 if now_ms is None else now_ms - round(loop.time() * 1000)
        self.set_back_ms = 0

    def now_ms(self) -> int:
        return self._origin_ms + round(self._loop.time() * 1000) - self.set_back_ms

    def monotonic(self) -> float:
        return self._loop.time()


class SeededRandom:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)

    def fraction(self) -> float:
        return self._random.random()


class InlineExecutor:
    """Runs work where it is submitted. What goes to a held lane waits for `let_go`, in order."""

    def __init__(self) -> None:
        self.held: dict[str, deque[Callable[[], None]]] = {}

    def hold(self, lane: str) -> None:
        self.held.setdefault(lane, deque())

    def let_go(self, lane: str) -> None:
        for work in self.held.pop(lane, ()):
            work()

    def submit(self, name: str, work: Callable[[], T]) -> concurrent.futures.Future[T]:
        future: concurrent.futures.Future[T] = concurrent.futures.Future()

        def run() -> None:
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)

        if name in self.held:
            self.held[name].append(run)
        else:
            run()
        return future

    def submit_process(self, work: Callable[[], T], *, timeout_s: float | None) -> concurrent.futures.Future[T]:
        return self.submit("processes", work)

    def shutdown(self, *, wait: bool) -> None:
        self.held.clear()


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a coroutine test on a `VirtualLoop`, and fail it for what the loop had to report."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        loop = VirtualLoop()
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(test(*args, **kwargs))
        assert loop.errors == []

    return run
