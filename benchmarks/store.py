"""The store alone: the tables under a stream of 64 concurrent invocations of 10 steps, with a checkpoint each second.

`python -m benchmarks.store [SECONDS]` prints steps/s, memory over time, how long the loop stands still while a full layer
is written, and what the hot calls cost.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import percentile, resident_mib
from perdure.env.executor import ThreadExecutor
from perdure.model.journal import Completion, CompletionCode, Input, Output, Run
from perdure.model.limits import LAYER_BYTES_MAX
from perdure.model.target import HandlerKind, Target
from perdure.store.rows import Invocation, Status
from perdure.store.store import Store
from perdure.store.tables import Tables

CONCURRENT = 64
STEPS = 10
NOW_MS = 1_800_000_000_000
DAY_MS = 24 * 3600 * 1000
TARGET = Target("bench", None, "ten")
PAYLOAD = b"x" * 98


class Stream:
    """Invocations that end and are replaced, as the state machine would change the tables for them."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.steps = 0
        self.now_ms = NOW_MS
        self._live = [(self._begin(), 0) for _ in range(CONCURRENT)]

    def batch(self) -> None:
        """One step of every live invocation."""
        self.now_ms += 1
        self._live = [self._step(seq, done) for seq, done in self._live]
        self.steps += CONCURRENT

    def _begin(self) -> int:
        tables, meta = self.tables, self.tables.edit_meta()
        seq = meta.next_seq
        meta.next_seq += 1
        raw = (seq * 0x9E3779B97F4A7C15 & (1 << 64) - 1).to_bytes(8, "big") + seq.to_bytes(16, "big")
        row = Invocation(
            seq, raw, TARGET, HandlerKind.PLAIN, Status.INVOKED, seq, self.now_ms, DAY_MS, DAY_MS, last_gain_at_ms=1
        )
        row.journal_length = row.commands = row.epoch = 1
        tables.add(row)
        tables.append_entry(seq, 0, self.now_ms, Input([], PAYLOAD))
        return seq

    def _step(self, seq: int, done: int) -> tuple[int, int]:
        tables = self.tables
        tables.edit_meta()
        known = tables.invocation(seq)
        assert known is not None
        row = tables.edit(seq)
        number = done + 1
        tables.append_entry(seq, row.journal_length, self.now_ms, Run(number, "step"))
        tables.append_entry(seq, row.journal_length + 1, self.now_ms, Completion(number, CompletionCode.RUN, PAYLOAD))
        tables.add_bytes(len(PAYLOAD))
        row.journal_length += 2
        row.commands += 1
        row.last_gain_at_ms = self.now_ms
        if number < STEPS:
            return seq, number
        tables.append_entry(seq, row.journal_length, self.now_ms, Output(b"ok"))
        row.journal_length += 1
        row.status = Status.COMPLETED
        row.result = b"ok"
        row.completed_at_ms = self.now_ms
        row.expires_at_ms = self.now_ms + DAY_MS
        return self._begin(), 0


class Checkpoints:
    """As the node does it: one at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._task: asyncio.Task[None] | None = None
        self.seconds: list[float] = []

    def begin(self, lsn: int) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self.write(lsn))

    async def write(self, lsn: int) -> None:
        began = time.perf_counter()
        self._store.freeze(lsn)
        await asyncio.wrap_future(self._store.write_frozen())
        self._store.written()
        self.seconds.append(time.perf_counter() - began)

    async def end(self) -> None:
        if self._task is not None:
            await self._task


async def stream(directory: Path, seconds: float) -> None:
    executor = ThreadExecutor()
    store = Store.open(str(directory / "store.sqlite"), 1, executor=executor)
    work = Stream(store.tables[0])
    checkpoints = Checkpoints(store)
    began = due = last = time.perf_counter()
    report, steps_then = began, 0
    gaps: list[float] = []
    while last - began < seconds:
        work.batch()
        if last >= due or store.active_bytes > LAYER_BYTES_MAX:
            due = last + 1
            checkpoints.begin(work.steps)
        await asyncio.sleep(0)
        now = time.perf_counter()
        gaps.append(now - last)
        last = now
        if now - report >= max(1.0, seconds / 10):
            rate = (work.steps - steps_then) / (now - report)
            print(f"  {now - began:5.1f} s: {rate:9,.0f} steps/s, resident {resident_mib():4.0f} MiB")
            report, steps_then = now, work.steps
    await checkpoints.end()
    print(
        f"store alone: {work.steps / (last - began):,.0f} steps/s, a batch of {CONCURRENT} steps takes "
        f"{percentile(gaps, 0.5) * 1000:.2f} ms (99%: {percentile(gaps, 0.99) * 1000:.1f}, "
        f"longest {max(gaps) * 1000:.0f}), longest checkpoint {max(checkpoints.seconds):.2f} s"
    )
    store.close()
    executor.shutdown(wait=True)


async def stall(directory: Path) -> None:
    """How long a loop with little to do is held up by the checkpoint of a full layer."""
    executor = ThreadExecutor()
    store = Store.open(str(directory / "stall.sqlite"), 1, executor=executor)
    work = Stream(store.tables[0])
    while store.active_bytes < LAYER_BYTES_MAX:
        work.batch()
    task = asyncio.create_task(Checkpoints(store).write(1))
    gaps: list[float] = []
    last = time.perf_counter()
    ended = None
    while ended is None or last - ended < 0.5:  # the old layer is let go behind the checkpoint
        await asyncio.sleep(0.0005)
        now = time.perf_counter()
        gaps.append(now - last)
        last = now
        if ended is None and task.done():
            ended = now
    print(
        f"checkpoint of a full layer ({LAYER_BYTES_MAX >> 20} MiB): the loop waits at most {max(gaps) * 1000:.1f} ms "
        f"(99%: {percentile(gaps, 0.99) * 1000:.1f}), resident {resident_mib():.0f} MiB"
    )
    store.close()
    executor.shutdown(wait=True)


def hot_calls() -> None:
    store = Store.open(None, 1, executor=ThreadExecutor())
    tables = store.tables[0]
    work = Stream(tables)
    entry = Completion(1, CompletionCode.RUN, PAYLOAD)
    seq = tables.meta.next_seq - 1

    def cost(name: str, call: Callable[[int], object], count: int = 100_000) -> None:
        began = time.perf_counter()
        for turn in range(count):
            call(turn)
        print(f"  {name:24} {(time.perf_counter() - began) / count * 1e6:6.2f} us")

    cost("append_entry", lambda turn: tables.append_entry(seq, turn + 1, NOW_MS, entry))
    cost("edit of an active row", lambda turn: tables.edit(seq))
    cost("invocation", lambda turn: tables.invocation(seq))
    cost("add, with its input", lambda turn: work._begin(), 20_000)
    cost("find of an unknown id", lambda turn: tables.find(turn.to_bytes(24, "little")), 20_000)
    cost("state_value, set here", lambda turn: tables.set_state("s", "k", "n", PAYLOAD))
    cost("state_value, read", lambda turn: tables.state_value("s", "k", "n"))
    cost("active_bytes", lambda turn: store.active_bytes)
    store.close()


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    sys.setswitchinterval(0.0005)
    with tempfile.TemporaryDirectory(dir=".") as where:
        asyncio.run(stream(Path(where), seconds))
        asyncio.run(stall(Path(where)))
    hot_calls()


if __name__ == "__main__":
    main()
