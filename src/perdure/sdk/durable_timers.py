"""The durable timers that have not fired yet, earliest first: those of `ctx.sleep`, and those made for the loop."""

from __future__ import annotations

import heapq
from collections.abc import Container


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
