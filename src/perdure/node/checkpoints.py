"""When the tables are written down: at intervals, when enough has changed, and at a clean stop.

A checkpoint first syncs the log to its LSN, then commits the tables with that LSN; only then may the log be trimmed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from perdure.log.log import Log
from perdure.model.errors import PerdureError
from perdure.store.errors import CheckpointFailed
from perdure.store.store import Store


class Checkpoints:
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        store: Store,
        log: Log,
        applied_lsn: Callable[[], int],
        on_failure: Callable[[PerdureError], None],
        on_done: Callable[[], None],
        *,
        interval_ms: int,
    ) -> None:
        self._loop = loop
        self._store = store
        self._log = log
        self._applied_lsn = applied_lsn
        self._on_failure = on_failure
        self._on_done = on_done
        self._interval_s = interval_ms / 1000
        self._written_lsn = store.applied_lsn
        self._handle: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._handle = self._loop.call_later(self._interval_s, self._tick)

    @property
    def under_way(self) -> bool:
        return self._task is not None

    def now(self) -> None:
        """Begin a checkpoint unless one is under way."""
        if self._task is None and self._applied_lsn() > self._written_lsn:
            self._task = self._loop.create_task(self.write())
            self._task.add_done_callback(self._done)

    async def last(self) -> None:
        """Write what has been applied, completely. Errors: those of the store and the log."""
        self.close()
        if self._task is not None:
            await asyncio.wait([self._task])
        while self._applied_lsn() > self._written_lsn:
            await self.write()

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _tick(self) -> None:
        self._handle = self._loop.call_later(self._interval_s, self._tick)
        self.now()

    async def write(self) -> None:
        """One checkpoint of what has been applied. Errors: those of the store and the log."""
        lsn = self._applied_lsn()
        self._store.freeze(lsn)
        await self._log.sync()
        await asyncio.wrap_future(self._store.write_frozen())
        self._store.written()
        self._written_lsn = lsn
        self._log.trim(lsn)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._on_done()
        elif isinstance(error, PerdureError):
            self._on_failure(error)
        else:
            self._on_failure(CheckpointFailed(f"The checkpoint failed: {error!r}.", "Report it: this is a bug."))
