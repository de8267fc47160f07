"""Guards of what leads to deployments elsewhere, and of what comes from there. All for the theme `remote`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

from perdure.invoker.remote import attempt, opening
from perdure.invoker.remote.attempt import RemoteAttempt
from perdure.invoker.remote.h2_connection import H2Connection
from perdure.model import journal as j
from perdure.partition import awaiting
from perdure.partition.transitions import attempts, progress

from .mutations import _patched, mutation


@mutation("remote")
def zombies_are_heard() -> Iterator[None]:
    """An attempt that is over is listened to, and no epoch fences what it says."""

    def finish(self: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._on_over(self)

    def current(row: Any, epoch: int) -> bool:
        return row is not None

    with _patched(
        patch.object(RemoteAttempt, "_finish", finish),
        patch.object(RemoteAttempt, "abort", lambda self, silent=False: self.over or finish(self)),
        patch.object(attempts, "attempt_is_current", current),
        patch.object(progress, "attempt_is_current", current),
    ):
        yield


@mutation("remote")
def the_journal_goes_without_the_results_of_steps() -> Iterator[None]:
    real = attempt.opening

    def opening(row: Any, journal: Any, *rest: Any) -> Any:
        return real(row, [entry for entry in journal if getattr(entry, "code", 0) != j.CompletionCode.RUN], *rest)

    with patch.object(attempt, "opening", opening):
        yield


@mutation("remote")
def a_suspension_does_not_look_back() -> Iterator[None]:
    """What came while the deployment was letting go counts as told."""
    notify, tell = RemoteAttempt.notify, RemoteAttempt._tell

    def told_at_once(self: Any, notification: Any, at_ms: int) -> None:
        self._told += 1
        notify(self, notification, at_ms)

    def not_told_again(self: Any) -> None:
        self._told -= len(self._outgoing)
        tell(self)

    with _patched(
        patch.object(RemoteAttempt, "notify", told_at_once),
        patch.object(RemoteAttempt, "_tell", not_told_again),
        patch.object(RemoteAttempt, "_answered", lambda self, awaiting: False),
    ):
        yield


@mutation("remote")
def the_first_of_a_tree_is_not_enough() -> Iterator[None]:
    with patch.object(awaiting, "_outcome", lambda combinator, done, left: None if left else True):
        yield


@mutation("remote")
def silence_is_borne() -> Iterator[None]:
    """Neither a ping that nobody answers nor a deployment that does not let go ends an attempt."""

    def bears(self: Any) -> None:
        self._timer = None
        if not (self.over or self._half_closed):
            self.suspend()

    with _patched(
        patch.object(RemoteAttempt, "_silent", bears), patch.object(H2Connection, "_no_answer", lambda self: None)
    ):
        yield


@mutation("remote")
def state_stays_at_home() -> Iterator[None]:
    """A deployment is told that its key has no state."""
    with patch.object(opening, "_eager_state", lambda state: ([], True)):
        yield


@mutation("remote")
def notifications_come_in_another_order() -> Iterator[None]:
    tell = RemoteAttempt._tell

    def reversed_tell(self: Any) -> None:
        self._outgoing.reverse()
        tell(self)

    with patch.object(RemoteAttempt, "_tell", reversed_tell):
        yield
