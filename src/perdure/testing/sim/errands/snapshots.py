"""Somebody reads much, as SQL does: snapshots of everything, held for a while, in the middle of all that goes on.

What must hold: a snapshot is the state of one LSN, which is no older than the question, in all its tables, however long it
is held and whatever is written meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from random import Random

from perdure.node.engine import Engine
from perdure.sdk.service import Service
from perdure.store.codec import decode_chunk
from perdure.store.errors import StoreUnreadable
from perdure.store.rows import Status
from perdure.store.snapshot import Chunk, Snapshot, Stored
from perdure.testing.sim.errands.errand import Errand
from perdure.testing.sim.world import World

_READS: dict[str, Callable[[Snapshot], Iterator[Chunk]]] = {
    "invocations": lambda snapshot: snapshot.invocations(),
    "those that run": lambda snapshot: snapshot.invocations((Status.INVOKED,)),
    "those that wait or have ended": lambda snapshot: snapshot.invocations((Status.SUSPENDED, Status.COMPLETED)),
    "those that wait for a key": lambda snapshot: snapshot.inboxed(),
    "those that hold a key": lambda snapshot: snapshot.holders(),
    "those with events": lambda snapshot: snapshot.invocations_with_events(),
    "states": lambda snapshot: snapshot.states(),
    "states of Cell": lambda snapshot: snapshot.states("Cell"),
    "state of c0": lambda snapshot: snapshot.states("Cell", "c0"),
    "promises": lambda snapshot: snapshot.promises(),
}


class Snapshots(Errand):
    check = "snapshot"

    def __init__(self, world: World, random: Random, *, forgets: bool) -> None:
        super().__init__(world, random, forgets=forgets)
        self._left = random.randint(2, 8)
        self.service = Service("Nobody")

    async def turn(self, engine: Engine) -> bool:
        await asyncio.sleep(2.0 * self.random.random())
        await engine.ready()
        asked_lsn = engine.applied_lsn
        try:
            snapshot, _ = await engine.snapshot()
            self.note(f"reads LSN {snapshot.lsn}")
            try:
                if snapshot.lsn < asked_lsn:
                    self.broken(f"of LSN {snapshot.lsn}, and LSN {asked_lsn} was asked for")
                await self._read(engine, snapshot)
            finally:
                snapshot.close()
        except StoreUnreadable:
            if not self.world.disk_fails():
                raise
            return True
        self._left -= 1
        return self._left > 0

    async def _read(self, engine: Engine, snapshot: Snapshot) -> None:
        """All that it holds, with pauses in between."""
        wanted = self.world.snapshot_at(snapshot.lsn)
        for what in self.random.sample(sorted(_READS), 4):
            await asyncio.sleep(self.random.choice((0.0, 0.01, 0.5)))
            await engine.ready()
            found, should = (_rows(_READS[what](each)) for each in (snapshot, wanted))
            if found != should:
                self.broken(
                    f"{what} at LSN {snapshot.lsn}: {len(found)} rows are read, {len(should)} should be, or others"
                )
        found_entries, entries = (_journals(each) for each in (snapshot, wanted))
        if found_entries != entries:
            self.broken(f"the journals at LSN {snapshot.lsn} are not what they were")
        wanted.close()


def _rows(chunks: Iterator[Chunk]) -> list[Stored]:
    return [row for chunk in chunks for row in chunk]


def _journals(snapshot: Snapshot) -> dict[tuple[int, int], list[object]]:
    """Entries with their times, whatever chunks they lie in."""
    found: dict[tuple[int, int], list[object]] = {}
    for partition, seq, first, row, crc in sorted(_rows(snapshot.journals())):
        chunk = decode_chunk(row, crc, (partition, seq, first))
        entries = found.setdefault((int(partition), int(seq)), [])
        assert len(entries) == first
        entries += zip(chunk.times, chunk.entries, strict=True)
    return found
