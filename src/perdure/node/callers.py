"""Who waits outside for the end of an invocation: in memory only; after a crash a caller attaches again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from perdure.model.errors import PerdureError
from perdure.node.requests import Outcome


class Callers:
    def __init__(self) -> None:
        self._waiting: dict[bytes, list[asyncio.Future[Outcome]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def wait(self, invocation_id: bytes, future: asyncio.Future[Outcome]) -> None:
        self._waiting.setdefault(invocation_id, []).append(future)

    def leave(self, invocation_id: bytes, future: asyncio.Future[Outcome]) -> None:
        """A caller went away; the invocation goes on."""
        waiting = self._waiting.get(invocation_id)
        if waiting is None or future not in waiting:
            return
        waiting.remove(future)
        if not waiting:
            del self._waiting[invocation_id]

    def answer(self, outcome: Outcome) -> None:
        for future in self._waiting.pop(outcome.invocation_id, ()):
            if not future.done():
                future.set_result(outcome)

    def fail(self, make_error: Callable[[], PerdureError]) -> None:
        waiting, self._waiting = self._waiting, {}
        for futures in waiting.values():
            for future in futures:
                if not future.done():
                    future.set_exception(make_error())
