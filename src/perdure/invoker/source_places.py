"""Where operations stand in the author's source, for people who read a journal mismatch.

The journal keeps no lines (docs/decisions/0006-no-source-lines-in-the-log.md): the operation that it holds is looked for by
its name in the file of the one that the code asks for now, as that file is now.
"""

from __future__ import annotations

import ast
import linecache
import sys
from types import FrameType
from typing import NamedTuple

from perdure.model import journal as j
from perdure.model.journal import Command

_OWN = __name__.partition(".")[0] + "."
_INVOKER, _AUTHORS_SIDE = f"{_OWN}invoker.", f"{_OWN}sdk."
_LINES_MAX = 3


class Place(NamedTuple):
    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}, in {self.function}"


def place_of_caller() -> Place | None:
    """The nearest frame of the handler that asks for something; None: it has ended or waits, and none of it is running.

    The handler's frames lie between those of the invoker that take the command and those that run the turn.
    """
    frame: FrameType | None = sys._getframe(1)
    in_turn = False
    while frame is not None:
        module: str = frame.f_globals.get("__name__", "")
        if module.startswith(_INVOKER):
            if in_turn:
                return None
        elif not in_turn and not module.startswith(_AUTHORS_SIDE):
            return None
        elif in_turn and not module.startswith((_OWN, "asyncio.")) and module != "asyncio":
            return Place(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
        else:
            in_turn = True
        frame = frame.f_back
    return None


def recorded_words(recorded: Command | None, file: str | None) -> str:
    """` (in this code at FILE:LINE)` of a recorded operation, ` (no line of FILE has it any more)`, or nothing to say."""
    name = _name_of(recorded)
    if name is None or file is None:
        return ""
    called = isinstance(recorded, j.Call | j.OneWayCall)
    lines = lines_that_ask_for(name, "".join(linecache.getlines(file)), called=called)
    if lines is None:
        return ""
    if not lines:
        return f" (no line of {file} asks for it any more)"
    more = ", …" if len(lines) > _LINES_MAX else ""
    return f" (in this code at {file}:{', '.join(map(str, lines[:_LINES_MAX]))}{more})"


def lines_that_ask_for(name: str, source: str, *, called: bool = False) -> list[int] | None:
    """Lines of calls that are given this name as a text, or, of a handler that is `called`, as a function.

    None: the source cannot be read.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return None
    if not tree.body:
        return None
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return sorted(
        {
            call.lineno
            for call in calls
            if any(_is(each, name, called) for each in (*call.args, *(keyword.value for keyword in call.keywords)))
        }
    )


def _is(argument: ast.expr, name: str, called: bool) -> bool:
    match argument:
        case ast.Constant():
            return argument.value == name
        case ast.Name():
            return called and argument.id == name
        case ast.Attribute():
            return called and argument.attr == name
    return False


def _name_of(command: Command | None) -> str | None:
    """What the author wrote of it."""
    match command:
        case j.Call() | j.OneWayCall():
            return command.target.handler
        case j.SetState() | j.ClearState() | j.GetEagerState() | j.GetLazyState():
            return command.key
        case j.GetPromise() | j.PeekPromise() | j.CompletePromise():
            return command.key
        case j.Run() | j.Sleep():
            return command.name or None
    return None
