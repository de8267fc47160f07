"""A log in memory that outlives its engine, and that ends it at a chosen record.

What always holds: the records of a `Disk` are what a crash at that point would have left: those before the one at which the
engine dies, with or without that one, and nothing of what came after. Each record counts for itself, also where several
went out in one batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from perdure.log.errors import LogFailed, LogStopped
from perdure.log.format import decode_body, encode_body
from perdure.log.group_commit import Batch, GroupCommit
from perdure.log.log import OnDurable, OnFailure, OnRefused
from perdure.model.limits import BATCH_BYTES_MAX
from perdure.model.records import Record


@dataclass(frozen=True)
class AtRecord:
    """Die when this record is about to be written, or when it has been and nobody knows yet."""

    lsn: int
    when: Literal["before", "after"]


@dataclass
class Disk:
    """What survives. `dies_at` is taken away when it has happened."""

    dies_at: AtRecord | None = None
    bodies: list[bytes] = field(default_factory=list)
    """Record n is the body n-1."""
    batch_starts: set[int] = field(default_factory=set)
    """LSNs of records that were first in their batch."""
    on_append: Callable[[int, Record], None] = lambda lsn, record: None
    on_crash: Callable[[], None] = lambda: None

    @property
    def last_lsn(self) -> int:
        return len(self.bodies)

    def records(self, from_lsn: int = 1) -> Iterator[tuple[int, Record]]:
        for lsn in range(from_lsn, len(self.bodies) + 1):
            [record] = decode_body(self.bodies[lsn - 1], 1)
            if record is not None:
                yield lsn, record


class CrashingLog(GroupCommit):
    """The log of one life of an engine, on a disk that has more of them."""

    accepting = True
    first_lsn = 1

    def __init__(
        self,
        disk: Disk,
        *,
        loop: asyncio.AbstractEventLoop,
        on_durable: OnDurable,
        on_failure: OnFailure,
        on_refused: OnRefused,
    ) -> None:
        super().__init__(
            loop=loop,
            next_lsn=disk.last_lsn + 1,
            body_bytes_max=BATCH_BYTES_MAX,
            on_durable=on_durable,
            on_failure=on_failure,
            on_refused=on_refused,
        )
        self._disk = disk

    def append(self, record: Record, *, awaited: bool = True) -> int:
        lsn = super().append(record, awaited=awaited)
        self._disk.on_append(lsn, record)
        return lsn

    def crash(self) -> None:
        """The process is gone: nothing more is written, and nobody is told anything."""
        if self._stopped is None:
            self._fail(LogFailed("the process", RuntimeError("a test ordered a crash")))
            self._disk.on_crash()

    def read(self, from_lsn: int) -> Iterator[tuple[int, list[Record]]]:
        for lsn, record in self._disk.records(from_lsn):
            yield lsn, [record]

    def trim(self, lsn: int) -> None:
        """Everything is kept: the tables do not outlive the engine here."""

    async def close(self, *, clean: bool) -> None:
        while clean and self._stopped is None and self.durable_lsn < self.next_lsn - 1:
            await self.sync()
        self._stop(LogStopped("the log is closed."))

    def _write(self, batch: Batch) -> None:
        disk = self._disk
        disk.batch_starts.add(batch.first_lsn)
        for lsn, slot in enumerate(batch.slots, batch.first_lsn):
            point = disk.dies_at
            dies = point is not None and point.lsn == lsn
            if not dies or (point is not None and point.when == "after"):
                disk.bodies.append(encode_body([slot]))
            if dies:
                disk.dies_at = None
                self.crash()
                return
        self._written(batch)
