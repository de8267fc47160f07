"""Retention: proposes to forget finished invocations whose time is over, or that are too many bytes, in small slices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from perdure.model.records import Forget
from perdure.store.store import Store

SLICE = 500
"""Invocations in one `Forget` record."""


class Cleaner:
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        store: Store,
        propose: Callable[[Forget], None],
        now_ms: Callable[[], int],
        *,
        interval_ms: int,
        bytes_max: int | None,
    ) -> None:
        self._loop = loop
        self._store = store
        self._propose = propose
        self._now_ms = now_ms
        self._interval_s = interval_ms / 1000
        self._bytes_max = bytes_max
        self._handle: asyncio.TimerHandle | None = None
        self._asked: list[set[int]] = [set() for _ in store.tables]

    @property
    def asking(self) -> bool:
        return any(self._asked)

    def start(self) -> None:
        self._handle = self._loop.call_later(self._interval_s, self._tick)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def forgotten(self, record: Forget) -> None:
        """A `Forget` has been applied: what it named may be asked for again, should it still be there."""
        self._asked[record.partition].difference_update(record.seqs)

    def _tick(self) -> None:
        more = False
        for partition in range(len(self._store.tables)):
            more |= self._clean(partition)
        # With more to do the next slice follows soon, but not at once: running invocations come first.
        self._handle = self._loop.call_later(min(0.05, self._interval_s) if more else self._interval_s, self._tick)

    def _clean(self, partition: int) -> bool:
        asked = self._asked[partition]
        if asked:
            return True  # one slice at a time
        now_ms = self._now_ms()
        seqs = self._store.expired(partition, now_ms, SLICE)
        meta = self._store.tables[partition].meta
        if not seqs and self._bytes_max is not None and meta.finished_bytes > self._bytes_max:
            seqs = self._store.oldest_finished(partition, min(SLICE, max(1, meta.finished // 10)))
        if not seqs:
            return False
        asked.update(seqs)
        self._propose(Forget(partition, now_ms, seqs))
        return True
