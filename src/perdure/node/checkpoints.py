"""When the tables are written down: at intervals, when enough has changed, and at a clean stop.

A checkpoint first syncs the log to its LSN, then commits the tables with that LSN; only then may the log be trimmed.
Whoever wants to read much asks for a snapshot, which is a checkpoint of the present, held still.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from perdure.log.log import Log
from perdure.model.errors import PerdureError
from perdure.node.errors import NodeStopped
from perdure.store.errors import CheckpointFailed
from perdure.store.snapshot import Snapshot
from perdure.store.store import Store

_logger = logging.getLogger("perdure.node")
_SPACE_RETRY_S = 1.0
"""How often a full disk is tried again."""


@dataclass(eq=False)
class _Wish:
    """Somebody waits for a snapshot; `note` is what they wrote down at its LSN."""

    done: asyncio.Future[tuple[Snapshot, object]]
    take_note: Callable[[], object]
    note: object = field(default=None)

    def grant(self, store: Store) -> None:
        if self.done.done():
            return
        try:
            snapshot = store.snapshot()
        except PerdureError as error:
            self.done.set_exception(error)
        else:
            self.done.set_result((snapshot, self.note))


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
        self._wishes: list[_Wish] = []
        self._closed = False
        self._waits_for_space: asyncio.Future[None] | None = None

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
            task = self._task
            await asyncio.wait([task])
            task.result()
        while self._applied_lsn() > self._written_lsn:
            await self.write()

    def close(self) -> None:
        self._closed = True
        _wake(self._waits_for_space)
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        _refuse(self._wishes)
        self._wishes = []

    def _tick(self) -> None:
        self._handle = self._loop.call_later(self._interval_s, self._tick)
        self.now()

    async def write(self) -> None:
        """One checkpoint of what has been applied. Errors: those of the store and the log."""
        lsn = self._applied_lsn()
        self._store.freeze(lsn)
        wishes, self._wishes = self._wishes, []
        for wish in wishes:
            wish.note = wish.take_note()
        try:
            await self._log.sync()
            await self._write_frozen()
        except BaseException:
            _refuse(wishes)
            raise
        self._store.written()
        self._written_lsn = lsn
        for wish in wishes:  # before the loop goes on: the next checkpoint is not written yet
            wish.grant(self._store)
        self._log.trim(lsn)

    async def _write_frozen(self) -> None:
        """For want of space it is tried again until there is some, or the node stops. Errors: CheckpointFailed."""
        said = False
        while True:
            try:
                await asyncio.wrap_future(self._store.write_frozen())
            except CheckpointFailed as failed:
                if not failed.no_space or self._closed:
                    raise
                if not said:
                    _logger.error("no space for a checkpoint (%s): it is tried again until there is", failed.what)
                said = True
                self._waits_for_space = self._loop.create_future()
                self._loop.call_later(_SPACE_RETRY_S, _wake, self._waits_for_space)
                await self._waits_for_space
            else:
                if said:
                    _logger.warning("there is space for checkpoints again")
                return

    async def snapshot(self, take_note: Callable[[], object]) -> tuple[Snapshot, object]:
        """The tables as of now or a little later, with what `take_note` said at the very same LSN.

        Errors: those of the store and the log. The snapshot is the caller's to close.
        """
        wish = _Wish(self._loop.create_future(), take_note)
        self._wishes.append(wish)
        self._attend_to_wishes()
        try:
            return await wish.done
        except asyncio.CancelledError:
            if wish.done.done() and not wish.done.cancelled() and wish.done.exception() is None:
                wish.done.result()[0].close()
            raise

    def _attend_to_wishes(self) -> None:
        if self._task is not None or not self._wishes:
            return
        if self._applied_lsn() > self._written_lsn:
            self.now()
            return
        wishes, self._wishes = self._wishes, []
        for wish in wishes:
            wish.note = wish.take_note()
            wish.grant(self._store)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._on_done()
            self._attend_to_wishes()
        elif isinstance(error, PerdureError):
            self._on_failure(error)
        else:
            self._on_failure(CheckpointFailed(f"The checkpoint failed: {error!r}.", "Report it: this is a bug."))


def _refuse(wishes: list[_Wish]) -> None:
    for wish in wishes:
        if not wish.done.done():
            wish.done.set_exception(NodeStopped("the node stops, or could not write its tables."))


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
