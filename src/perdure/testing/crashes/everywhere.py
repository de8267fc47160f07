"""`crash_everywhere`: a scenario, run once for each place at which the process could die, and compared with a run without.

    async def buy_one(node):
        return await node.client.service_call(buy, "4242")

    await crash_everywhere(app, buy_one, effects=bank)

What always holds: a run differs from the one it is compared with in one thing only, the place of its crash, so that what
differs in the end is the doing of that crash.
"""

from __future__ import annotations

import datetime
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from perdure.model.target import ServiceKind
from perdure.sdk.app import App
from perdure.sdk.errors import TerminalError
from perdure.sdk.handler import HANDLER_ATTRIBUTE, handler_of
from perdure.sdk.service import Registry
from perdure.testing.crashes.log import AtRecord
from perdure.testing.crashes.report import CrashesFound, CrashReport, Finding, differences, shared
from perdure.testing.crashes.run import InStep, Outcome, Point, Run, Scenario
from perdure.testing.crashes.user_state import UserState
from perdure.testing.crashes.watch import Effect, Sights
from perdure.testing.in_memory import InMemoryNode

_BEGAN = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
POINTS_MAX = 1_000


async def crash_everywhere(
    app: App | Iterable[Registry],
    scenario: Callable[..., Awaitable[Any]] | Sequence[Scenario],
    *arguments: Any,
    key: str | None = None,
    effects: Any = None,
    may_repeat: Iterable[str] = (),
    allow_native: bool = False,
    points_max: int = POINTS_MAX,
) -> CrashReport:
    """Run the scenario with a crash before and after each append to the journal, and between the effects of each step.

    `scenario`: a coroutine function that is given a node in memory, or a list of those, or a handler with its argument (and
    `key`). `effects`: what outlives a crash, as an object, a function that returns one, or a dict of them by name; everything
    else that the handlers reach is memory, and is lost with each crash. Without it all of that is kept. `may_repeat`: names of
    steps that may have their effect twice. `allow_native`: say nothing of clocks and randomness in a body.
    Errors: CrashesFound (an AssertionError) with what is wrong, where, and the smallest crash that shows it.
    """
    actions = _actions(scenario, arguments, key)
    begins_at = _line_of(scenario[0] if isinstance(scenario, Sequence) else scenario)
    exploration = Exploration(app, actions, effects, frozenset(may_repeat), allow_native, points_max, begins_at)
    findings = await exploration.explore()
    if findings:
        smallest = await exploration.shrunk(findings)
        raise CrashesFound(smallest, exploration.report)
    return exploration.report


