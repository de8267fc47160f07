"""Guards of the invoker and of the node around it, each switched off: most of them cost time, memory or work, and no data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

from perdure.invoker.local import LocalAttempt
from perdure.invoker.pool import AttemptPool
from perdure.invoker.proposals import Proposals
from perdure.invoker.steps import Steps
from perdure.node.callers import Callers
from perdure.node.core import Core

from .mutations import mutation


@mutation()
def notifications_are_lost() -> Iterator[None]:
    """An attempt in memory is not told what has come; a suspension looks back, and sees it then."""
    with patch.object(LocalAttempt, "notify", lambda self, notification, at_ms: None):
        yield


@mutation("errands")
def who_gave_way_is_forgotten() -> Iterator[None]:
    """A handler that gave way after its callbacks does not go on."""
    real = LocalAttempt.pump

    def pump(self: Any) -> None:
        if not self._yielded:
            real(self)

    with patch.object(LocalAttempt, "pump", pump):
        yield


@mutation()
def results_linger() -> Iterator[None]:
    """What somebody waits for goes out when it would go out anyway."""
    real = Proposals.progress

    def progress(self: Any, entries: Any, *, ended: bool, awaited: bool) -> None:
        real(self, entries, ended=ended, awaited=False)

    with patch.object(Proposals, "progress", progress):
        yield


@mutation("errands")
def who_falls_leaves_nothing() -> Iterator[None]:
    """What a handler asked for in the turn that failed is not proposed."""
    real = LocalAttempt._flush

    def flush(self: Any, *, ended: bool, awaited: bool) -> None:
        if self._failing is not None:
            self._out.clear()
        real(self, ended=ended, awaited=awaited)

    with patch.object(LocalAttempt, "_flush", flush):
        yield


@mutation("errands")
def the_last_failure_is_told() -> Iterator[None]:
    """A step that fails while the attempt settles takes the place of what made it fail."""
    real = LocalAttempt._fail

    def fail(self: Any, *arguments: Any, **how: Any) -> None:
        self._failing = None
        real(self, *arguments, **how)

    with patch.object(LocalAttempt, "_fail", fail):
        yield


@mutation("errands")
def who_fails_waits_for_ever() -> Iterator[None]:
    """An attempt that has failed waits for its steps, however long they run."""
    real = LocalAttempt._settle_failure

    def settle(self: Any) -> None:
        if not self._steps.running:
            real(self)

    with patch.object(LocalAttempt, "_settle_failure", settle):
        yield


@mutation("errands")
def steps_outlive_their_attempts() -> Iterator[None]:
    """Nobody stops what an attempt runs that is over."""
    with patch.object(Steps, "cancel", lambda self: None):
        yield


@mutation("errands")
def steps_outlive_the_engine() -> Iterator[None]:
    """What a handler left running that has ended goes on behind the end of the engine."""
    real = AttemptPool.close

    def close(self: Any) -> None:
        self._outlived = []
        real(self)

    with patch.object(AttemptPool, "close", close):
        yield


@mutation("errands")
def what_was_given_up_begins() -> Iterator[None]:
    """A step runs that nobody waits for."""
    with patch.object(LocalAttempt, "abandon", lambda self, completion_id: None):
        yield


@mutation()
def nobody_leaves_memory() -> Iterator[None]:
    """An attempt that only waits stays."""
    with patch.object(AttemptPool, "sweep", lambda self, now_s: None):
        yield


@mutation()
def nobody_makes_room() -> Iterator[None]:
    """Who waits keeps its place, whoever else is to run."""
    with patch.object(AttemptPool, "make_room", lambda self: False):
        yield


@mutation("errands")
def the_end_of_an_earlier_run_is_told() -> Iterator[None]:
    """Who calls a run while an earlier one ends is answered for that one."""
    with patch.object(Callers, "ask", Callers.wait):
        yield


@mutation()
def who_was_held_up_is_forgotten() -> Iterator[None]:
    """When the store has caught up, nobody goes on."""

    def done(self: Any) -> None:
        self.pool.throttled = False
        self.room.set()

    with patch.object(Core, "_checkpoint_done", done):
        yield
