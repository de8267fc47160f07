"""100,000 invocations in `ctx.sleep(1 h)`: memory after the last one, and a restart with them."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time

import perdure
from benchmarks.measure import resident_mib
from benchmarks.services import app, sleeper


async def put_to_sleep(directory: str, count: int) -> None:
    async with perdure.Node(app, data=directory) as node:
        began = time.perf_counter()
        left = count

        async def client() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await node.client.service_send(sleeper)

        await asyncio.gather(*(client() for _ in range(64)))
        took = time.perf_counter() - began
        print(f"{count:,} invocations accepted in {took:.1f} s, resident {resident_mib():.0f} MiB")
        await asyncio.sleep(10)
        print(f"10 s later: resident {resident_mib():.0f} MiB, {node.engine.stats()['attempts']} attempts in memory")


async def wake(directory: str, count: int) -> None:
    began = time.perf_counter()
    async with perdure.Node(app, data=directory) as node:
        print(f"restart with them: ready after {time.perf_counter() - began:.2f} s")
        await asyncio.sleep(2)
        stats = node.engine.stats()
        print(f"{stats['attempts']} woken, resident {resident_mib():.0f} MiB, {stats['invocations']:,} known")
        assert stats["invocations"] == count


if __name__ == "__main__":
    import uvloop

    sys.setswitchinterval(0.0005)
    if sys.argv[1] == "sleep":
        uvloop.run(put_to_sleep(sys.argv[2], int(sys.argv[3])))
    elif sys.argv[1] == "wake":
        uvloop.run(wake(sys.argv[2], int(sys.argv[3])))
    else:
        import subprocess

        with tempfile.TemporaryDirectory(prefix=".bench-", dir=".") as where:
            for part in ("sleep", "wake"):
                subprocess.run([sys.executable, "-m", "benchmarks.sleepers", part, where, sys.argv[1]], check=True)