class Exploration:
    def __init__(
        self,
        app: App | Iterable[Registry],
        actions: Sequence[Scenario],
        effects: Any,
        may_repeat: frozenset[str],
        allow_native: bool,
        points_max: int,
        begins_at: str = "",
    ) -> None:
        self.report = CrashReport()
        self._app = _watched_app(app if isinstance(app, App) else App(app))
        self._actions = list(actions)
        self._begins_at = begins_at
        """Where a mistake is put that no line is known of."""
        self._may_repeat = may_repeat
        self._allow_native = allow_native
        self._points_max = points_max
        named = _named(effects)
        self._user = UserState(_functions(self._app, actions), named)
        self._fresh = self._user.saved()
        self._forgets = self._user.saved(memory_only=True) if named else None

    async def explore(self, *, only: Finding | None = None) -> list[Finding]:
        """All that is wrong, each with the smallest crash that shows it; with `only`, until that is found again."""
        sights = Sights()
        first = await self._run(sights=sights)
        if first.stuck:
            return [
                Finding(
                    "stuck", first.stuck[0][2], f"{first.stuck[0][0]} does not end: {first.stuck[0][1]}", "no crash"
                )
            ]
        if first.error is not None and not isinstance(first.error, TerminalError):
            raise first.error
        findings = self._in_sight(sights)
        expected = shared(first, await self._run())
        found = self._compared(expected, await self._run(always_replay=True), None, sights)
        findings += found
        for point in self._points(first, sights):
            if only is not None and any(only.same_as(finding) for finding in findings):
                break
            outcome = await self._run(point=point)
            if outcome.crashed:
                self.report.crashes += 1
                findings += self._compared(expected, outcome, point, sights)
        self.report.records = max(self.report.records, first.records)
        return _smallest(findings)

    async def shrunk(self, findings: list[Finding]) -> list[Finding]:
        """Leave out what the first finding does not need of a scenario that is a list."""
        if len(self._actions) == 1:
            return findings
        wanted = findings[0]
        for action in list(self._actions):
            tried = [kept for kept in self._actions if kept is not action]
            if not tried:
                break
            before, self._actions = self._actions, tried
            again = [finding for finding in await self._try(wanted) if wanted.same_as(finding)]
            if again:
                wanted = again[0]
            else:
                self._actions = before
        wanted.actions = [_name(action) for action in self._actions]
        return [wanted, *findings[1:]]

    # --- inside -----------------------------------------------------------------------------------------------------------

    async def _try(self, wanted: Finding) -> list[Finding]:
        try:
            return await self.explore(only=wanted)
        except Exception:
            return []  # the scenario needs what was left out

    async def _run(
        self, *, point: Point | None = None, sights: Sights | None = None, always_replay: bool = False
    ) -> Outcome:
        self._fresh()
        self.report.runs += 1
        run = Run(
            self._app,
            self._scenario,
            self._user,
            start=_BEGAN,
            point=point,
            sights=sights,
            always_replay=always_replay,
            loses_memory=self._forgets,
        )
        try:
            return await run.outcome()
        finally:
            self._fresh()

    async def _scenario(self, node: InMemoryNode) -> Any:
        results = [await action(node) for action in self._actions]
        return results[0] if len(results) == 1 else results

    def _in_sight(self, sights: Sights) -> list[Finding]:
        findings = []
        for seen in sights.seen:
            if seen.kind == "body":
                what = (
                    f"the body of a handler changes `{seen.what}`. A body runs again from its first line after each crash and "
                    f"each wait, and does so again. Change it in a step: `await ctx.run_typed('name', function)`."
                )
                findings.append(Finding("body", seen.line, what, "no crash: every replay does it", place=seen.what))
            elif not self._allow_native:
                findings.append(Finding("native", seen.line, seen.what, "no crash: every replay does it"))
        return findings

    def _points(self, first: Outcome, sights: Sights) -> list[Point]:
        points: list[Point] = []
        for lsn in range(1, first.records + 1):
            if lsn in sights.batch_starts:
                points.append(AtRecord(lsn, "before"))
            points.append(AtRecord(lsn, "after"))
        by_execution: dict[int, list[InStep]] = {}
        for effect in sights.effects:
            by_execution.setdefault(effect.execution, []).append(
                InStep(effect.execution, effect.event, effect.next_line)
            )
        for between in by_execution.values():
            points += between[:-1]  # behind the last effect is where the result is recorded
        if len(points) > self._points_max:
            self.report.skipped = len(points) - self._points_max
            points = [points[number * len(points) // self._points_max] for number in range(self._points_max)]
        return points

    def _compared(self, expected: Outcome, got: Outcome, point: Point | None, sights: Sights) -> list[Finding]:
        where, line = _described(point, sights)
        repeated = {name for name, count in got.executed.items() if count > expected.executed.get(name, 0)}
        excused = self._may_repeat & repeated
        findings = []
        for aspect, text, its_line in differences(expected, got):
            place = aspect.removeprefix("effects:")
            effects = [effect for effect in sights.effects if place in effect.places]
            if aspect.startswith("effects:") and effects and {effect.step for effect in effects} <= excused:
                continue
            if aspect.startswith("effects:") and effects:
                text += _about(
                    [e for e in sights.effects if e.step in {each.step for each in effects}], place, repeated
                )
                its_line = its_line or effects[0].line
            its_line = its_line or _changed_in_a_body(sights, place) or line or self._begins_at
            findings.append(Finding(aspect, its_line, text, where, place=place))
        return findings


def _changed_in_a_body(sights: Sights, place: str) -> str:
    """The line of a body that changes this; of a result, which may be made of any, the first line that changes something."""
    lines = [seen.line for seen in sights.seen if seen.kind == "body" and place in ("result", seen.what)]
    return lines[0] if lines else ""


def _about(effects: Sequence[Effect], place: str, repeated: set[str]) -> str:
    """`effects`: all of those of the steps that change this place."""
    steps = sorted({effect.step for effect in effects})
    lines = list(dict.fromkeys(effect.line for effect in effects if place in effect.places))
    names = ", ".join(f"'{step}'" for step in steps)
    text = f" It is changed by the step {names}, at {', '.join(lines)}."
    if repeated & set(steps):
        text += (
            " A step whose result was not recorded when the process died runs again: its effect must bear that. Pass something"
            " that is the same in every try, such as str(ctx.uuid()), and have the other side refuse the second; or name the"
            " step in `may_repeat=`."
        )
    executions: dict[int, list[str]] = {}
    for effect in effects:
        executions.setdefault(effect.execution, []).append(effect.line)
    if any(len(set(lines)) > 1 for lines in executions.values()):
        text += (
            " It has more than one effect: a crash between them leaves the first alone. Give each a step of its own."
        )
    return text


def _described(point: Point | None, sights: Sights) -> tuple[str, str]:
    if point is None:
        return "no crash: each wait leaves memory and is replayed (always_replay)", ""
    if isinstance(point, InStep):
        [effect] = [e for e in sights.effects if (e.execution, e.event) == (point.execution, point.event)]
        return f"a crash inside the step '{effect.step}', behind {effect.line}", effect.line
    label = sights.labels.get(point.lsn, "")
    line = label.rpartition("(")[2].rstrip(")") if label.endswith(")") else ""
    when = "just before this was recorded" if point.when == "before" else "just after this was recorded"
    return f"a crash {when}: {label} (record {point.lsn})", line if ":" in line else ""


def _smallest(findings: list[Finding]) -> list[Finding]:
    kept: list[Finding] = []
    for finding in findings:
        same = next((one for one in kept if one.same_as(finding)), None)
        if same is None:
            kept.append(finding)
        else:
            same.also += 1
    return kept


def _actions(scenario: Any, arguments: tuple[Any, ...], key: str | None) -> list[Scenario]:
    if isinstance(scenario, Sequence):
        return list(scenario)
    if not hasattr(scenario, HANDLER_ATTRIBUTE):
        return [scenario]
    handler = handler_of(scenario)

    async def call(node: InMemoryNode) -> Any:
        client: Any = node.client
        if handler.service.kind is ServiceKind.SERVICE:
            return await client.service_call(scenario, *arguments)
        if handler.service.kind is ServiceKind.VIRTUAL_OBJECT:
            return await client.object_call(scenario, key, *arguments)
        return await client.workflow_call(scenario, key, *arguments)

    call.__name__ = call.__qualname__ = f"{handler.service.name}/{handler.name}"
    return [call]


def _line_of(function: Any) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return "" if code is None else f"{code.co_filename}:{code.co_firstlineno}"


def _watched_app(app: App) -> App:
    """The same services, with the checks of development on."""
    watched = App(app.registered(), dev=True)
    vars(watched).update({name: value for name, value in vars(app).items() if name not in ("dev", "_watch")})
    return watched


def _functions(app: App, actions: Sequence[Scenario]) -> list[Callable[..., Any]]:
    handlers = [handler.function for service in app.registered() for handler in service.handlers.values()]
    return [*handlers, *actions]


def _named(effects: Any) -> dict[str, Any]:
    """`effects` as a dict by name; one that is given alone has none."""
    if effects is None:
        return {}
    if isinstance(effects, Mapping) and _names(effects):
        return dict(effects)
    return {"": effects}


def _names(effects: Mapping[Any, Any]) -> bool:
    """A dict of effects by name, and not one effect that is a dict."""
    return (
        bool(effects)
        and all(isinstance(name, str) for name in effects)
        and all(callable(value) or not isinstance(value, str | int | float | bool | None) for value in effects.values())
    )


def _name(action: Any) -> str:
    return getattr(inspect.unwrap(action), "__qualname__", repr(action))
