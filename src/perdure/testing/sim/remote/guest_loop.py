"""The loop of a worker's process: a guest of the engine's loop, which lends it time and outlives none of its guests.

What always holds: it runs whole rounds from plain callbacks of its host, when something of it is due; it has the host's time,
and moves it never. Without a host, or frozen, it stands still, and what came due meanwhile runs late, in order.
"""

from __future__ import annotations

import asyncio
import contextvars
import selectors
from collections.abc import Callable
from random import Random
from typing import Any

from perdure.testing.sim.virtual_time import BEGAN_MS, ROUNDS_AT_ONCE_MAX, NoSelector, SimLoop, Stuck

_get_running_loop, _set_running_loop = asyncio._get_running_loop, asyncio._set_running_loop
_UNWINDING_ROUNDS = 20


class GuestLoop(SimLoop):
    def __init__(self, random: Random, now_s: float) -> None:
        self._host: SimLoop | None = None
        self._seen_s = now_s
        self._frozen = self._inside = False
        self._wake: asyncio.TimerHandle | None = None
        super().__init__(random, now_s, _StandsStill(now_s))

    def time(self) -> float:
        if self._host is not None:
            self._seen_s = self._host.time()
        return self._seen_s

    def wall_ms(self) -> int:
        return BEGAN_MS + round(self.time() * 1000)

    # --- its host ---------------------------------------------------------------------------------------------------------

    def move_to(self, host: SimLoop | None) -> None:
        self._host, self._wake = host, None
        self._arm()

    def freeze(self) -> None:
        self._frozen = True

    def thaw(self) -> None:
        self._frozen = False
        self._arm()

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = super().call_soon(callback, *args, context=context)
        self._arm()
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        handle = super().call_at(when, callback, *args, context=context)
        self._arm()
        return handle

    def _arm(self) -> None:
        """Have the host call when there is something to do."""
        if self._inside or self._frozen or self._host is None:
            return
        if self._ready:  # type: ignore[attr-defined]
            at_s = self._host.time()
        elif self._scheduled:  # type: ignore[attr-defined]
            at_s = self._scheduled[0].when()  # type: ignore[attr-defined]
        else:
            return
        if self._wake is not None:
            if self._wake.when() <= at_s:
                return
            self._wake.cancel()
        self._wake = self._host.call_at(at_s, self._run, self._host)

    def _run(self, host: SimLoop) -> None:
        if host is not self._host:
            return
        self._wake = None
        if not self._frozen:
            self._visit(self._run_what_is_due)
            self._arm()

    def _run_what_is_due(self) -> None:
        for _ in range(ROUNDS_AT_ONCE_MAX):
            due = self._scheduled and self._scheduled[0].when() <= self.time()  # type: ignore[attr-defined]
            if not (self._ready or due):  # type: ignore[attr-defined]
                return
            self._run_once()  # type: ignore[attr-defined]
        raise Stuck("a worker goes round while time stands still")

    def _visit(self, run: Callable[[], None]) -> None:
        outer, self._inside = _get_running_loop(), True
        _set_running_loop(self)
        try:
            run()
        finally:
            _set_running_loop(outer)
            self._inside = False

    # --- its end ----------------------------------------------------------------------------------------------------------

    def bury(self) -> None:
        """Its process is gone: let its coroutines come to an end, so that none is left to the garbage collector."""
        self._host = None
        self._visit(self._unwind)
        self.close()

    def _unwind(self) -> None:
        for _ in range(_UNWINDING_ROUNDS):
            tasks = asyncio.all_tasks(self)
            if not tasks:
                return
            for task in sorted(tasks, key=_made):
                task.cancel()
            self._run_once()  # type: ignore[attr-defined]


class _StandsStill(NoSelector):
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return []


def _made(task: asyncio.Task[Any]) -> tuple[int, str]:
    """Orders tasks as they were made: their names are numbers behind one word."""
    return len(task.get_name()), task.get_name()
