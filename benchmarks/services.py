"""The handlers that the benchmarks call."""

from __future__ import annotations

from datetime import timedelta

import perdure

bench = perdure.Service("bench")

PAYLOAD = {"order": 4711, "customer": "c-000042", "amount": 1299, "currency": "EUR", "note": "a small note"}
"""98 bytes of JSON."""


async def step() -> dict[str, object]:
    return PAYLOAD  # type: ignore[return-value]


@bench.handler()
async def echo(ctx: perdure.Context, value: dict[str, object]) -> dict[str, object]:
    return value


@bench.handler()
async def ten(ctx: perdure.Context) -> str:
    for _ in range(10):
        await ctx.run("step", step)
    return "ok"


@bench.handler()
async def many(ctx: perdure.Context, steps: int) -> str:
    for _ in range(steps):
        await ctx.run("step", step)
    return "ok"


@bench.handler()
async def sleeper(ctx: perdure.Context) -> str:
    await ctx.sleep(timedelta(hours=1))
    return "woken"


app = perdure.app([bench])
