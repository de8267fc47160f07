"""Who waits outside for the end of an invocation: in memory only; after a crash a caller attaches again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from perdure.model.errors import PerdureError
from perdure.node.requests import Outcome

Waiter: TypeAlias = Callable[[Outcome | PerdureError], None]
"""Called once: with the outcome, or why it can no longer be waited for."""


class Callers:
    """What always holds: who asked under an id that was there before is not answered for the earlier invocation."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, list[Waiter]] = {}
        self._asking: dict[bytes, list[Waiter]] = {}
        """Their request is not applied yet."""

    def __len__(self) -> int:
        return sum(map(len, (*self._waiting.values(), *self._asking.values())))

    def wait(self, invocation_id: bytes, waiter: Waiter) -> None:
        self._waiting.setdefault(invocation_id, []).append(waiter)

    def ask(self, invocation_id: bytes, waiter: Waiter) -> None:
        """As `wait`, from when it is `accepted` on."""
        self._asking.setdefault(invocation_id, []).append(waiter)

    def accepted(self, invocation_id: bytes, waiter: Waiter) -> None:
        if _remove(self._asking, invocation_id, waiter):
            self.wait(invocation_id, waiter)

    def leave(self, invocation_id: bytes, waiter: Waiter) -> None:
        """A caller went away; the invocation goes on."""
        if not _remove(self._waiting, invocation_id, waiter):
            _remove(self._asking, invocation_id, waiter)

    def answer(self, outcome: Outcome) -> None:
        for waiter in self._waiting.pop(outcome.invocation_id, ()):
            waiter(outcome)

    def fail(self, make_error: Callable[[], PerdureError]) -> None:
        everybody = (*self._waiting.values(), *self._asking.values())
        self._waiting, self._asking = {}, {}
        for waiters in everybody:
            for waiter in waiters:
                waiter(make_error())


def _remove(waiting: dict[bytes, list[Waiter]], invocation_id: bytes, waiter: Waiter) -> bool:
    waiters = waiting.get(invocation_id)
    if waiters is None or waiter not in waiters:
        return False
    waiters.remove(waiter)
    if not waiters:
        del waiting[invocation_id]
    return True
