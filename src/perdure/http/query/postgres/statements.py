"""Statements as clients of PostgreSQL send them: told apart, and with the values of their parameters put in.

Pure. Text in quotes and comments is never looked into.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_TOKEN = re.compile(
    r"""
    (?P<quoted>[eE]?'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(?P<tag>[A-Za-z_]\w*|)\$.*?\$(?P=tag)\$)
  | (?P<comment>--[^\n]*|/\*.*?\*/)
  | \$(?P<parameter>\d+)
  | (?P<end>;)
  | (?P<word>[A-Za-z_][\w$]*|\d[\w.]*|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_CATALOG = re.compile(
    r"\bpg_[a-z]\w*|\bcurrent_(schema|database|user|setting|catalog)s?\b|\bsession_user\b|\bset_config\b|\bobj_description\b",
    re.IGNORECASE,
)


class BadParameter(Exception):
    """A value that a client gave, or did not give; `sqlstate` says how."""

    def __init__(self, what: str, sqlstate: str = "22P02") -> None:
        self.sqlstate = sqlstate
        super().__init__(what)


@dataclass(frozen=True)
class Statement:
    sql: str
    word: str
    """The first word, in capitals."""
    parameters: int
    """The highest number of a parameter."""
    catalog: bool
    """It asks for what only PostgreSQL's own tables and functions know."""


def split(text: str) -> list[Statement]:
    """The statements in a text, without those that are empty."""
    found: list[Statement] = []
    begin = 0
    words: list[str] = []
    highest = 0
    for token in [*_TOKEN.finditer(text), None]:
        if token is not None and token["end"] is None:
            if token["word"]:
                words.append(token["word"])
            elif token["quoted"]:
                words.append("''")
            elif token["parameter"]:
                words.append("?")
                highest = max(highest, int(token["parameter"]))
            else:
                words.append(" ")
            continue
        end = len(text) if token is None else token.start()
        bare = "".join(words).strip()
        if bare:
            first = re.match(r"\(*\s*(\w+)", bare)
            word = "" if first is None else first[1].upper()
            found.append(Statement(text[begin:end].strip(), word, highest, bool(_CATALOG.search(bare))))
        begin = len(text) if token is None else token.end()
        words, highest = [], 0
    return found


def with_values(statement: Statement, literals: Sequence[str]) -> str:
    """The statement with each parameter replaced by its literal. Errors: BadParameter."""
    if statement.parameters > len(literals):
        raise BadParameter(f"there is no value for ${len(literals) + 1}", "08P01")

    def put(token: re.Match[str]) -> str:
        number = token["parameter"]
        if number is None:
            return token[0]
        if number == "0":
            raise BadParameter("there is no parameter $0", "42P02")
        return literals[int(number) - 1]

    return _TOKEN.sub(put, statement.sql)


# --- values of parameters -----------------------------------------------------------------------------------------------------

_NUMBERS = {20, 21, 23, 26, 700, 701, 1700}
_BINARY_INTEGERS = {20: "!q", 21: "!h", 23: "!i", 26: "!I"}
_BINARY_FLOATS = {700: "!f", 701: "!d"}
_TEXTS = {0, 18, 19, 25, 114, 705, 1042, 1043, 2950, 3802}
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


def literal(value: bytes | None, oid: int, form: int) -> str:
    """A value, as its type and format code say, as a literal of SQL. Errors: BadParameter."""
    if value is None:
        return "NULL"
    if form not in (0, 1):
        raise BadParameter(f"there is no format {form}", "08P01")
    try:
        return _from_binary(value, oid) if form == 1 else _from_text(value.decode(), oid)
    except (struct.error, UnicodeDecodeError, ValueError, OverflowError):
        raise BadParameter(f"a value of the type with OID {oid} cannot be read: {value[:50]!r}") from None


def _from_text(text: str, oid: int) -> str:
    if oid in _NUMBERS:
        float(text)
        return f"({text.strip()})" if "n" not in text.lower() else f"CAST('{text.strip()}' AS DOUBLE)"
    if oid == 16:
        truth = {"t": "true", "true": "true", "1": "true", "f": "false", "false": "false", "0": "false"}
        if text.lower() not in truth:
            raise ValueError
        return truth[text.lower()]
    if oid == 17:
        return f"X'{bytes.fromhex(text.removeprefix(chr(92) + 'x')).hex()}'"
    if oid in (1114, 1184):
        return f"CAST({_quoted(text)} AS TIMESTAMP)"
    if oid == 1082:
        return f"CAST({_quoted(text)} AS DATE)"
    return _quoted(text)


def _from_binary(value: bytes, oid: int) -> str:
    read: Callable[[bytes], str] | None = None
    if oid in _BINARY_INTEGERS:
        (number,) = struct.unpack(_BINARY_INTEGERS[oid], value)
        return f"({number})"
    if oid in _BINARY_FLOATS:
        (number,) = struct.unpack(_BINARY_FLOATS[oid], value)
        return _from_text(repr(number), oid)
    if oid == 16:
        read = _bool
    elif oid == 17:
        read = _bytes
    elif oid in (1114, 1184):
        read = _timestamp
    elif oid in _TEXTS:
        read = lambda raw: _quoted(raw.decode())  # noqa: E731
    if read is None:
        raise BadParameter(f"values of the type with OID {oid} are taken as text only", "0A000")
    return read(value)


def _bool(value: bytes) -> str:
    (truth,) = struct.unpack("!?", value)
    return "true" if truth else "false"


def _bytes(value: bytes) -> str:
    return f"X'{value.hex()}'"


def _timestamp(value: bytes) -> str:
    (microseconds,) = struct.unpack("!q", value)
    moment = _EPOCH + timedelta(microseconds=microseconds)
    return f"CAST('{moment.strftime('%Y-%m-%dT%H:%M:%S.%f')}' AS TIMESTAMP)"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''").replace("\0", "") + "'"
