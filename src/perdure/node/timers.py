"""When the next timer is due. The tables hold all timers; memory holds the next few.

What always holds, per partition: every timer whose key is at most `_horizon` is in the heap (or fired); later ones are
only in the tables and are loaded when their turn comes. So a million sleepers cost a bounded heap.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Sequence

from perdure.store.rows import Timer
from perdure.store.tables import Tables

TimerKey = tuple[int, int, int]
_EVERYTHING: TimerKey = (1 << 63, 0, 0)
_LOAD = 1_000
_FIRE = 1_000
"""Timers in one `TimersFired` record."""
_LONGEST_WAIT_S = 60.0
"""The wall clock may be set: look at it again after this."""


class Timers:
    """Calls `fire(partition, keys)` for timers that are due, once each."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        now_ms: Callable[[], int],
        tables: Sequence[Tables],
        fire: Callable[[int, list[TimerKey]], None],
        in_memory_max: int,
    ) -> None:
        self._loop = loop
        self._now_ms = now_ms
        self._tables = tables
        self._fire = fire
        self._in_memory_max = max(2, in_memory_max)
        self._heaps: list[list[TimerKey]] = [[] for _ in tables]
        self._horizon: list[TimerKey] = [(0, 0, 0) for _ in tables]
        self._handle: asyncio.TimerHandle | None = None
        self._wakes_at_ms = 0
        self._closed = False

    def start(self) -> None:
        """Load the first timers of each partition and fire what is due."""
        for partition in range(len(self._heaps)):
            self._load(partition)
        self._wake()

    def arm(self, partition: int, timer: Timer) -> None:
        key = timer.key
        if key > self._horizon[partition]:
            return
        heap = self._heaps[partition]
        heapq.heappush(heap, key)
        if len(heap) > self._in_memory_max:
            self._shrink(partition)
        if heap[0] == key and (self._handle is None or key[0] < self._wakes_at_ms):
            self._schedule()

    def close(self) -> None:
        self._closed = True
        if self._handle is not None:
            self._handle.cancel()

    def _load(self, partition: int) -> None:
        loaded = self._tables[partition].timers_after(self._horizon[partition], _LOAD)
        heap = self._heaps[partition]
        for timer in loaded:
            heapq.heappush(heap, timer.key)
        self._horizon[partition] = loaded[-1].key if len(loaded) == _LOAD else _EVERYTHING

    def _shrink(self, partition: int) -> None:
        kept = heapq.nsmallest(self._in_memory_max // 2, self._heaps[partition])
        self._heaps[partition] = kept
        self._horizon[partition] = kept[-1]

    def _wake(self) -> None:
        self._handle = None
        if self._closed:
            return
        now_ms = self._now_ms()
        for partition in range(len(self._heaps)):
            self._fire_due(partition, now_ms)
        self._schedule()

    def _fire_due(self, partition: int, now_ms: int) -> None:
        due: list[TimerKey] = []
        while True:
            heap = self._heaps[partition]
            while heap and heap[0][0] <= now_ms:
                key = heapq.heappop(heap)
                if self._tables[partition].timer(key) is not None:  # not dropped meanwhile
                    due.append(key)
            if heap or self._horizon[partition] == _EVERYTHING:
                break
            self._load(partition)
        for first in range(0, len(due), _FIRE):
            self._fire(partition, due[first : first + _FIRE])

    def _schedule(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        heads = [heap[0][0] for heap in self._heaps if heap]
        if not heads or self._closed:
            return
        self._wakes_at_ms = min(heads)
        delay_s = min(max(0.0, (self._wakes_at_ms - self._now_ms()) / 1000), _LONGEST_WAIT_S)
        self._handle = self._loop.call_later(delay_s, self._wake)
