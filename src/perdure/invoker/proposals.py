"""What an attempt proposes: its progress, its failure, its suspension. The same for every kind of invoker."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from perdure.model.ids import format_invocation_id
from perdure.model.journal import Awaiting, Entry
from perdure.model.limits import MIB, TIMER_AT_MS_MAX
from perdure.model.records import AttemptError, AttemptFailed, Pause, Progress, Suspended
from perdure.partition.sizes import payload_bytes

if TYPE_CHECKING:
    from perdure.invoker.host import Host
    from perdure.model.deployment import Pin
    from perdure.model.service import HandlerSpec
    from perdure.store.rows import Invocation

_logger = logging.getLogger("perdure.invoker")

MERGED_ENTRIES_MAX = 1_000
MERGED_BYTES_MAX = MIB
"""Entries in one `Progress` record, and their payloads, beyond which a new one begins."""


class Proposals:
    """The records of one attempt. `last_lsn` is that of its latest `Progress`."""

    __slots__ = ("_bytes", "_epoch", "_host", "_partition", "_pin", "_record", "_row", "_spec", "last_lsn")

    def __init__(self, host: Host, spec: HandlerSpec, partition: int, row: Invocation, pin: Pin | None = None) -> None:
        """`pin` goes out with the first progress."""
        self._host = host
        self._spec = spec
        self._partition = partition
        self._row = row
        self._epoch = row.epoch
        self._pin = pin
        self._record: Progress | None = None
        self._bytes: int | None = None
        self.last_lsn = 0

    def progress(self, entries: list[Entry], *, ended: bool, awaited: bool) -> None:
        """Propose entries (the list is taken over); they join the last record while that may still change."""
        host = self._host
        record = self._record
        now_ms = host.now_ms()
        if (
            record is not None
            and record.at_ms == now_ms  # a result is not dated before it was there
            and host.is_pending(self.last_lsn)
            and len(record.entries) + len(entries) <= MERGED_ENTRIES_MAX
        ):
            size = self._counted(record) + sum(map(payload_bytes, entries))
            if size <= MERGED_BYTES_MAX:
                self._bytes = size
                record.entries.extend(entries)
                record.ended = ended
                if awaited:
                    host.hurry()
                return
        record = Progress(self._partition, now_ms, self._row.seq, self._epoch, entries, ended, self._pin)
        self._pin = None
        self.last_lsn = host.propose(record, awaited=awaited)
        self._record = record
        self._bytes = None

    def _counted(self, record: Progress) -> int:
        """Payloads of a record so far; few are ever asked about."""
        return sum(map(payload_bytes, record.entries)) if self._bytes is None else self._bytes

    def failed(
        self,
        error: AttemptError,
        *,
        retry_after_ms: int | None,
        park: bool,
        counted: bool,
        kill: bool = False,
        steps: list[int] | None = None,
    ) -> None:
        """`park`: no retry, pause; `kill`: no retry, the invocation ends with the error. `counted` false: somebody else than
        the handler's policy set the delay, and it counts nothing. `steps`: all that failed, if more than that of `error`.
        """
        host, policy = self._host, self._spec.retry
        now_ms = host.now_ms()
        retry_at_ms: int | None = None
        if not park and not kill:
            delay_ms = policy.delay_ms(self._row.attempts_failed + 1, host.random.fraction()) if counted else 0
            if delay_ms is not None:
                delay_ms = max(1, delay_ms if retry_after_ms is None else retry_after_ms)
                retry_at_ms = min(now_ms + delay_ms, TIMER_AT_MS_MAX)
        exhausted = "kill" if kill else "pause" if park else policy.on_max_attempts
        record = AttemptFailed(
            self._partition, now_ms, self._row.seq, self._epoch, error, retry_at_ms, exhausted, counted, steps
        )
        host.propose(record, awaited=True)
        self._log(record)

    def suspended(self, awaiting: Awaiting, notifications: int) -> None:
        host = self._host
        record = Suspended(self._partition, host.now_ms(), self._row.seq, self._epoch, awaiting, notifications)
        host.propose(record, awaited=False)

    def pause(self) -> None:
        """An operator asked for it, and the handler has come to a place where it can be left."""
        host = self._host
        host.propose(Pause(self._partition, host.now_ms(), self._row.id), awaited=True)

    def _log(self, record: AttemptFailed) -> None:
        who = f"{self._row.target} ({format_invocation_id(self._row.id)})"
        if record.retry_at_ms is not None:
            then = f"next attempt in {(record.retry_at_ms - record.at_ms) / 1000:.1f} s"
        else:
            then = "it is paused" if record.exhausted == "pause" else "it ends with this error"
        _logger.warning(
            "attempt %d of %s failed: %s; %s", self._epoch, who, record.error.message.removesuffix("."), then
        )
        if record.error.stacktrace:
            _logger.info("%s", record.error.stacktrace)
