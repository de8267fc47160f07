"""The log alone, beside the raw disk of the same run: `python -m benchmarks.log [inline|thread|os]`.

One sequential durable record (append, durable, next append) and 64 producers; syncs on the loop's thread or beside it.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal

import uvloop

from benchmarks.measure import RawFloor, median, percentile
from perdure.env.clock import SystemClock
from perdure.env.executor import ThreadExecutor
from perdure.env.files import SystemFiles
from perdure.env.random import SystemRandom
from perdure.log.format import FRAME_HEADER_BYTES, encode_body
from perdure.log.segment_log import SegmentLog
from perdure.model.journal import Completion, CompletionCode, Run
from perdure.model.records import Progress, Record

RECORD = Progress(0, 1_700_000_000_000, 5, 1, [Run(3, "charge"), Completion(3, CompletionCode.RUN, b"x" * 40)])
SEQUENTIAL, PRODUCERS, EACH = 4000, 64, 500


class Measurement:
    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.durability: Literal["fsync", "os"] = "os" if mode == "os" else "fsync"
        self.waiting: dict[int, asyncio.Future[None]] = {}

    def on_durable(self, first_lsn: int, records: list[Record]) -> None:
        for lsn in range(first_lsn, first_lsn + len(records)):
            self.waiting.pop(lsn).set_result(None)

    async def append(self) -> None:
        self.waiting[self.log.append(RECORD)] = done = asyncio.get_running_loop().create_future()
        await done

    async def run(self, directory: Path) -> None:
        executor = ThreadExecutor(1)
        self.log = await SegmentLog.open(
            SystemFiles(),
            directory / "log",
            loop=asyncio.get_running_loop(),
            executor=executor,
            clock=SystemClock(),
            random=SystemRandom(),
            on_durable=self.on_durable,
            on_failure=lambda error: sys.exit(str(error)),
            durability=self.durability,
        )
        if self.mode == "thread":
            self.log.pace.force(inline=False)
        elif self.mode == "inline":
            self.log.pace.force(inline=True)
        size = len(encode_body([RECORD])) + FRAME_HEADER_BYTES
        floor = RawFloor(directory)
        raw = floor.seconds(size, SEQUENTIAL // 2)
        seconds, cpu = await self.sequential()
        raw += floor.seconds(size, SEQUENTIAL // 2)
        began = time.perf_counter()
        await asyncio.gather(*(self.producer() for _ in range(PRODUCERS)))
        rate = PRODUCERS * EACH / (time.perf_counter() - began)
        print(
            f"{self.mode:<7} one after the other: p50 {median(seconds) * 1e6:.0f} us, "
            f"p99 {percentile(seconds, 0.99) * 1e6:.0f} us, CPU {cpu * 1e6:.0f} us; "
            f"raw write+fdatasync of the same bytes p50 {median(raw) * 1e6:.0f} us; {PRODUCERS} at once: {rate:,.0f} records/s"
        )
        await self.log.close(clean=True)
        executor.shutdown(wait=True)

    async def sequential(self) -> tuple[list[float], float]:
        seconds = []
        cpu = time.process_time()
        for _ in range(SEQUENTIAL):
            began = time.perf_counter()
            await self.append()
            seconds.append(time.perf_counter() - began)
        return seconds, (time.process_time() - cpu) / SEQUENTIAL

    async def producer(self) -> None:
        for _ in range(EACH):
            await self.append()


def main() -> None:
    for mode in sys.argv[1:] or ("inline", "thread", "os"):
        with tempfile.TemporaryDirectory(dir=".") as directory:
            uvloop.run(Measurement(mode).run(Path(directory)))


if __name__ == "__main__":
    main()
