"""Guards of the author's side, each switched off: what handlers are told, in which order, and when."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from perdure.invoker import admission
from perdure.model.journal import Signal, Sleep
from perdure.sdk import loop
from perdure.sdk.attempt import Attempt
from perdure.sdk.futures import DurableFuture, LoopTimer
from perdure.sdk.loop import DeterministicLoop
from perdure.sdk.signal_box import SignalBox
from perdure.sdk.state import StateView

from .mutations import mutation


@mutation()
def cancelled_again() -> Iterator[None]:
    """A second cancellation hits what the handler does to compensate."""
    real = Attempt._cancel

    def cancel(self: Any) -> None:
        self.cancelled = False
        real(self)

    with patch.object(Attempt, "_cancel", cancel):
        yield


@mutation()
def cancellation_is_forgotten() -> Iterator[None]:
    """When nothing durable is pending, the next operation does not hear of it either."""
    real = Attempt._cancel

    def cancel(self: Any) -> None:
        real(self)
        self._cancel_due = False

    with patch.object(Attempt, "_cancel", cancel):
        yield


@mutation()
def last_waiter_first() -> Iterator[None]:
    """A signal goes to whoever came last."""
    real = SignalBox.deliver

    def deliver(self: Any, signal: Signal, *, keep: bool) -> None:
        waiting = self._waiting.get(signal.signal_id, [])
        waiting.reverse()
        real(self, signal, keep=keep)
        waiting.reverse()

    with patch.object(SignalBox, "deliver", deliver):
        yield


@mutation()
def signals_for_who_gave_up() -> Iterator[None]:
    """A signal is spent on a wait that was given up."""
    real = SignalBox.deliver

    def deliver(self: Any, signal: Signal, *, keep: bool) -> None:
        waiting = self._waiting.get(signal.signal_id)
        if waiting and waiting[0].done():
            waiting.pop(0)
        else:
            real(self, signal, keep=keep)

    with patch.object(SignalBox, "deliver", deliver):
        yield


@mutation()
def tasks_are_left_at_the_end() -> Iterator[None]:
    """What a handler left running is not told that it is over."""
    with patch.object(Attempt, "_cancel_the_rest", lambda self: self.loop.resume()):
        yield


@mutation()
def later_timers_first() -> Iterator[None]:
    """Of timers that are due at one time, the one made last fires first."""

    def push(timers: Any, item: Any) -> None:
        wake_ms, number, timer = item
        heapq.heappush(timers, (wake_ms, -number, timer))

    with patch.object(loop, "heapq", SimpleNamespace(heappush=push, heappop=heapq.heappop)):
        yield


@mutation()
def timers_are_rounded_down() -> Iterator[None]:
    with patch.object(loop, "math", SimpleNamespace(ceil=lambda ms: int(ms) // 100 * 100)):
        yield


@mutation()
def one_durable_timer_is_enough() -> Iterator[None]:
    """A timer of the loop does not become durable while any other is, even one that wakes later."""

    def make_durable(self: Any, wake_ms: int) -> None:
        if self._first_durable_timer() is None:
            number = self.next_completion()
            wake_at_ms = self.issue(Sleep(completion_id=number, wake_at_ms=wake_ms, name="timer")).wake_at_ms
            self.durable_timer(number, wake_at_ms)
            self._pending[number] = LoopTimer(self, number, wake_at_ms)

    with patch.object(Attempt, "_make_durable", make_durable):
        yield


@mutation()
def clock_stands_still() -> Iterator[None]:
    """A handler's time does not go on with what it is told."""
    real = Attempt.deliver
    with patch.object(Attempt, "deliver", lambda self, notification, at_ms: real(self, notification, 0)):
        yield


@mutation()
def futures_are_ordered_by_address() -> Iterator[None]:
    """A set of durable futures gives them in another order in each replay."""
    with patch.object(DurableFuture, "__hash__", asyncio.Future.__hash__):
        yield


@mutation("errands")
def contexts_work_anywhere() -> Iterator[None]:
    """A step may use the context of its handler."""
    with patch.object(DeterministicLoop, "check_in_turn", lambda self: None):
        yield


@mutation()
def sleepers_are_not_cancelled() -> Iterator[None]:
    """Who is in `asyncio.sleep` hears nothing of a cancellation."""
    with patch.object(DeterministicLoop, "sleepers", lambda self: []):
        yield


@mutation()
def steps_after_a_cancellation() -> Iterator[None]:
    """A cancellation that found nobody waiting does not meet the next step."""
    real = Attempt.run_step

    def run_step(self: Any, name: str, serde: Any) -> Any:
        due, self._cancel_due = self._cancel_due, False
        try:
            return real(self, name, serde)
        finally:
            self._cancel_due = due

    with patch.object(Attempt, "run_step", run_step):
        yield


@mutation()
def cleared_values_are_still_read() -> Iterator[None]:
    """A handler does not see that it has cleared its state."""
    with patch.object(StateView, "clear_all", lambda self: None):
        yield


@mutation("errands")
def values_of_any_size() -> Iterator[None]:
    """No bound for what a handler stores, passes on or returns."""
    with patch.object(admission, "_check_size", lambda command, payload: None):
        yield
