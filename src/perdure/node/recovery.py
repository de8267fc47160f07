"""After a start: bring the tables up to the end of the log, then take up again what was under way."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perdure.model.records import Interrupted, Lead
from perdure.model.retry import RetryPolicy
from perdure.partition.actions import Action
from perdure.partition.lifecycle import attempt_is_current
from perdure.store.rows import Status

if TYPE_CHECKING:
    from perdure.node.core import Core

_BACK_OFF = RetryPolicy(max_interval_ms=5_000, max_attempts=None)
"""Between interruptions without progress: long enough that a handler that kills its process does not do nothing else, short
enough that one that was only unlucky does not wait for minutes."""
_SLICE_RECORDS = 2_000
"""Records replayed before the loop gets a turn: the ports are open and answer meanwhile."""


@dataclass(slots=True)
class Recovered:
    """What a start found, for the message a person reads."""

    records: int = 0
    seconds: float = 0.0
    interrupted: int = 0
    """Invocations whose attempt the last process took down; they are tried again."""


async def replay(engine: Core, recovered: Recovered) -> None:
    """Apply the records behind the last checkpoint. Errors: those of the log and the store."""
    done = 0
    for first_lsn, records in engine.log.read(engine.store.applied_lsn + 1):
        for lsn, record in enumerate(records, first_lsn):
            engine.performer.replay(lsn, record)
        done += len(records)
        recovered.records += len(records)
        if done >= _SLICE_RECORDS:
            done = 0
            if engine.store.active_bytes > engine.settings.layer_bytes_max:
                await engine.checkpoint_while_replaying()
            await asyncio.sleep(0)


def take_up(engine: Core, recovered: Recovered) -> None:
    """Announce the new leader, end the attempts of the last one, and set timers and messages going."""
    for partition, tables in enumerate(engine.store.tables):
        now_ms = engine.now_ms()
        engine.propose(Lead(partition, now_ms, tables.meta.leader_epoch + 1), awaited=True)
        for seq in tables.with_status(Status.INVOKED):
            row = tables.invocation(seq)
            assert row is not None
            if not row.retry_at_ms:  # one between two attempts is woken by its timer
                recovered.interrupted += 1
                engine.backlog.add(partition, seq, row.epoch)
    engine.backlog.take_up()
    engine.timers.start()
    engine.performer.forward_all()


class Backlog:
    """Invocations whose attempt the last process took down.

    Each is taken up when there is a place for it, and only then does the interruption count: one that waited for its
    place while the process died again is not suspected of anything.
    """

    def __init__(self, engine: Core) -> None:
        self._engine = engine
        self._waiting: deque[tuple[int, int, int]] = deque()
        self._under_way = 0
        """Proposed, not applied."""

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, partition: int, seq: int, epoch: int) -> None:
        self._waiting.append((partition, seq, epoch))

    def take_up(self) -> None:
        """As many as there are places for. Who only waits gives up its place for one, as for whoever else waits for it."""
        engine, pool = self._engine, self._engine.pool
        now_ms = engine.now_ms()
        while self._waiting and (pool.places > self._under_way or pool.make_room()):
            partition, seq, epoch = self._waiting.popleft()
            row = engine.invocation(partition, seq)
            if row is None or not attempt_is_current(row, epoch):
                continue  # killed, paused or resumed meanwhile
            record = Interrupted(partition, now_ms, seq, epoch, _next_try(engine, row.interruptions, now_ms))
            self._under_way += 1
            engine.propose(record, awaited=True, reply=self._applied)

    def _applied(self, actions: list[Action]) -> None:
        self._under_way -= 1


def _next_try(engine: Core, interruptions: int, now_ms: int) -> int | None:
    """The first restart has no delay; further ones without progress in between wait, and in the end pause."""
    if interruptions == 0:
        return 0
    if interruptions >= engine.settings.interruptions_max:
        return None
    delay_ms = _BACK_OFF.delay_ms(interruptions, engine.random.fraction())
    assert delay_ms is not None, "this policy has no end: the setting is the end"
    return now_ms + delay_ms
