"""What DataFusion for Python cannot be taught of a Restate server's SQL that looks into JSON: operators and longer paths.

It takes functions of a fixed number of arguments, and no operators. So the text is rewritten before it is planned:
`j -> 'a' ->> 'b'` and `json_get_str(j, 'a', 'b')` become calls of the functions in `json_functions`, one for each step.

What always holds: a query without `->`, `?` and `json_` stays as it is, and so does everything else in one that has them. What
is rewritten takes a name of its own only where a column would otherwise be named after the rewritten text. The operand before
an operator is a name, a text, a call or something in parentheses, maybe cast; more goes into parentheses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

_TOKENS = re.compile(
    r"""(?P<space>\s+|--[^\n]*|/\*.*?\*/)
    |(?P<text>[eE]?'(?:[^']|'')*')
    |(?P<name>"(?:[^"]|"")*"|[^\W\d][\w$]*)
    |(?P<number>\d[\w.]*)
    |(?P<sign>->>|->|::|.)""",
    re.DOTALL | re.VERBOSE,
)
_STEP = "json_get_json"
_OPERATORS = {"->": "json_get", "->>": "json_as_text", "?": "json_contains"}
_OF_A_MEMBER = frozenset(
    f"json_{each}"
    for each in ("get", "get_str", "get_int", "get_float", "get_bool", "get_json", "get_array", "as_text", "contains")
)
_OF_THE_WHOLE = frozenset({"json_length", "json_object_keys", "json_keys"})
_NO_OPERAND = re.compile(
    "all|and|any|as|asc|between|by|case|cross|desc|distinct|else|end|except|exists|filter|from|full|group|having|in|inner|intersect|is|"
    "join|left|like|limit|not|null|offset|on|or|order|outer|over|right|select|then|union|using|values|when|where|with"
)
_ENDS_A_LIST = frozenset(
    {"from", "where", "group", "having", "order", "limit", "offset", "union", "except", "intersect"}
)


@dataclass
class _Path:
    """A look into JSON. `label`: what the column is called that is nothing else."""

    function: str
    json: str
    steps: list[str]
    label: str = ""

    def __str__(self) -> str:
        inner, steps = self.json, list(self.steps)
        last = None if self.function in _OF_THE_WHOLE or not steps else steps.pop()
        for step in steps:
            inner = f"{_STEP}({inner}, {step})"
        return f"{self.function}({inner})" if last is None else f"{self.function}({inner}, {last})"


_Piece: TypeAlias = str | _Path


def rewritten(sql: str) -> str:
    """The same query in functions that there are."""
    if "->" not in sql and "?" not in sql and "json_" not in sql.lower():
        return sql
    return _Rewriting([(str(match.lastgroup), match[0]) for match in _TOKENS.finditer(sql)]).whole()


@dataclass
class _Level:
    """What stands between two parentheses, as far as it is read."""

    pieces: list[_Piece] = field(default_factory=list)
    commas: list[int] = field(default_factory=list)
    """Where in `pieces` they are."""
    operand: int | None = None
    """Where the operand begins that ends here, if one does."""
    glued: bool = False
    """The next token belongs to the operand: after a dot or `::`."""
    item: int | None = None
    """Where the column begins that is being read, within a list of them."""
    closed: str = ""
    """By which sign."""

    @property
    def text(self) -> str:
        return _joined(self.pieces) + self.closed


class _Rewriting:
    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._at = 0

    def whole(self) -> str:
        return _joined(self._level("").pieces)

    def _level(self, closing: str) -> _Level:
        """Up to `closing`. One that nothing has opened, or nothing closes, stays so: the planner says it."""
        level = _Level()
        while self._at < len(self._tokens):
            kind, text = self._tokens[self._at]
            self._at += 1
            if kind == "space":
                level.pieces.append(text)
            elif text == closing:
                level.closed = closing
                break
            elif kind == "sign":
                self._sign(level, text)
            else:
                self._word(level, kind, text)
        _close_item(level)
        return level

    def _word(self, level: _Level, kind: str, text: str) -> None:
        keyword = text.lower() if kind == "name" else ""
        if level.glued:
            level.glued = False
        elif _NO_OPERAND.fullmatch(keyword):
            level.operand = None
            if keyword in _ENDS_A_LIST:
                _close_item(level)
                level.item = None
        else:
            level.operand = len(level.pieces)
        level.pieces.append(text)
        if keyword == "select" or (keyword == "distinct" and level.item is not None):
            level.item = len(level.pieces)

    def _sign(self, level: _Level, text: str) -> None:
        if text in ("(", "["):
            self._open(level, text)
            return
        if text in _OPERATORS and level.operand is not None and (text != "?" or self._follows("text")):
            self._look(level, text)
            return
        if text == ",":
            _close_item(level)
            level.commas.append(len(level.pieces))
        level.pieces.append(text)
        level.glued = text in (".", "::") and level.operand is not None
        if not level.glued:
            level.operand = None
        if text == "," and level.item is not None:
            level.item = len(level.pieces)

    def _open(self, level: _Level, text: str) -> None:
        inner = self._level(")" if text == "(" else "]")
        if text == "[":
            level.pieces.append(f"[{inner.text}")
            return
        name = level.pieces[-1] if level.pieces else ""
        called = level.operand is not None and isinstance(name, str) and bool(re.fullmatch(r"[\w$]+|\".*\"", name))
        if not called:
            level.operand = len(level.pieces)
            level.pieces.append(f"({inner.text}")
            return
        assert isinstance(name, str)
        arguments = _arguments(inner)
        if name.lower() in _OF_A_MEMBER | _OF_THE_WHOLE and len(arguments) > 1:
            level.pieces[-1] = _call(name.lower(), arguments)
        else:
            level.pieces.append(f"({inner.text}")

    def _look(self, level: _Level, operator: str) -> None:
        assert level.operand is not None
        left = _trimmed(level.pieces[level.operand :])
        step = self._step()
        inner = left[0] if len(left) == 1 else None
        if isinstance(inner, _Path) and inner.function in ("json_get", "json_as_text"):
            json, steps, label = inner.json, inner.steps, inner.label
        else:
            json, steps, label = _joined(left), [], _named(left)
        label = f"{label} {operator} {step}" if label else ""
        level.pieces[level.operand :] = [_Path(_OPERATORS[operator], json, [*steps, step], label)]

    def _step(self) -> str:
        """The operand after an operator: a text, a number, a name, or something in parentheses."""
        level = _Level()
        while self._at < len(self._tokens):
            kind, text = self._tokens[self._at]
            if kind == "sign" and text not in ("(", ".", "::", "-"):
                break
            if kind not in ("sign", "space") and level.operand is not None and not level.glued:
                break
            if kind == "space" and level.operand is not None:
                break
            self._at += 1
            if kind == "sign":
                self._sign(level, text)
            elif kind != "space":
                self._word(level, kind, text)
        return _joined(level.pieces)

    def _follows(self, kind: str) -> bool:
        ahead = (each for each, _ in self._tokens[self._at :] if each != "space")
        return next(ahead, "") == kind


def _call(name: str, arguments: list[list[_Piece]]) -> _Path:
    json, *steps = arguments
    inner = json[0] if len(json) == 1 else None
    before: list[str] = []
    if isinstance(inner, _Path) and inner.function == "json_get":
        before, json = inner.steps, [inner.json]
    return _Path(name, _joined(json), before + [_joined(step) for step in steps])


def _arguments(level: _Level) -> list[list[_Piece]]:
    bounds = [-1, *level.commas, len(level.pieces)]
    return [_trimmed(level.pieces[begin + 1 : end]) for begin, end in pairwise(bounds)]


def _close_item(level: _Level) -> None:
    """Name the column that ends here, if it is a look into JSON by an operator, and nothing else."""
    if level.item is None:
        return
    read = [piece for piece in level.pieces[level.item :] if not _is_space(piece)]
    if len(read) == 1 and isinstance(read[0], _Path) and read[0].label:
        quoted = read[0].label.replace('"', '""')
        level.pieces.insert(level.pieces.index(read[0], level.item) + 1, f' AS "{quoted}"')


def _named(left: list[_Piece]) -> str:
    """The name of a column, without that of its table."""
    text = _joined(left)
    return text.rpartition(".")[2] if re.fullmatch(r"[\w.]+", text) else ""


def _trimmed(pieces: list[_Piece]) -> list[_Piece]:
    begin, end = 0, len(pieces)
    while begin < end and _is_space(pieces[begin]):
        begin += 1
    while begin < end and _is_space(pieces[end - 1]):
        end -= 1
    return pieces[begin:end]


def _is_space(piece: _Piece) -> bool:
    return isinstance(piece, str) and (not piece.strip() or piece.startswith(("--", "/*")))


def _joined(pieces: list[_Piece]) -> str:
    return "".join(str(piece) for piece in pieces)
