"""The seam: what the rest of the engine knows of a log.

What always holds: LSNs are the running numbers of appended records, from 1. Records become durable in that order, in
batches; `on_durable` sees every one of them once, in order, on the event loop, and only then may anybody be told. After a
restart the log holds at least every record that was durable, and possibly some behind it, never with a gap.
Implementations: `SegmentLog` (files), `MemoryLog`; tests/log/test_conformance.py runs both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeAlias

from perdure.log.errors import LogFailed, RecordRefused
from perdure.model.records import Record

OnDurable: TypeAlias = Callable[[int, list[Record]], None]
"""(LSN of the first, records): these are durable, LSNs are consecutive."""
OnFailure: TypeAlias = Callable[[LogFailed], None]
"""A write or sync failed for good; called once, and nothing becomes durable after it."""
OnRefused: TypeAlias = Callable[[int, Record, RecordRefused], None]
"""A pending record was changed into something that cannot be encoded: its LSN stays unused, `on_durable` skips it."""


class Log(Protocol):
    @property
    def next_lsn(self) -> int:
        """LSN that the next appended record gets."""
        ...

    @property
    def durable_lsn(self) -> int:
        """LSN up to which everything is acknowledged; 0 for an empty log."""
        ...

    @property
    def first_lsn(self) -> int:
        """Oldest LSN that can be read; `next_lsn` when there is none."""
        ...

    @property
    def accepting(self) -> bool:
        """False while the disk is too full to replace the reserve: refuse new invocations, let running ones finish."""
        ...

    def append(self, record: Record, *, awaited: bool = True) -> int:
        """Add a record and return its LSN; it is durable when `on_durable` has seen it.

        An awaited record goes out with the next batch at once; another one rides along, or follows after
        limits.BATCH_LINGER_MS. Until `is_pending` is false the record may still be changed in place.
        Errors: RecordRefused (this record only), LogStopped.
        """
        ...

    def is_pending(self, lsn: int) -> bool:
        """Whether the record with this LSN is appended and not yet encoded."""
        ...

    def hurry(self) -> None:
        """Somebody waits for what is pending by now: it goes out with the next batch, as if appended awaited."""
        ...

    def read(self, from_lsn: int) -> Iterator[tuple[int, list[Record]]]:
        """The durable records from `from_lsn` on, as (LSN of the first, records with consecutive LSNs).

        Errors: LogTrimmed, LogCorrupt, RecordUnknown.
        """
        ...

    def trim(self, lsn: int) -> None:
        """Records up to and including `lsn` are no longer needed: a synced checkpoint covers them."""
        ...

    async def sync(self) -> None:
        """Return when everything appended so far is on stable storage, in every durability mode. Errors: LogStopped."""
        ...

    async def close(self, *, clean: bool) -> None:
        """Stop. `clean`: after making everything appended durable, and marking that the log ends here in order."""
        ...
