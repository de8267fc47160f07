"""Reports: a plain function reads (on a thread), another computes (in a worker process with a timeout), the results are kept
in state that is read when it is asked for."""

from __future__ import annotations

import math
import os
import time
from datetime import timedelta
from pathlib import Path

import perdure
from perdure import RunOptions
from perdure.serde import Serde

DATA = Path(os.environ.get("REPORTS_DATA", "data"))
"""Where `NAME.csv` files lie, with a number in each line."""
TIMEOUT_S = float(os.environ.get("REPORTS_TIMEOUT_S", "60"))

# A key may have many large results: an attempt that needs one of them should not load all.
reports = perdure.VirtualObject("Report", enable_lazy_state=True)


class Csv(Serde[dict[str, float]]):
    """For spreadsheets: a line for each name."""

    def serialize(self, obj: dict[str, float] | None) -> bytes:
        return "".join(f"{name},{value}\n" for name, value in (obj or {}).items()).encode()

    def deserialize(self, buf: bytes) -> dict[str, float]:
        lines = (line.rsplit(",", 1) for line in buf.decode().splitlines())
        return {name: float(value) for name, value in lines}


@reports.handler()
async def make(ctx: perdure.ObjectContext, name: str) -> float:
    numbers = await ctx.run_typed("read", read, name=name)
    computing = RunOptions[float](pool="process", timeout=timedelta(seconds=TIMEOUT_S))
    result = await ctx.run_typed("compute", spread, computing, name, numbers)
    ctx.set(name, result)
    return result


@reports.handler(kind="shared")
async def made(ctx: perdure.ObjectSharedContext, name: str) -> float | None:
    return await ctx.get(name, type_hint=float)


@reports.handler(kind="shared", output_serde=Csv(), content_type="text/csv")
async def table(ctx: perdure.ObjectSharedContext) -> dict[str, float]:
    return {name: await ctx.get(name, type_hint=float, default=0.0) for name in await ctx.state_keys()}


def read(name: str) -> list[float]:
    return [float(line) for line in (DATA / f"{name}.csv").read_text().splitlines()]


def spread(name: str, numbers: list[float]) -> float:
    """The standard deviation, the slow way. Runs in a process of its own, which may be killed at any time."""
    (DATA / f"{name}.worker").write_text(str(os.getpid()))
    while (DATA / f"{name}.stuck").exists():  # code that does not come back
        time.sleep(0.01)
    mean = sum(numbers) / len(numbers)
    return math.sqrt(sum((number - mean) ** 2 for number in numbers) / len(numbers))


app = perdure.app([reports])
