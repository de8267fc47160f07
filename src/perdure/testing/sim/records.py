"""What the log acknowledged, kept by the world: nothing of it may ever be missing or different.

The tables are rebuilt from these records alone, beside the live ones, and must say the same.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec

from perdure.env.executor import Executor
from perdure.invoker.replay import MISMATCH
from perdure.model import journal as j
from perdure.model import records as r
from perdure.model.ids import format_invocation_id, partition_key, partition_of
from perdure.node.engine import Engine
from perdure.partition.actions import Action
from perdure.partition.apply import apply
from perdure.partition.lifecycle import attempt_is_current
from perdure.store.digest import digest
from perdure.store.rows import Invocation
from perdure.store.snapshot import Snapshot
from perdure.store.store import Store
from perdure.store.tables import Tables
from perdure.testing.sim.reading import Reader
from perdure.testing.sim.world import World

if TYPE_CHECKING:
    from perdure.testing.sim.engine import SimEngine

RECORDS_MAX = 3_000
"""Of a seed; some hundreds are usual. The way to everything's end does not get longer for ever."""

_WATCHED = 0.3
"""Chance of a batch of being followed by a look at the tables."""
_WHOLE = 0.2
"""Of a look of being one at everything."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(r.Record).decode


class Records:
    """Every record that was applied, by LSN, from 1."""

    def __init__(
        self,
        world: World,
        random: Random,
        partitions: int,
        executor: Executor,
        *,
        incompatible: bool,
        watched: bool,
    ) -> None:
        """`watched`: the tables are read and compared all the time, not only at starts and at the end."""
        self._world = world
        self._random = random
        self._watched = watched
        self._reader = Reader(world, random)
        self._incompatible = incompatible
        self._partitions = partitions
        self._by_lsn: list[bytes | None] = [None]
        self._at_ms = 0
        self._leaders = [0] * partitions
        self._led: set[int] = set()
        """Partitions for which the process that lives has said that it leads them."""
        self._executor = executor
        self._rebuilt = Store.open(None, partitions, executor=executor)
        self._rebuilt_lsn = 0
        self._read_lsn = 0
        """Of the last checkpoint that was looked at."""

    @property
    def last_lsn(self) -> int:
        return len(self._by_lsn) - 1

    def applied(self, engine: SimEngine, records: list[r.Record]) -> None:
        """A batch is durable and has been applied."""
        if engine.log.first_lsn > engine.store.applied_lsn + 1:
            what = f"the log begins at LSN {engine.log.first_lsn}, the store ends at {engine.store.applied_lsn}"
            self._world.broken("trimmed", what)
        first_lsn = engine.applied_lsn - len(records) + 1
        for lsn, record in enumerate(records, first_lsn):
            self._add(lsn, record)
            self._learn(engine, record)
        for each, in_force, actions in self._follow():
            engine.lateness.followed(each, actions, in_force=in_force)
        if self.last_lsn > RECORDS_MAX:
            self._world.broken("stuck", f"{self.last_lsn} records, and no end comes")
        if self._watched and self._random.random() < _WATCHED:
            self._look(engine)

    def _look(self, engine: SimEngine) -> None:
        """Read one partition as it is now."""
        if engine.applied_lsn != self.last_lsn:
            return
        partition = self._random.randrange(self._partitions)
        self._reader.look(engine.store.tables[partition], self._rebuilt.tables[partition], self.last_lsn)
        if self._random.random() < _WHOLE and self.rebuilt(partition) != engine.store.digest(partition):
            self._world.broken("tables", f"partition {partition} is not what its log says, at LSN {self.last_lsn}")
        if engine.store.applied_lsn != self._read_lsn and not self._world.disk_fails():
            self._read_lsn = engine.store.applied_lsn
            self._look_at_the_file(engine, partition)

    def _look_at_the_file(self, engine: SimEngine, partition: int) -> None:
        """A checkpoint holds what its LSN says, and nothing of what came behind it."""
        with engine.written() as (lsn, tables):
            store = Store.open(None, self._partitions, executor=self._executor)
            self._apply(store, 1, lsn)
            if digest(tables[partition]) != store.digest(partition):
                self._world.broken("tables", f"partition {partition} was written for LSN {lsn}, and is not what it was")
            store.close()

    def _add(self, lsn: int, record: r.Record) -> None:
        data = _encode(record)
        while self.last_lsn < lsn - 1:
            self._by_lsn.append(None)  # a void
        if lsn <= self.last_lsn:
            self._world.broken("log-order", f"LSN {lsn} was applied twice")
            return
        self._by_lsn.append(data)
        if record.at_ms < self._at_ms:
            self._world.broken(
                "time", f"LSN {lsn} is of {self._at_ms - record.at_ms} ms before the record in front of it"
            )
        self._at_ms = max(self._at_ms, record.at_ms)
        self._judge_leader(record)
        self._world.trace.note(f"applied {lsn} {describe(record)}")

    def _judge_leader(self, record: r.Record) -> None:
        """Each process takes each partition before it says anything else of it, with a number of its own."""
        partition = record.partition
        if type(record) is r.Lead:
            if record.leader_epoch <= self._leaders[partition]:
                self._world.broken("leader", f"partition {partition} is led for the {record.leader_epoch}th time again")
            self._leaders[partition] = record.leader_epoch
            self._led.add(partition)
        elif partition not in self._led:
            self._world.broken("leader", f"{type(record).__name__} for partition {partition}, which nobody leads")

    def _learn(self, engine: Engine, record: r.Record) -> None:
        """Which steps have a durable result now; and that code which does not replay only pauses its invocation."""
        if type(record) is r.AttemptFailed and record.error.code == MISMATCH:
            self._judge_mismatch(record)
        row = _row_of(engine, record)
        if row is None:
            return
        names: dict[int, str] = {}
        invocation_id = format_invocation_id(row.id)
        for entry in engine.journal(record.partition, row.seq).entries:
            if type(entry) is j.Run:
                names[entry.completion_id] = entry.name
            elif type(entry) is j.Completion and entry.code == j.CompletionCode.RUN:
                self._world.recorded.add((invocation_id, names[entry.completion_id]))

    def _judge_mismatch(self, record: r.AttemptFailed) -> None:
        if not self._incompatible:
            self._world.broken("replay", f"with the same code: {record.error.message}")
        if record.retry_at_ms is not None or record.exhausted != "pause":
            self._world.broken("replay", f"a mismatch does not pause its invocation: {record.error.message}")

    # --- after a start ------------------------------------------------------------------------------------------------------

    def check_start(self, engine: Engine) -> None:
        """The log of a new process holds all that was acknowledged, as it was; and its tables follow from it."""
        found_lsn = self.read(engine, engine.applied_lsn)
        if max(found_lsn, engine.store.applied_lsn) < self.last_lsn:
            what = f"the log ends at LSN {found_lsn}, but {self.last_lsn} was acknowledged"
            self._world.broken("acknowledged", what)
        self.check_tables(engine)
        self._led.clear()

    def read(self, engine: Engine, end_lsn: int) -> int:
        """The log as it was found, up to `end_lsn`; again before a checkpoint of a start trims it. Returns the last LSN."""
        world, log = self._world, engine.log
        if world.lenient:
            self._forget_behind(end_lsn)
        found_lsn = log.first_lsn - 1
        for first_lsn, records in log.read(log.first_lsn):
            for lsn, record in enumerate(records, first_lsn):
                found_lsn = lsn
                if lsn > self.last_lsn:
                    self._add(lsn, record)
                    self._learn(engine, record)
                elif _encode(record) != self._by_lsn[lsn]:
                    world.broken("acknowledged", f"LSN {lsn} is {describe(record)} now, and was something else")
        return found_lsn

    def _forget_behind(self, lsn: int) -> None:
        """The log lost its end, as it may: what it still holds is what counts from here on."""
        del self._by_lsn[lsn + 1 :]
        self._leaders = [0] * self._partitions
        self._rebuilt.close()
        self._rebuilt = Store.open(None, self._partitions, executor=self._executor)
        self._rebuilt_lsn = 0

    def check_tables(self, engine: Engine) -> None:
        """The tables say what the records say."""
        if engine.applied_lsn != self.last_lsn:
            self._world.broken("tables", f"applied up to LSN {engine.applied_lsn}, and the log ends at {self.last_lsn}")
            return
        for partition in range(self._partitions):
            if self.rebuilt(partition) != engine.store.digest(partition):
                self._world.broken("tables", f"partition {partition} is not what its log says, at LSN {self.last_lsn}")

    def rebuilt(self, partition: int) -> str:
        for _ in self._follow():
            pass
        return self._rebuilt.digest(partition)

    def _follow(self) -> Iterator[tuple[r.Record, bool, list[Action]]]:
        """Apply what has been acknowledged since: each record, whether it is of an attempt that could still say something, and
        what it asks for.
        """
        while self._rebuilt_lsn < self.last_lsn:
            self._rebuilt_lsn += 1
            data = self._by_lsn[self._rebuilt_lsn]
            if data is not None:
                record = _decode(data)
                tables, in_force = self.tables[record.partition], True
                if isinstance(record, r.Suspended | r.AttemptFailed):
                    in_force = attempt_is_current(tables.invocation(record.seq), record.epoch)
                yield record, in_force, apply(record, tables, self._partitions)

    @property
    def tables(self) -> Sequence[Tables]:
        """As the acknowledged records alone give them."""
        return self._rebuilt.tables

    def find(self, invocation_id: bytes) -> Invocation | None:
        tables = self.tables[partition_of(partition_key(invocation_id), self._partitions)]
        seq = tables.find(invocation_id)
        return None if seq is None else tables.invocation(seq)

    def _apply(self, store: Store, first_lsn: int, last_lsn: int) -> None:
        for data in self._by_lsn[first_lsn : last_lsn + 1]:
            if data is not None:
                record = _decode(data)
                apply(record, store.tables[record.partition], self._partitions)

    def snapshot_at(self, lsn: int) -> Snapshot:
        """What a snapshot at this LSN must say."""
        store = Store.open(None, self._partitions, executor=self._executor)
        self._apply(store, 1, lsn)
        store.freeze(lsn)
        store.write_frozen().result()
        try:
            return store.snapshot()
        finally:
            store.close()

    def close(self) -> None:
        self._rebuilt.close()


def _row_of(engine: Engine, record: r.Record) -> Invocation | None:
    """Whose journal has results of steps that it did not have before."""
    if type(record) is r.Progress and any(type(entry) is j.Completion for entry in record.entries):
        return engine.invocation(record.partition, record.seq)
    return engine.find(record.new_id) if type(record) is r.Restart else None


_SHOWN = ("seq", "epoch", "awaiting", "retry_at_ms", "outbox_seq", "seqs", "timers", "up_to")


def describe(record: r.Record) -> str:
    """One line that is the same in every process of a seed."""
    shown: Any = record
    if type(record) is r.AttemptFailed:  # where the code lies is not part of what happened
        error = msgspec.structs.replace(record.error, stacktrace="", message=record.error.message[:60])
        shown = msgspec.structs.replace(record, error=error)
    words = [f"{type(record).__name__} p{record.partition}"]
    words += [f"{name}={getattr(record, name)}" for name in _SHOWN if hasattr(record, name)]
    if type(record) is r.Progress:
        words.append(",".join(_entry(entry) for entry in record.entries))
    if type(record) is r.AttemptFailed:
        words.append(shown.error.message)
    return f"{' '.join(words)} {zlib.crc32(_encode(shown)):08x}"


def _entry(entry: j.Entry) -> str:
    number = getattr(entry, "completion_id", getattr(entry, "signal_id", ""))
    return f"{type(entry).__name__}{number}"
