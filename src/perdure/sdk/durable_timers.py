"""The durable timers that have not fired yet, earliest first: those of `ctx.sleep`, and those made for the loop."""

from __future__ import annotations

import heapq
from collections.abc import Container
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure.model.journal import Failure
    from perdure.sdk.loop import DeterministicLoop, TurnTimer


class DurableTimers:
    """A heap of (wake_at_ms, completion_id)."""

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap: list[tuple[int, int]] = []

    def add(self, completion_id: int, wake_at_ms: int) -> None:
        heapq.heappush(self._heap, (wake_at_ms, completion_id))

    def fired(self, completion_id: int) -> None:
        if self._heap and self._heap[0][1] == completion_id:
            heapq.heappop(self._heap)

    def first(self, unfired: Container[int]) -> tuple[int, int] | None:
        """The earliest of those whose completion is still to come."""
        heap = self._heap
        while heap and heap[0][1] not in unfired:
            heapq.heappop(heap)
        return heap[0] if heap else None


class LoopTimers:
    """One durable timer behind timers of the loop that are due at one time, where what a handler is told is not dated."""

    __slots__ = ("_loop", "_timers", "_wake_ms")

    def __init__(self, loop: DeterministicLoop, wake_ms: int, timers: list[TurnTimer]) -> None:
        self._loop = loop
        self._wake_ms = wake_ms
        self._timers = timers

    def resolve(self, result: bytes | Failure | list[str] | None) -> None:
        self._loop.advance(self._wake_ms)
        self._loop.fire(self._timers)

    def wanted(self) -> bool:
        return any(not timer.cancelled() for timer in self._timers)

    def fail(self, error: BaseException) -> bool:
        """Fail those who sleep; a timeout is none of them."""
        sleepers = [sleeper for timer in self._timers if (sleeper := timer.sleeper()) is not None]
        for sleeper in sleepers:
            sleeper.set_exception(error)
        return bool(sleepers)
