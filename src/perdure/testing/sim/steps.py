"""The step that all simulated handlers take: it reports to the world when its body runs."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from perdure.sdk.context import Context
from perdure.sdk.futures import DurableFuture
from perdure.sdk.serde import JsonSerde
from perdure.sdk.steps import RunOptions
from perdure.testing.sim.world import World

EPOCH_HEADER = "x-sim-epoch"
"""Tells a handler that runs elsewhere the epoch of its attempt, which no message of the protocol does."""
BALLAST_BYTES = 2_500
"""At most, beside a result."""


def step(
    world: World,
    ctx: Context,
    name: str,
    branch: str,
    index: int,
    value: Any,
    *,
    ms: int = 0,
    times: int = 0,
    thread: bool = False,
    act: Callable[[], None] | None = None,
    attempts_max: int | None = None,
) -> DurableFuture[Any]:
    """A step that reports to the world, fails `times` times, takes `ms`, and returns `value`.

    `attempts_max`: it has a retry policy of its own.
    """
    invocation_id, epoch = ctx.request().id, epoch_of(ctx)

    async def body() -> Any:
        with world.runs(invocation_id, name, branch, index, epoch=epoch) as before:
            await asyncio.sleep(ms / 1000)
            if before < times:
                raise _Failing(name)
            if act is not None:
                act()
            return value

    def plain() -> Any:
        with world.runs(invocation_id, name, branch, index, stoppable=False, epoch=epoch):
            return value

    if attempts_max is not None:
        policy = RunOptions[Any](max_attempts=attempts_max, initial_retry_interval=timedelta(milliseconds=20))
        return ctx.run_typed(name, body, policy)
    bytes_more = zlib.crc32(name.encode()) % (3 * BALLAST_BYTES) - 2 * BALLAST_BYTES
    if bytes_more <= 0:
        return ctx.run_typed(name, plain if thread else body)
    return ctx.run_typed(name, plain if thread else body, RunOptions[Any](serde=_Padded(bytes_more)))


class _Padded(JsonSerde[Any]):
    """The results of a third of all steps are larger than what they say, so that a log grows and is trimmed."""

    def __init__(self, bytes_more: int) -> None:
        self._bytes_more = bytes_more

    def deserialize(self, buf: bytes) -> Any:
        return super().deserialize(buf.rstrip())

    def serialize(self, obj: Any) -> bytes:
        return super().serialize(obj) + b" " * self._bytes_more


def epoch_of(ctx: Context) -> int:
    """Of an attempt that runs elsewhere; 0: it runs in the process of the engine."""
    return int(ctx.request().attempt_headers.get(EPOCH_HEADER, "0"))


class _Failing(Exception):
    """What a step does before it succeeds."""
