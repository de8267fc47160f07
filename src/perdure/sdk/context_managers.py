"""`contextvar`: what an invocation context manager yields, within reach of the handler that runs inside it."""

from __future__ import annotations

import contextvars
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Generic, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")

_OUTSIDE = object()


class contextvar(Generic[P, T]):
    """Decorates a function that makes an async context manager: calling it gives one that yields None, fit for
    `invocation_context_managers`, and `value` is what the wrapped one yielded, for whoever runs inside."""

    def __init__(self, func: Callable[P, AbstractAsyncContextManager[T]]) -> None:
        self.func = func
        self._current: contextvars.ContextVar[object] = contextvars.ContextVar(
            getattr(func, "__qualname__", "contextvar"), default=_OUTSIDE
        )

    @property
    def value(self) -> T:
        """Errors: LookupError outside of the context manager."""
        value = self._current.get()
        if value is _OUTSIDE:
            raise LookupError("the context manager has not been entered: list it in invocation_context_managers")
        return cast(T, value)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> AbstractAsyncContextManager[None]:
        return self._entered(self.func(*args, **kwargs))

    @asynccontextmanager
    async def _entered(self, manager: AbstractAsyncContextManager[T]) -> AsyncGenerator[None, None]:
        async with manager as value:
            token = self._current.set(value)
            try:
                yield
            finally:
                self._current.reset(token)
