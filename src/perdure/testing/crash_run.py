"""One run of a scenario, with or without a crash: what came of it, and on the first run everything that can be seen.

What always holds: an `Outcome` is plain data that can be compared with that of another run; the engine is the real one, and
only what a test may order of it is ordered.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import inspect
import json
import re
import sys
import warnings
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from perdure.invoker.replay import describe
from perdure.model import journal as j
from perdure.model.driver import App as DrivenApp
from perdure.model.driver import AttemptStart, AuthorAttempt, Driver, Turn
from perdure.model.records import AttemptError, Invoke, Progress, Record
from perdure.model.service import HandlerSpec
from perdure.model.target import Target
from perdure.node.settings import EngineSettings
from perdure.sdk.app import App
from perdure.sdk.errors import DeterminismWarning
from perdure.sdk.guards import user_line
from perdure.store.rows import Invocation
from perdure.testing.clock import VirtualClock
from perdure.testing.crash_log import AtRecord
from perdure.testing.crash_node import CrashNode
from perdure.testing.in_memory import InMemoryNode
from perdure.testing.line_tracer import traced, traced_coroutine
from perdure.testing.mocking import StepCall, Steps
from perdure.testing.user_state import UserState, is_own_file, picture_of

T = TypeVar("T")

Scenario = Callable[[InMemoryNode], Awaitable[Any]]

_LINES_MAX = 20_000
"""Lines that one run looks at; what comes later is not seen."""
_PATIENCE_S = 3.0
"""Real time in which nothing happens, after which a scenario is taken to wait for ever."""
_PATIENCE_PAUSED_S = 0.1


@dataclass(frozen=True)
class InStep:
    """Die inside the nth execution of a step, before the line of this event runs."""

    execution: int
    event: int
    line: str


Point = AtRecord | InStep


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
class Outcome:
    result: Any
    """(`returned`, picture of the value) or (`raised`, type, text)."""
    state: dict[str, Any]
    effects: dict[str, Any]
    stuck: list[tuple[str, str, str]]
    """(target, error, line) of invocations that are paused, or that a scenario waits for in vain."""
    executed: Counter[str]
    records: int = 0
    crashed: bool = False
    error: BaseException | None = None


@dataclass
class Sights:
    """What the first run has seen."""

    labels: dict[int, str] = field(default_factory=dict)
    """What each record says, in words, by LSN."""
    batch_starts: set[int] = field(default_factory=set)
    effects: list[Effect] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    step_lines: dict[str, str] = field(default_factory=dict)


class CrashHere(BaseException):
    """Raised into a step at the line at which the process is to die."""


class Run(Steps):
    """`sights`: look at every line, and note what is seen there."""

    watches_commands = True

    def __init__(
        self,
        app: App,
        scenario: Scenario,
        user: UserState,
        *,
        start: datetime.datetime,
        point: Point | None = None,
        sights: Sights | None = None,
        always_replay: bool = False,
        loses_memory: Callable[[], None] | None = None,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        super().__init__()
        self._scenario = scenario
        self._user = user
        self._point = point
        self._sights = sights
        self._patience_s = patience_s
        self._executed: Counter[str] = Counter()
        self._lines_left = _LINES_MAX
        self._issued: dict[int, tuple[j.Command, str]] = {}
        self._asked: dict[tuple[str, int], tuple[str, str]] = {}
        self._records: dict[int, Record] = {}
        self._refused: dict[str, str] = {}
        """The line at which the engine did not take a command, by target."""
        self.node = CrashNode(
            app,
            clock=VirtualClock(start),
            dies_at=point if isinstance(point, AtRecord) else None,
            settings=EngineSettings(always_replay=always_replay),
            steps=self,
            watched=lambda driven: WatchedTurns(driven, self),
            on_append=self._appended,
            on_restart=loses_memory or _nothing,
        )

    async def outcome(self) -> Outcome:
        node = self.node
        async with node:
            task = asyncio.ensure_future(self._scenario(node))
            stuck = await self._until_done(task)
            if not stuck:
                await node.clock.settle()
            node.disk.dies_at = None
            if self._sights is not None:
                self._sights.batch_starts = set(node.disk.batch_starts)
                self._sights.labels = {lsn: self._label(record) for lsn, record in self._records.items()}
            return await self._judge(task, stuck)

    async def _judge(self, task: asyncio.Future[Any], stuck: bool) -> Outcome:
        node = self.node
        paused = [self._paused(row) for row in node.paused()]
        error: BaseException | None = None
        if stuck:
            task.cancel()
            await asyncio.wait([task])
            result: Any = ("never ended",)
            if not paused:
                paused = [_unfinished(row) for row in node.rows() if not row.completed_at_ms]
        elif (error := task.exception()) is not None:
            result = ("raised", type(error).__name__, str(error))
        else:
            result = ("returned", picture_of(task.result()))
        state = {key: {name: _shown(value) for name, value in kept.items()} for key, kept in node.state().items()}
        return Outcome(
            result,
            state,
            self._user.picture(memory=False),
            paused,
            self._executed,
            node.disk.last_lsn,
            node.crashes > 0,
            error,
        )

    def _paused(self, row: Invocation) -> tuple[str, str, str]:
        target = str(row.target)
        if row.last_error is None:
            return target, "it is paused", ""
        return target, row.last_error.message, self._refused.get(target) or _own_line(row.last_error.stacktrace)

    async def _until_done(self, task: asyncio.Future[Any]) -> bool:
        """True when nothing happens any more, and it is not done."""
        node, silent_s, last = self.node, 0.0, (-1, -1, -1)
        while not task.done():
            await asyncio.wait({task}, timeout=0.01)
            if node.failure is not None:
                raise node.failure
            now = (node.disk.last_lsn, node.crashes, node.clock.now_ms())
            silent_s = silent_s + 0.01 if now == last else 0.0
            last = now
            if silent_s > self._patience_s or (silent_s > _PATIENCE_PAUSED_S and node.paused()):
                return True
        return False

    # --- steps ------------------------------------------------------------------------------------------------------------

    def body_of(self, call: StepCall, function: Callable[..., Any], *, plain: bool) -> Callable[..., Any]:
        watch = StepWatch(self, call, sum(self._executed.values()))
        self._executed[call.name] += 1
        if self._sights is not None:
            self._sights.step_lines.setdefault(call.name, call.line)
        if plain:
            return watch.plain(function)
        return watch.asynchronous(function)

    def die(self) -> None:
        self.node.real_loop.call_soon_threadsafe(self.node.crash)

    # --- what is written --------------------------------------------------------------------------------------------------

    def issued(self, command: j.Command, start: AttemptStart) -> None:
        if self._sights is not None:
            line = user_line(sys._getframe(2))
            self._issued[id(command)] = (command, line)
            completion_id = getattr(command, "completion_id", None)
            if completion_id is not None:
                self._asked[str(start.target), completion_id] = (describe(command), line)

    def refused(self, start: AttemptStart, line: str) -> None:
        self._refused[str(start.target)] = line

    def _appended(self, lsn: int, record: Record) -> None:
        if self._sights is not None:
            self._records[lsn] = record

    def _label(self, record: Record) -> str:
        """The record in words, with the line that asked for it."""
        if isinstance(record, Invoke):
            return f"the request for {record.request.target}"
        if not isinstance(record, Progress):
            return f"a record of type {type(record).__name__}"
        row = self.node.engine.invocation(record.partition, record.seq)
        target = str(row.target) if row is not None else ""
        parts = []
        for entry in record.entries:
            if isinstance(entry, j.Completion):
                what, line = self._asked.get((target, entry.completion_id), ("something", ""))
                parts.append(f"the result of {what}{_at(line)}")
            elif isinstance(entry, j.Output):
                parts.append(f"the end of {target}")
            elif not isinstance(entry, j.Signal):
                _, line = self._issued.get(id(entry), (None, ""))
                parts.append(f"{describe(entry)}{_at(line)}")
        return ", ".join(parts) or "nothing"

    # --- what is seen -----------------------------------------------------------------------------------------------------

    def picture(self) -> dict[str, Any]:
        return self._user.picture()

    def takes_line(self) -> bool:
        self._lines_left -= 1
        return self._lines_left > 0

    @contextlib.contextmanager
    def turn(self, start: AttemptStart) -> Generator[None, None, None]:
        if self._sights is None:
            yield
            return
        sights, last, before = self._sights, "", self._user.picture(asking=False)

        def look(line: str) -> None:
            nonlocal last, before
            now = self._user.picture(asking=False)
            for place in changed(before, now):
                sights.seen.append(Seen("body", last or line, place))
            last, before = line, now

        def on_line(file: str, number: int, event: str) -> None:
            if self.takes_line():
                look(f"{file}:{number}")

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with traced(on_line):
                yield
            look(last)
        for warning in caught:
            if issubclass(warning.category, DeterminismWarning):
                sights.seen.append(Seen("native", f"{warning.filename}:{warning.lineno}", str(warning.message)))
            else:
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)

    def effect(self, effect: Effect) -> None:
        if self._sights is not None:
            self._sights.effects.append(effect)

    def wants_lines(self, execution: int) -> bool:
        at = self._point
        return self._sights is not None or (isinstance(at, InStep) and at.execution == execution)

    def dies_here(self, execution: int, event: int) -> bool:
        at = self._point
        return isinstance(at, InStep) and (at.execution, at.event) == (execution, event)

    @property
    def sees(self) -> bool:
        return self._sights is not None


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


def _unfinished(row: Invocation) -> tuple[str, str, str]:
    return (str(row.target), f"it is {row.status.name.lower()}, and nothing wakes it", "")


def _own_line(stacktrace: str) -> str:
    """`file:line` of the innermost frame that is the program's own."""
    frames = re.findall(r'File "([^"]+)", line (\d+)', stacktrace)
    own = [f"{file}:{number}" for file, number in frames if is_own_file(file)]
    return own[-1] if own else ""


def _shown(value: bytes) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


def _at(line: str) -> str:
    return f" ({line})" if line else ""


def _nothing() -> None:
    pass
