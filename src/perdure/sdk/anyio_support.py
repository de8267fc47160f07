"""anyio on a handler's loop: its cancel scopes in order, its worker threads inline.

anyio keeps the child scopes of a cancel scope in a set hashed by address, and cancels them in that order. Once anyio is
loaded, new scopes keep their children in the order of entering instead, which changes nothing else about them.
`anyio.to_thread.run_sync` in a handler's body runs the function in the turn, as `asyncio.to_thread` does; elsewhere it
stays what it is.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import sys
from collections.abc import Callable, Iterator, MutableSet
from typing import Any, TypeVar

from perdure.sdk.loop import DeterministicLoop

T = TypeVar("T")

_done = False


class OrderedSet(MutableSet[T]):
    """A set that is walked in the order of adding."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: dict[T, None] = {}

    def __contains__(self, item: object) -> bool:
        return item in self._items

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def add(self, value: T) -> None:
        self._items[value] = None

    def discard(self, value: T) -> None:
        self._items.pop(value, None)


def support_anyio() -> None:
    """Adapt anyio if the program uses it; called at the start of every attempt, and cheap."""
    global _done
    if _done or "anyio" not in sys.modules:
        return
    _done = True
    backend = importlib.import_module("anyio._backends._asyncio")
    if hasattr(backend.CancelScope, "_child_scopes"):
        _order_child_scopes(backend.CancelScope)
    _run_threads_inline(backend.AsyncIOBackend)


def _order_child_scopes(scope_class: Any) -> None:
    initialise = scope_class.__init__

    @functools.wraps(initialise)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        initialise(self, *args, **kwargs)
        self._child_scopes = OrderedSet()

    scope_class.__init__ = __init__


def _run_threads_inline(backend_class: Any) -> None:
    in_thread = backend_class.run_sync_in_worker_thread.__func__

    @functools.wraps(in_thread)
    async def run_sync_in_worker_thread(
        cls: Any, func: Callable[..., Any], args: tuple[Any, ...], *rest: Any, **options: Any
    ) -> Any:
        loop = asyncio.get_running_loop()
        if not isinstance(loop, DeterministicLoop):
            return await in_thread(cls, func, args, *rest, **options)
        await cls.checkpoint()
        loop.attempt.flag_inline_call(func)
        return func(*args)

    backend_class.run_sync_in_worker_thread = classmethod(run_sync_in_worker_thread)
