"""`DurablePromise`: a value of a workflow that its handlers wait for; what it does to the journal is in `promises`."""

from __future__ import annotations

import abc
from collections.abc import Generator
from typing import Any, Generic, TypeVar

from perdure.sdk.futures import DurableFuture
from perdure.sdk.serde import DEFAULT_SERDE, Serde

T = TypeVar("T")


class DurablePromise(abc.ABC, Generic[T]):
    """A named value of a workflow, set once, awaited by any of its handlers, before or after it is set.

    Awaiting the promise itself waits for its value. What a promise is rejected with is raised as a `TerminalError`.
    """

    __slots__ = ("name", "serde")

    def __init__(self, name: str, serde: Serde[T] = DEFAULT_SERDE) -> None:
        self.name = name
        self.serde = serde

    @abc.abstractmethod
    def resolve(self, value: T) -> DurableFuture[None]:
        """Set its value. Errors, from the future: TerminalError (409) when it has been completed already."""

    @abc.abstractmethod
    def reject(self, message: str, code: int = 500) -> DurableFuture[None]:
        """Have whoever waits for it fail with a TerminalError. Errors: as `resolve`."""

    @abc.abstractmethod
    def peek(self) -> DurableFuture[T | None]:
        """The value if there is one already."""

    @abc.abstractmethod
    def value(self) -> DurableFuture[T]:
        """The value, once there is one."""

    def __await__(self) -> Generator[Any, Any, T]:
        return self.value().__await__()
