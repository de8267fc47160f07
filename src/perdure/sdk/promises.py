"""Durable promises of a workflow, over a driver."""

from __future__ import annotations

from typing import Any, TypeVar

from perdure.model.journal import Command, CompletePromise, Failure, GetPromise, PeekPromise
from perdure.sdk.attempt import Attempt
from perdure.sdk.durable_promise import DurablePromise
from perdure.sdk.futures import DurableFuture
from perdure.sdk.serde import Serde, written

T = TypeVar("T")


class Promise(DurablePromise[T]):
    """See `durable_promise.DurablePromise`."""

    __slots__ = ("_attempt",)

    def __init__(self, attempt: Attempt, name: str, serde: Serde[T]) -> None:
        super().__init__(name, serde)
        self._attempt = attempt

    def value(self) -> DurableFuture[T]:
        number = self._attempt.next_completion()
        return self._ask(GetPromise(number, self.name), number, self.serde)

    def peek(self) -> DurableFuture[T | None]:
        number = self._attempt.next_completion()
        return self._ask(PeekPromise(number, self.name), number, self.serde)

    def resolve(self, value: T) -> DurableFuture[None]:
        codec = self._attempt.codec
        data = written(self.serde, value, f"The value of the promise {self.name!r}")
        return self._complete(data if codec is None else codec.encode(data))

    def reject(self, message: str, code: int = 500) -> DurableFuture[None]:
        return self._complete(Failure(code, message))

    def _complete(self, result: bytes | Failure) -> DurableFuture[None]:
        number = self._attempt.next_completion()
        return self._ask(CompletePromise(number, self.name, result), number, None)

    def _ask(self, command: Command, number: int, serde: Serde[Any] | None) -> DurableFuture[Any]:
        attempt = self._attempt
        attempt.issue(command)
        future = attempt.new_future(number, serde, f"promise {self.name}")
        attempt.expect(number, future)
        return future
