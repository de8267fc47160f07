"""What `crash_everywhere` says: how runs differ, in words, and what was looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from perdure.testing.crashes.run import Outcome


@dataclass
class CrashReport:
    """Figures. `skipped`: points beyond `points_max`."""

    runs: int = 0
    crashes: int = 0
    records: int = 0
    skipped: int = 0

    def __str__(self) -> str:
        skipped = f", {self.skipped} points skipped" if self.skipped else ""
        return f"{self.runs} runs, {self.crashes} crashes, {self.records} records{skipped}"


@dataclass
class Finding:
    """One mistake. `line` is the user's; `crash` the smallest that shows it; `also`: how many others show it."""

    kind: str
    line: str
    what: str
    crash: str
    place: str = ""
    also: int = 0
    actions: list[str] = field(default_factory=list)

    def same_as(self, other: Finding) -> bool:
        if self.kind != other.kind:
            return False
        return self.line == other.line if self.kind in ("body", "native", "stuck") else True

    def __str__(self) -> str:
        lines = [f"{self.line or 'somewhere'}: {self.what}", f"   smallest: {self.crash}"]
        if self.actions:
            lines.append(f"   scenario: {', '.join(self.actions)}")
        if self.also:
            lines.append(f"   {self.also} other crashes show it too")
        return "\n".join(lines)


class CrashesFound(AssertionError):
    """`findings`: what is wrong, the simplest first."""

    def __init__(self, findings: Sequence[Finding], report: CrashReport) -> None:
        self.findings = list(findings)
        self.report = report
        what = "one mistake" if len(findings) == 1 else f"{len(findings)} mistakes"
        text = "\n".join(f"{number}. {finding}" for number, finding in enumerate(findings, 1))
        super().__init__(f"crash_everywhere: {what} ({report})\n{text}")


class _Anything:
    """What differs from run to run without any crash, and so is not compared."""

    def __repr__(self) -> str:
        return "…"


ANYTHING = _Anything()


def shared(one: Outcome, other: Outcome) -> Outcome:
    """What two runs without a crash have in common: all of it, for a scenario that can be repeated."""
    return Outcome(
        _shared(one.result, other.result),
        _shared(one.state, other.state),
        _shared(one.effects, other.effects),
        one.stuck,
        one.executed,
        one.records,
    )


def differences(expected: Outcome, got: Outcome) -> Iterator[tuple[str, str, str]]:
    """(aspect, in words, line of the user if it is known)."""
    stuck = [one for one in got.stuck if one not in expected.stuck]
    if stuck:
        target, error, line = stuck[0]
        yield "stuck", f"{target} does not end: {error}", line
        return
    if not _fits(expected.result, got.result):
        yield "result", f"the result is {_words(got.result)}, and {_words(expected.result)} without a crash.", ""
    for key in sorted(expected.state.keys() | got.state.keys()):
        wanted, is_now = expected.state.get(key), got.state.get(key)
        if not _fits(wanted, is_now):
            yield f"state:{key}", f"the state of {key} is {is_now!r}, and {wanted!r} without a crash.", ""
    for place in sorted(expected.effects.keys() & got.effects.keys()):
        wanted, is_now = expected.effects[place], got.effects[place]
        if not _fits(wanted, is_now):
            yield f"effects:{place}", f"`{place}` is {_short(is_now)}, and {_short(wanted)} without a crash.", ""


def _shared(one: Any, other: Any) -> Any:
    if one == other:
        return one
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return {key: _shared(value, other[key]) for key, value in one.items()}
    if isinstance(one, list | tuple) and type(one) is type(other) and len(one) == len(other):
        return type(one)(_shared(left, right) for left, right in zip(one, other, strict=True))
    return ANYTHING


def _fits(expected: Any, got: Any) -> bool:
    if expected is ANYTHING or expected == got:
        return True
    if isinstance(expected, dict) and isinstance(got, dict):
        return expected.keys() == got.keys() and all(_fits(value, got[key]) for key, value in expected.items())
    if isinstance(expected, list | tuple) and isinstance(got, list | tuple):
        return len(expected) == len(got) and all(_fits(a, b) for a, b in zip(expected, got, strict=True))
    return False


def _words(result: Any) -> str:
    match result:
        case ("returned", value):
            return _short(value)
        case ("raised", kind, text):
            return f"{kind}: {text}"
        case _:
            return "not there"


def _short(value: Any) -> str:
    text = _written(value)
    return text if len(text) <= 300 else f"{text[:300]}…"


def _written(picture: Any) -> str:
    """A picture as the program would write what it shows."""
    if isinstance(picture, dict) and list(picture) == ["dict"]:
        return "{" + ", ".join(f"{_written(key)}: {_written(value)}" for key, value in picture["dict"]) + "}"
    if isinstance(picture, dict) and list(picture) == ["set"]:
        return "{" + ", ".join(map(_written, picture["set"])) + "}" if picture["set"] else "set()"
    if isinstance(picture, dict) and len(picture) == 1:
        [(kind, state)] = picture.items()
        return f"{kind} {_written(state)}"
    if isinstance(picture, list):
        return "[" + ", ".join(map(_written, picture)) + "]"
    return repr(picture)
