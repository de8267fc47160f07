"""Signals of one invocation: who waits for which, and those that came before anybody asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from perdure.model.journal import Signal
from perdure.sdk.futures import DurableFuture


class SignalBox:
    """Each signal goes to the future that has waited longest for its index or name, else it is kept for the next."""

    __slots__ = ("_early", "_waiting")

    def __init__(self) -> None:
        self._waiting: dict[int | str, list[DurableFuture[Any]]] = {}
        self._early: dict[int | str, list[Signal]] = {}

    def expect(self, signal_id: int | str, future: DurableFuture[Any]) -> None:
        early = self._early.get(signal_id)
        if early:
            future.resolve(early.pop(0).result)
        else:
            self._waiting.setdefault(signal_id, []).append(future)

    def deliver(self, signal: Signal, *, keep: bool) -> None:
        """`keep`: hold it for whoever asks later, when nobody waits now."""
        waiting = self._waiting.get(signal.signal_id)
        while waiting:
            future = waiting.pop(0)
            if not waiting:
                del self._waiting[signal.signal_id]
            if not future.done():
                future.resolve(signal.result)
                return
        if keep:
            self._early.setdefault(signal.signal_id, []).append(signal)

    def awaited(self) -> list[int | str]:
        return [signal for signal, futures in self._waiting.items() if any(not future.done() for future in futures)]

    def pending(self) -> Iterator[DurableFuture[Any]]:
        for futures in list(self._waiting.values()):
            yield from (future for future in futures if not future.done())
