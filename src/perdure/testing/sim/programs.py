"""Random programs for simulated handlers: plain data, drawn from the seed, together with what each must return.

A program is what a handler does, one operation after the other; its result is the list of their results. It holds no clock
and no chance of its own, so its result is known before it runs, except where other invocations have a say: `ANY` stands
there. What it must not know: how operations are carried out (`handlers`) or judged (`world`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any, Final, Literal

import msgspec

ANY: Final = "<any>"
CANCELLED: Final = 409
"""What an invocation is told that is cancelled."""
REFUSED: Final = 418
CANCELLED_CHILD: Final = 410
NOT_FOUND: Final = 404
"""Codes of the failures that programs expect."""
WIDTH = 6
"""Steps side by side, of which each has a big result: more than fits into one batch of a small segment."""
_RESULT_BYTES_MAX = 5_000

Kind = Literal[
    "step", "big", "thread", "failing", "sleep", "nap", "call", "send", "attach", "twice", "gather", "group", "timeout",
    "in_time", "awakeable", "outside", "signal", "cancel", "uuid", "set", "get", "keys", "clear", "cell", "flow", "refused",
    "swap", "withdraw", "abort", "naps", "sleeps", "limits", "first", "choose", "heard", "answered", "doomed", "left", "stream",
    "queue", "wide", "wipe",
]  # fmt: skip

_PLAIN: tuple[Kind, ...] = (
    "step", "big", "thread", "failing", "sleep", "nap", "call", "call", "send", "send", "attach", "twice", "gather", "group",
    "timeout", "in_time", "awakeable", "outside", "signal", "cancel", "cancel", "cancel", "uuid", "cell", "cell", "flow",
    "refused", "withdraw", "abort", "naps", "sleeps", "limits", "first", "choose", "heard", "answered", "doomed", "left",
    "stream", "queue", "wide",
)  # fmt: skip
_NOT_ELSEWHERE: tuple[Kind, ...] = ("heard",)
"""What differs on a Restate server, as docs/endpoint.md has it: of two signals before anybody waits, the last one counts."""
_KEYED: tuple[Kind, ...] = ("set", "set", "set", "get", "get", "keys", "clear", "wipe", "big", "sleep", "call")


class Operation(msgspec.Struct, omit_defaults=True):
    """`ms`: how long it takes or waits; `delays`: the same, of several; `times`: how often it fails first; `branches`: what
    runs side by side."""

    kind: Kind
    value: int = 0
    ms: int = 0
    delays: list[int] = []
    times: int = 0
    key: str = ""
    program: Program | None = None
    branches: list[list[Operation]] = []


class Program(msgspec.Struct, omit_defaults=True):
    """`token` is its own: no invocation but one may ever run it. `key` names the object that it runs on, if any."""

    token: str
    operations: list[Operation]
    key: str = ""
    fails: bool = False
    """It ends with a terminal error, code REFUSED."""


class Author:
    """Writes programs; tokens and keys are numbered. `fragile`: some do what an incompatible upgrade changes.

    `elsewhere`: none does what means something else in a deployment.
    """

    def __init__(self, random: Random, *, cells: int, fragile: bool, elsewhere: bool = False) -> None:
        self._random = random
        self._cells = cells
        self._fragile = fragile
        self._plain = tuple(kind for kind in _PLAIN if not (elsewhere and kind in _NOT_ELSEWHERE))
        self._count = 0

    def program(self) -> Program:
        """One whose result fits into the small segments of a simulation."""
        while True:
            program = self._program(2)
            if len(json.dumps(expected(program))) <= _RESULT_BYTES_MAX:
                return program

    def _program(self, depth: int) -> Program:
        keyed = self._random.random() < 0.3
        token = self._name("p")
        length = self._random.randint(1, 5 if depth == 2 else 2)
        operations = [self.operation(depth, keyed=keyed) for _ in range(length)]
        if self._fragile and self._random.random() < 0.5:
            swap = Operation("swap", value=self._number(), ms=self._ms(2_000))
            operations.insert(self._random.randint(0, len(operations)), swap)
        return Program(token, operations, key=token if keyed else "")

    def cell(self) -> Operation:
        return Operation("cell", key=f"c{self._random.randrange(self._cells)}", value=self._number(), ms=self._ms(200))

    def operation(self, depth: int, *, keyed: bool = False) -> Operation:
        random = self._random
        kinds = _KEYED if keyed and random.random() < 0.7 else self._plain
        kind = random.choice(kinds)
        operation = Operation(kind, value=self._number(), ms=self._ms(500))
        match kind:
            case "failing":
                operation.times = random.randint(1, 3)
            case "sleep" | "nap":
                operation.ms = self._ms(20_000)
            case "naps" | "sleeps":
                operation.delays = [random.randint(0, 60) * 50 for _ in range(random.choice((3, 12)))]
            case "limits":
                operation.delays = random.sample(range(1, 3_000), 2)
            case "first" | "choose":
                operation.delays = [random.randint(0, 3_000) for _ in range(6)]
            case "call" | "send" | "attach" | "twice" | "in_time" | "left" | "stream":
                if depth == 0:
                    return Operation("step", value=operation.value, ms=operation.ms)
                operation.program = self._program(depth - 1)
                if kind == "send" and random.random() < 0.5:
                    operation.ms = 0
            case "refused":
                operation.program = Program(self._name("p"), [Operation("step", value=operation.value)], fails=True)
            case "gather" | "group":
                if depth == 0:
                    return Operation("step", value=operation.value, ms=operation.ms)
                operation.branches = [
                    [self.operation(depth - 1) for _ in range(random.randint(1, 2))]
                    for _ in range(random.randint(2, 3))
                ]
            case "cell":
                return self.cell()
            case "flow" | "withdraw":
                operation.key = self._name("f")
            case "set" | "get" | "clear":
                operation.key = f"k{random.randrange(3)}"
            case _:
                pass
        return operation

    def _name(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    def _number(self) -> int:
        return self._random.randrange(1, 1_000)

    def _ms(self, most: int) -> int:
        return self._random.choice((0, 1, self._random.randint(1, 50), self._random.randint(1, most)))


def expected(program: Program) -> Any:
    """What the program must return, as JSON; ANY where others decide. A failure is `["failed", code]`."""
    if program.fails:
        return ["failed", REFUSED]
    state: dict[str, int] = {}
    return [_expected(operation, state) for operation in program.operations]


def _expected(operation: Operation, state: dict[str, int]) -> Any:
    match operation.kind:
        case "step" | "thread" | "awakeable" | "outside" | "signal" | "in_time" if operation.program is None:
            return operation.value
        case "big":
            return big(operation)
        case "call" | "attach" | "in_time":
            assert operation.program is not None
            return expected(operation.program)
        case "twice":
            assert operation.program is not None
            return [expected(operation.program)] * 3
        case "gather" | "group":
            return [[_expected(each, state) for each in branch] for branch in operation.branches]
        case "timeout":
            return "timeout"
        case "withdraw":
            return [operation.value, operation.value, ["failed", NOT_FOUND]]
        case "naps" | "sleeps":
            return sorted(range(len(operation.delays)), key=operation.delays.__getitem__)
        case "limits":
            return True
        case "first":
            return [[0], list(range(1, len(operation.delays) + 1))]
        case "choose":
            return ["soon", 1, 2, [0, 1]]
        case "heard":
            return [operation.value + more for more in (1, 0, 2, 3)]
        case "answered":
            return [operation.value + 1, operation.value, REFUSED]
        case "stream":
            return [0, 1]
        case "queue":
            return [0, 1, 2]
        case "wide":
            return WIDTH
        case "wipe":
            state.clear()
            return [None, []]
        case "abort":
            return [0, 1, 2, 3]
        case "cancel":
            return ["failed", CANCELLED_CHILD]
        case "refused" | "doomed":
            return ["failed", REFUSED]
        case "flow" | "swap":
            return [operation.value, operation.value + 1]
        case "set":
            state[operation.key] = operation.value
            return None
        case "clear":
            state.pop(operation.key, None)
            return None
        case "get":
            return state.get(operation.key)
        case "keys":
            return sorted(state)
        case "failing":
            return operation.value
        case "cell" | "uuid":
            return ANY
        case _:
            return None


def big(operation: Operation) -> str:
    """A result of some hundred bytes, so that a batch lies on several sectors."""
    return "b" * operation.value


def matches(expected: Any, found: Any) -> bool:
    if expected == ANY:
        return True
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(map(matches, expected, found))
    return bool(expected == found)


def tokens(program: Program) -> Iterator[str]:
    """Of all programs that a program that came to its end has set going, its own first."""
    yield program.token
    for operation in program.operations:
        yield from _tokens(operation)


def _tokens(operation: Operation) -> Iterator[str]:
    if operation.program is not None:
        yield from tokens(operation.program)
    for branch in operation.branches:
        for each in branch:
            yield from _tokens(each)
