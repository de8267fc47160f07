"""Waiting for several futures: `gather`, `select`, `as_completed`, `wait_completed`.

They take durable futures, tasks, and coroutines (started in the order given). Giving up such a wait abandons nothing:
the futures go on, and can be awaited later.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any

from perdure.sdk.errors import TerminalError, cancelled_error
from perdure.sdk.futures import DurableFuture
from perdure.sdk.loop import DeterministicLoop

Future = asyncio.Future[Any]


async def gather(*futures: Awaitable[Any]) -> list[Future]:
    """Wait until all are done, and give them back: await each for its result or its error."""
    waiting = _as_futures(futures)
    for future in waiting:
        if not future.done():
            await _any_done([future])
    return waiting


async def select(**kws: Awaitable[Any]) -> list[Any]:
    """Wait for the first to be done: `[its name, its result]`. Works well with `match`."""
    if not kws:
        raise ValueError("select needs at least one future.")
    futures = _as_futures(tuple(kws.values()))
    await _any_done(futures)
    for name, future in zip(kws, futures, strict=True):
        if future.done():
            return [name, await future]
    raise AssertionError("a wait ended with nothing done")


async def as_completed(*futures: Awaitable[Any]) -> AsyncIterator[Future]:
    """Yield each future once it is done; those done at the same time in the order given."""
    remaining = _as_futures(futures)
    while remaining:
        done, remaining = await wait_completed(*remaining)
        for future in done:
            yield future


async def wait_completed(*args: Awaitable[Any]) -> tuple[list[Future], list[Future]]:
    """Wait until at least one is done: those done, and those not, each in the order given."""
    futures = _as_futures(args)
    if futures:
        await _any_done(futures)
    return [future for future in futures if future.done()], [future for future in futures if not future.done()]


async def _any_done(futures: list[Future]) -> None:
    """Wait until one is done. Errors: TerminalError 409 when the invocation is cancelled meanwhile."""
    if any(future.done() for future in futures):
        return
    loop = _loop()
    cancelled_before = loop.attempt.cancelled
    waiter: asyncio.Future[None] = loop.create_future()

    def wake(_: Future) -> None:
        if not waiter.done():
            waiter.set_result(None)

    for future in futures:
        future.add_done_callback(wake)
    try:
        await waiter
    finally:
        for future in futures:
            future.remove_done_callback(wake)
    if loop.attempt.cancelled and not cancelled_before:
        raise cancelled_error()


def _loop() -> DeterministicLoop:
    loop = asyncio.get_running_loop()
    if not isinstance(loop, DeterministicLoop):
        raise TerminalError("perdure's combinators work in a handler's body only, not in steps.")
    return loop


def _as_futures(awaitables: tuple[Awaitable[Any], ...] | list[Awaitable[Any]]) -> list[Future]:
    loop = _loop()
    return [
        awaitable if isinstance(awaitable, (DurableFuture, asyncio.Future)) else loop.create_task(_awaited(awaitable))
        for awaitable in awaitables
    ]


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
