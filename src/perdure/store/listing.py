"""The invocations of a partition from the newest to the oldest, in slices: what a list for people is made from.

A slice looks at a bounded number of rows, wherever they lie, so that whoever reads can let the loop in between. Rows that
change between two slices are seen as they are when their slice is read; none is seen twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from perdure.store.codec import decode_invocation
from perdure.store.rows import Invocation, Status
from perdure.store.tables import Tables


class NewestFirst:
    """`below`: only invocations under this sequence number (None: all there are now); it falls as slices are read."""

    def __init__(self, tables: Tables, below: int | None, statuses: Collection[Status]) -> None:
        self._tables = tables
        self._statuses = statuses
        self.below = tables.meta.next_seq if below is None else below
        self.exhausted = False
        touched = {seq for layer in tables.layers for seq in layer.invocations if seq < self.below}
        self._touched = deque(sorted(touched, reverse=True))

    def slice(self, limit: int) -> list[Invocation]:
        """Those with a wanted status among the next `limit` rows. Errors: RowCorrupt, StoreUnreadable."""
        stored = {
            seq: (blob, crc) for seq, blob, crc in self._tables.database.newest(self.below, limit, self._statuses)
        }
        in_layers = [self._touched[at] for at in range(min(limit, len(self._touched)))]
        seqs = sorted({*stored, *in_layers}, reverse=True)[:limit]
        found: list[Invocation] = []
        for seq in seqs:
            row = self._row(seq, stored.get(seq))
            if row is not None and row.status in self._statuses:
                found.append(row)
        self.exhausted = len(seqs) < limit
        self.below = seqs[-1] if seqs else 0
        while self._touched and self._touched[0] >= self.below:
            self._touched.popleft()
        return found

    def _row(self, seq: int, stored: tuple[object, object] | None) -> Invocation | None:
        for layer in self._tables.layers:
            if seq in layer.invocations:
                return layer.invocations[seq]
        if stored is None:  # it has left the layers since the first slice
            return self._tables.invocation(seq)
        blob, crc = stored
        return None if blob is None else decode_invocation(blob, crc, (self._tables.partition, seq))
