"""One run of a scenario, with or without a crash: what came of it, and on the first run everything that can be seen.

What always holds: an `Outcome` is plain data that can be compared with that of another run; the engine is the real one, and
only what a test may order of it is ordered.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import re
import sys
import warnings
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from perdure.invoker.replay import describe
from perdure.model import journal as j
from perdure.model.driver import AttemptStart
from perdure.model.records import Invoke, Progress, Record
from perdure.node.settings import EngineSettings
from perdure.sdk.app import App
from perdure.sdk.errors import DeterminismWarning
from perdure.sdk.guards import user_line
from perdure.store.rows import Invocation
from perdure.testing.clock import VirtualClock
from perdure.testing.crashes.line_tracer import traced
from perdure.testing.crashes.log import AtRecord
from perdure.testing.crashes.node import CrashNode
from perdure.testing.crashes.user_state import UserState, is_own_file, picture_of
from perdure.testing.crashes.watch import Effect, Seen, Sights, StepWatch, WatchedTurns, changed
from perdure.testing.in_memory import InMemoryNode
from perdure.testing.mocking import StepCall, Steps

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
    ) -> None:
        super().__init__()
        self._scenario = scenario
        self._user = user
        self._point = point
        self._sights = sights
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
            if silent_s > _PATIENCE_S or (silent_s > _PATIENCE_PAUSED_S and node.paused()):
                return True
        return False

    # --- steps ------------------------------------------------------------------------------------------------------------

    def body_of(self, call: StepCall, function: Callable[..., Any], *, plain: bool) -> Callable[..., Any]:
        watch = StepWatch(self, call, sum(self._executed.values()))
        self._executed[call.name] += 1
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
