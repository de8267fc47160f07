"""Tasks and futures of a handler: asyncio's own, hashed by creation number.

asyncio keeps tasks in sets, and a set hashed by address is walked in another order in every process. Here the order is
that of creation. The hash also carries bits of the invocation's seed, so that tasks of many attempts do not collide in
asyncio's process-wide sets.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from perdure.sdk.loop import DeterministicLoop

T = TypeVar("T")

NUMBER_BITS = 20
"""Bits of a hash that count creations; the seed's bits lie above, so that small sets are walked in creation order."""


class HandlerTask(asyncio.Task[T]):
    """A task of a handler's loop. `context` is kept because a drop closes the coroutine in it."""

    __slots__ = ("context", "number")

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, T],
        loop: DeterministicLoop,
        name: str | None,
        context: contextvars.Context,
    ) -> None:
        # asyncio hashes the task while it initialises, so the number comes first.
        self.number = number = loop.next_number()
        self.context = context
        super().__init__(coroutine, loop=loop, name=name or f"Task-{number & (1 << NUMBER_BITS) - 1}", context=context)

    def __hash__(self) -> int:
        return self.number


class HandlerFuture(asyncio.Future[T]):
    """A plain future of a handler's loop."""

    __slots__ = ("number",)

    number: int

    def __hash__(self) -> int:
        return self.number
