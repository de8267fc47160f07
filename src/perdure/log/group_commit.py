"""Group commit: everything appended while a batch is on its way goes out together in the next one.

The part of a log that lives on the event loop and touches no disk. What always holds: at most one batch is on its way;
a batch is encoded once, at the moment it leaves; `on_durable` is called in LSN order; after a failure or a close every
append raises. It does not know where batches go: a subclass starts that in `_write` and answers with `_written` or `_fail`.
"""

from __future__ import annotations

import abc
import asyncio
import logging
from typing import NamedTuple

from perdure.log.errors import LogFailed, LogStopped, RecordRefused
from perdure.log.format import Slot, encode_body, encoded_size, runs
from perdure.log.log import OnDurable, OnFailure, OnRefused
from perdure.model.limits import BATCH_LINGER_MS
from perdure.model.records import Record

_logger = logging.getLogger("perdure.log")

_LIST_HEADER_BYTES = 5


class Batch(NamedTuple):
    """Records as they go out together; `slots` has None where one was refused."""

    first_lsn: int
    slots: list[Slot]
    body: bytes
    has_voids: bool

    @property
    def next_lsn(self) -> int:
        return self.first_lsn + len(self.slots)


class GroupCommit(abc.ABC):
    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        next_lsn: int,
        body_bytes_max: int,
        on_durable: OnDurable,
        on_failure: OnFailure,
        on_refused: OnRefused | None = None,
        linger_ms: float = BATCH_LINGER_MS,
    ) -> None:
        self.next_lsn = next_lsn
        self.durable_lsn = next_lsn - 1
        self._loop = loop
        self._body_bytes_max = body_bytes_max
        self._on_durable = on_durable
        self._on_failure = on_failure
        self._on_refused = on_refused
        self._linger_s = linger_ms / 1000

        self._pending: list[Slot] = []
        self._pending_first = next_lsn
        self._pending_bytes = 0
        self._wanted_lsn = next_lsn - 1
        """Somebody waits for the records up to here."""
        self._busy = False
        """A batch is on its way."""
        self._scheduled = False
        self._lingering = False
        self._stopped: LogStopped | LogFailed | None = None
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._scratch = bytearray()

    # --- appending

    def append(self, record: Record, *, awaited: bool = True) -> int:
        if self._stopped is not None:
            raise self._why_stopped()
        try:
            size = encoded_size(record, self._scratch)
        except Exception as error:
            raise RecordRefused(record, str(error)) from error
        if size + _LIST_HEADER_BYTES > self._body_bytes_max:
            raise self._too_large(record, size)
        lsn = self.next_lsn
        self.next_lsn = lsn + 1
        self._pending.append(record)
        self._pending_bytes += size
        if awaited:
            self._wanted_lsn = lsn
            if not self._busy and not self._scheduled:
                self._scheduled = True
                self._loop.call_soon(self._flush)
        elif not self._busy and not self._scheduled and not self._lingering:
            self._linger()
        return lsn

    def is_pending(self, lsn: int) -> bool:
        return self._pending_first <= lsn < self.next_lsn

    def hurry(self) -> None:
        self._wanted_lsn = self.next_lsn - 1
        self._schedule()

    async def sync(self) -> None:
        last_lsn = self.next_lsn - 1
        if self.durable_lsn < last_lsn:
            self._wanted_lsn = last_lsn
            self._schedule()
            await self._durable(last_lsn)
        elif self._stopped is not None:
            raise self._why_stopped()

    async def _durable(self, lsn: int) -> None:
        if self._stopped is not None:
            raise self._why_stopped()
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append((lsn, waiter))
        await waiter

    # --- when a batch leaves

    def _schedule(self) -> None:
        """See to it that what is pending goes out in its time."""
        if self._busy or self._scheduled or not self._pending:
            return
        if self._wanted_lsn >= self._pending_first:
            # Not at once: callbacks that are due before may append too, and ride along.
            self._scheduled = True
            self._loop.call_soon(self._flush)
        elif not self._lingering:
            self._linger()

    def _linger(self) -> None:
        self._lingering = True
        self._loop.call_later(self._linger_s, self._lingered)

    def _lingered(self) -> None:
        self._lingering = False
        if self._pending:
            self._wanted_lsn = self.next_lsn - 1
            self._schedule()

    def _flush(self) -> None:
        self._scheduled = False
        if self._busy or not self._pending or self._stopped is not None:
            return
        self._busy = True
        self._write(self._stage())

    @abc.abstractmethod
    def _write(self, batch: Batch) -> None:
        """Start to make a batch durable; `_written` or `_fail` follows, now or later, on the loop."""

    def _written(self, batch: Batch) -> None:
        self._busy = False
        self.durable_lsn = batch.next_lsn - 1
        try:
            if not batch.has_voids:
                self._on_durable(batch.first_lsn, batch.slots)  # type: ignore[arg-type]  # no slot is None
            else:
                for first_lsn, records in runs(batch.first_lsn, batch.slots):
                    self._on_durable(first_lsn, records)
        finally:
            self._schedule()
            if self._waiters:
                self._wake()

    def _wake(self) -> None:
        waiting = self._waiters
        self._waiters = [waiter for waiter in waiting if waiter[0] > self.durable_lsn]
        for lsn, future in waiting:
            if lsn <= self.durable_lsn and not future.done():
                future.set_result(None)

    # --- making a batch

    def _stage(self) -> Batch:
        """Encode what is pending, or as much of it from the front as fits into one batch."""
        if self._pending_bytes < self._body_bytes_max:
            try:
                body = encode_body(self._pending)
            except Exception:
                return self._stage_with_care()
            if len(body) <= self._body_bytes_max:
                batch = Batch(self._pending_first, self._pending, body, False)
                self._pending, self._pending_first, self._pending_bytes = [], self.next_lsn, 0
                return batch
        return self._stage_with_care()

    def _stage_with_care(self) -> Batch:
        """One of the records may be unfit, or there are too many for one batch."""
        taken, rest = self._pending, []
        parts = self._pending_bytes // self._body_bytes_max + 1
        if parts > 1:
            count = max(1, len(taken) // parts)
            taken, rest = taken[:count], taken[count:]
        refused: dict[int, RecordRefused] = {}
        body = self._encode(taken, refused)
        while len(body) > self._body_bytes_max:
            if len(taken) == 1:
                record = taken[0]
                assert record is not None, "a void is smaller than any limit"
                refused[0] = self._too_large(record, len(body))
            else:
                half = len(taken) // 2
                taken, rest = taken[:half], taken[half:] + rest
                refused = {position: error for position, error in refused.items() if position < half}
            body = self._encode(taken, refused)
        first_lsn = self._pending_first
        self._pending = rest
        self._pending_first = first_lsn + len(taken)
        self._pending_bytes = max(0, self._pending_bytes - len(body)) if rest else 0
        if refused:
            self._report_refused(first_lsn, taken, refused)
            taken = [None if position in refused else slot for position, slot in enumerate(taken)]
        return Batch(first_lsn, taken, body, bool(refused))

    def _encode(self, slots: list[Slot], refused: dict[int, RecordRefused]) -> bytes:
        """The body; positions that cannot be encoded are added to `refused` and stand as voids."""
        if not refused:
            try:
                return encode_body(slots)
            except Exception:
                self._find_refused(slots, refused)
        return encode_body([None if position in refused else slot for position, slot in enumerate(slots)])

    def _find_refused(self, slots: list[Slot], refused: dict[int, RecordRefused]) -> None:
        for position, slot in enumerate(slots):
            assert slot is not None, "what is pending has no voids"
            try:
                encoded_size(slot, self._scratch)
            except Exception as error:
                refused[position] = RecordRefused(slot, str(error))

    def _report_refused(self, first_lsn: int, slots: list[Slot], refused: dict[int, RecordRefused]) -> None:
        for position, error in refused.items():
            record = slots[position]
            assert record is not None
            if self._on_refused is None:
                _logger.error("LSN %d: %s", first_lsn + position, error)
            else:
                self._on_refused(first_lsn + position, record, error)

    def _too_large(self, record: Record, size: int) -> RecordRefused:
        return RecordRefused(record, f"it has {size} bytes, at most {self._body_bytes_max - _LIST_HEADER_BYTES} fit")

    # --- the end

    def _why_stopped(self) -> LogStopped:
        if isinstance(self._stopped, LogFailed):
            return LogStopped(f"the log stopped because {self._stopped.what}", self._stopped.next_step)
        return LogStopped("the log is closed.")

    def _stop(self, reason: LogStopped | LogFailed) -> None:
        if self._stopped is None:
            self._stopped = reason
        waiting, self._waiters = self._waiters, []
        for _, future in waiting:
            if not future.done():
                future.set_exception(self._why_stopped())

    def _fail(self, failure: LogFailed) -> None:
        if isinstance(self._stopped, LogFailed):
            return
        self._stopped = None
        self._stop(failure)
        self._on_failure(failure)
