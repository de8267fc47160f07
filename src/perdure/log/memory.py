"""A log that lives in memory: same order, same batches, same refusals as `SegmentLog`, and gone with the process.

Batches are kept encoded, so that reading gives fresh records and nobody can change what is "durable".
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from perdure.log.errors import LogStopped, LogTrimmed
from perdure.log.format import decode_body, runs
from perdure.log.group_commit import Batch, GroupCommit
from perdure.log.log import OnDurable, OnFailure, OnRefused
from perdure.model.limits import BATCH_BYTES_MAX, BATCH_LINGER_MS
from perdure.model.records import Record


class MemoryLog(GroupCommit):
    accepting = True

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        on_durable: OnDurable,
        on_failure: OnFailure,
        on_refused: OnRefused | None = None,
        linger_ms: float = BATCH_LINGER_MS,
        body_bytes_max: int = BATCH_BYTES_MAX,
    ) -> None:
        super().__init__(
            loop=loop,
            next_lsn=1,
            body_bytes_max=body_bytes_max,
            on_durable=on_durable,
            on_failure=on_failure,
            on_refused=on_refused,
            linger_ms=linger_ms,
        )
        self._batches: list[tuple[int, int, bytes]] = []
        """(first LSN, count, body)"""

    @property
    def first_lsn(self) -> int:
        return self._batches[0][0] if self._batches else self.durable_lsn + 1

    def read(self, from_lsn: int) -> Iterator[tuple[int, list[Record]]]:
        if from_lsn < self.first_lsn:
            raise LogTrimmed(from_lsn, self.first_lsn)
        return self._read(from_lsn, list(self._batches))

    def _read(self, from_lsn: int, batches: list[tuple[int, int, bytes]]) -> Iterator[tuple[int, list[Record]]]:
        for first_lsn, count, body in batches:
            skip = max(0, from_lsn - first_lsn)
            if skip < count:
                yield from runs(first_lsn + skip, decode_body(body, count)[skip:])

    def trim(self, lsn: int) -> None:
        lsn = min(lsn, self.durable_lsn)
        self._batches = [batch for batch in self._batches if batch[0] + batch[1] - 1 > lsn]

    async def close(self, *, clean: bool) -> None:
        while clean and self._stopped is None and self.durable_lsn < self.next_lsn - 1:
            await self.sync()
        self._stop(LogStopped("the log is closed."))

    def _write(self, batch: Batch) -> None:
        self._batches.append((batch.first_lsn, len(batch.slots), batch.body))
        self._written(batch)
