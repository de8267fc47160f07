"""What a run of `crash_everywhere` looks at while it goes on: the lines of steps and of turns, and what they change.

What always holds: what is looked at runs as it would; only a step in which the process is to die is left at its line.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from perdure.model import journal as j
from perdure.model.driver import App as DrivenApp
from perdure.model.driver import AttemptStart, AuthorAttempt, Driver, Turn
from perdure.model.records import AttemptError
from perdure.model.service import HandlerSpec
from perdure.model.target import Target
from perdure.testing.crashes.line_tracer import traced, traced_coroutine
from perdure.testing.mocking import StepCall

if TYPE_CHECKING:
    from perdure.testing.crashes.run import Run


@dataclass(frozen=True)
class Effect:
    """A line of a step that changed something outside perdure."""

    step: str
    execution: int
    event: int
    line: str
    next_line: str
    places: frozenset[str]


@dataclass(frozen=True)
class Seen:
    """Something in a handler's body that should not be there: `what` at `line`."""

    kind: str
    """`body` or `native`."""
    line: str
    what: str


@dataclass
class Sights:
    """What the first run has seen."""

    labels: dict[int, str] = field(default_factory=dict)
    """What each record says, in words, by LSN."""
    batch_starts: set[int] = field(default_factory=set)
    effects: list[Effect] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)


class CrashHere(BaseException):
    """Raised into a step at the line at which the process is to die."""


class StepWatch:
    """One execution of a step's body."""

    def __init__(self, run: Run, call: StepCall, execution: int) -> None:
        self._run = run
        self._call = call
        self._execution = execution
        self._event = 0
        self._last = ""
        self._before: dict[str, Any] = {}

    def plain(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if not self._run.wants_lines(self._execution):
            return function

        def body(*args: Any, **kwargs: Any) -> Any:
            self._begin()
            try:
                with traced(self._on_line):
                    result = function(*args, **kwargs)
            except CrashHere:
                self._run.die()
                raise RuntimeError("the process died in this step") from None
            self._look("the end of the step")
            return result

        return body

    def asynchronous(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if not self._run.wants_lines(self._execution):
            return function

        async def body(*args: Any, **kwargs: Any) -> Any:
            self._begin()
            try:
                awaitable = function(*args, **kwargs)
                result = await (
                    traced_coroutine(awaitable, self._on_line) if inspect.iscoroutine(awaitable) else awaitable
                )
            except CrashHere:
                self._run.die()
                await asyncio.get_running_loop().create_future()  # until the crash cancels it
                raise
            self._look("the end of the step")
            return result

        return body

    def _begin(self) -> None:
        if self._run.sees:
            self._before = self._run.picture()

    def _on_line(self, file: str, number: int, event: str) -> None:
        self._event += 1
        if self._run.dies_here(self._execution, self._event):
            raise CrashHere
        if self._run.takes_line():
            self._look(f"{file}:{number}")

    def _look(self, line: str) -> None:
        if not self._run.sees:
            return
        now = self._run.picture()
        places = changed(self._before, now)
        if places:
            step, last = self._call.name, self._last or line
            self._run.effect(Effect(step, self._execution, self._event, last, line, frozenset(places)))
        self._last, self._before = line, now


class WatchedTurns:
    """An app whose attempts are looked at while a turn of theirs runs."""

    def __init__(self, app: DrivenApp, run: Run) -> None:
        self._app = app
        self._run = run

    @property
    def identity(self) -> str:
        return self._app.identity

    def services(self) -> Any:
        return self._app.services()

    def validate_input(self, handler: HandlerSpec, target: Target, content_type: str | None, body: bytes) -> None:
        self._app.validate_input(handler, target, content_type, body)

    def begin(self, driver: Driver, start: AttemptStart) -> AuthorAttempt:
        attempt = self._app.begin(driver, start)
        return WatchedAttempt(attempt, start, self._run) if self._run.sees else attempt


class WatchedAttempt:
    def __init__(self, attempt: AuthorAttempt, start: AttemptStart, run: Run) -> None:
        self._attempt = attempt
        self._start = start
        self._run = run

    def __getattr__(self, name: str) -> Any:
        return getattr(self._attempt, name)

    error: AttemptError | None
    retry_after_ms: int | None
    park: bool

    def start(self) -> Turn:
        with self._run.turn(self._start):
            return self._attempt.start()

    def deliver(self, notification: j.Notification, at_ms: int) -> Turn:
        with self._run.turn(self._start):
            return self._attempt.deliver(notification, at_ms)

    def proceed(self) -> Turn:
        with self._run.turn(self._start):
            return self._attempt.proceed()

    def awaiting(self) -> j.Awaiting:
        return self._attempt.awaiting()

    def fail(self, error: AttemptError, *, retry_after_ms: int | None = None, park: bool = False) -> None:
        self._attempt.fail(error, retry_after_ms=retry_after_ms, park=park)

    def close(self) -> None:
        self._attempt.close()


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [name for name, value in after.items() if name in before and before[name] != value]
