"""Durable steps on the embedded node: one after the other beside the raw disk, and 64 invocations at once for a minute."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import perdure
from benchmarks.measure import RawFloor, median, percentile, resident_mib
from benchmarks.services import app, many, ten
from perdure.log.segment_log import SegmentLog


@dataclass
class Sequential:
    step_us: float
    raw_us: float
    paused_us: float
    """The raw writes again, with pauses as long as what the engine does between its own: a disk that was left alone for
    a moment answers later."""
    bytes_per_step: float

    @property
    def ratio(self) -> float:
        return self.step_us / self.raw_us


async def sequential(rounds: int = 11, steps: int = 500) -> Sequential:
    """Step and raw write in turn, so that both see the same machine; medians of the rounds."""
    step_us: list[float] = []
    raw_us: list[float] = []
    paused_us: list[float] = []
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=".") as directory:
        async with perdure.Node(app, data=directory) as node:
            await node.client.service_call(many, 50)
            floor = RawFloor(Path(directory))
            size = 0.0
            for _ in range(rounds):
                before = _written(node)
                began = time.perf_counter()
                await node.client.service_call(many, steps)
                step_us.append((time.perf_counter() - began) / steps * 1e6)
                size = (_written(node) - before) / steps
                raw = sum(await asyncio.to_thread(floor.seconds, int(size), steps)) / steps
                pause = max(0.0, step_us[-1] / 1e6 - raw)
                raw_us.append(raw * 1e6)
                paused = await asyncio.to_thread(floor.seconds, int(size), steps, pause)
                paused_us.append(sum(paused) / steps * 1e6)
    return Sequential(median(step_us), median(raw_us), median(paused_us), size)


def _written(node: perdure.Node) -> int:
    log = node.engine.log
    assert isinstance(log, SegmentLog)
    return log.written_bytes


@dataclass
class Concurrent:
    steps_per_s: float
    slowest_second: float
    p50_ms: float
    p99_ms: float
    rss_half_mib: float
    rss_end_mib: float


async def concurrent(seconds: float = 60, clients: int = 64) -> Concurrent:
    """`clients` closed loops of ten-step invocations, default settings and retention."""
    done = 0
    latencies: list[float] = []
    rates: list[float] = []
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=".") as directory:
        async with perdure.Node(app, data=directory) as node:
            end = time.perf_counter() + seconds

            async def client() -> None:
                nonlocal done
                while (began := time.perf_counter()) < end:
                    await node.client.service_call(ten)
                    done += 1
                    if len(latencies) < 200_000:
                        latencies.append(time.perf_counter() - began)

            async def watch() -> float:
                half = 0.0
                last, at = 0, time.perf_counter()
                while at < end - 0.5:
                    await asyncio.sleep(1)
                    now = time.perf_counter()
                    rates.append((done - last) * 10 / (now - at))
                    last, at = done, now
                    if not half and at > end - seconds / 2:
                        half = resident_mib()
                return half

            began = time.perf_counter()
            watching = asyncio.create_task(watch())
            await asyncio.gather(*(client() for _ in range(clients)))
            took = time.perf_counter() - began
            half = await watching
            rss = resident_mib()
    return Concurrent(
        done * 10 / took, min(rates), median(latencies) * 1e3, percentile(latencies, 0.99) * 1e3, half, rss
    )


def main(what: str, seconds: float) -> None:
    sys.setswitchinterval(0.0005)
    import uvloop

    if what == "sequential":
        one = uvloop.run(sequential())
        print(
            f"sequential durable step: {one.step_us:.0f} us; raw write+fdatasync of {one.bytes_per_step:.0f} bytes: "
            f"{one.raw_us:.0f} us; ratio {one.ratio:.2f} (raw with pauses as long as the engine's: {one.paused_us:.0f} us)"
        )
    else:
        all64 = uvloop.run(concurrent(seconds))
        print(
            f"64 x 10 steps for {seconds:.0f} s: {all64.steps_per_s:,.0f} steps/s (slowest second "
            f"{all64.slowest_second:,.0f}), invocation p50 {all64.p50_ms:.1f} ms, p99 {all64.p99_ms:.1f} ms; "
            f"resident {all64.rss_half_mib:.0f} MiB at half time, {all64.rss_end_mib:.0f} MiB at the end"
        )


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 60)
