"""Who waits outside for the end of an invocation: in memory only; after a crash a caller attaches again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from perdure.model.errors import PerdureError
from perdure.node.requests import Outcome

Waiter: TypeAlias = Callable[[Outcome | PerdureError], None]
"""Called once: with the outcome, or why it can no longer be waited for."""


class Callers:
    def __init__(self) -> None:
        self._waiting: dict[bytes, list[Waiter]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def wait(self, invocation_id: bytes, waiter: Waiter) -> None:
        self._waiting.setdefault(invocation_id, []).append(waiter)

    def leave(self, invocation_id: bytes, waiter: Waiter) -> None:
        """A caller went away; the invocation goes on."""
        waiting = self._waiting.get(invocation_id)
        if waiting is None or waiter not in waiting:
            return
        waiting.remove(waiter)
        if not waiting:
            del self._waiting[invocation_id]

    def answer(self, outcome: Outcome) -> None:
        for waiter in self._waiting.pop(outcome.invocation_id, ()):
            waiter(outcome)

    def fail(self, make_error: Callable[[], PerdureError]) -> None:
        waiting, self._waiting = self._waiting, {}
        for waiters in waiting.values():
            for waiter in waiters:
                waiter(make_error())
