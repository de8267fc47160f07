"""Why a query is refused: DataFusion's errors, told apart by their texts, as it gives them no other names."""

from __future__ import annotations

import re

from perdure.http.query.messages import Kind, Refused

_KINDS: tuple[tuple[str, Kind], ...] = (
    (r"ParserError|No SQL statements|TokenizerError", "syntax"),
    (r"(DDL|DML|Statement) not supported", "read-only"),
    (r"table '[^']*' not found", "no-table"),
    (r"No field named|Schema error", "no-column"),
    (r"Invalid function", "no-function"),
    (r"Resources exhausted", "memory"),
    (r"This feature is not implemented", "not-implemented"),
    (r"must be in GROUP BY", "no-group"),
    (r"^(Optimizer rule|type_coercion)", "optimizer"),
    (r"Error during planning|Placeholder", "plan"),
)


class TooMuch(Exception):
    """The answer is larger than it may be."""


class NothingIsChanged(Exception):
    """The statement is no query."""


def refused(error: Exception) -> Refused:
    text = str(error).removeprefix("DataFusion error: ")
    kind: Kind = next((kind for pattern, kind in _KINDS if re.search(pattern, text)), "failed")
    return Refused(kind, _readable(text), f"Datafusion error: {text}")


def _readable(text: str) -> str:
    inner = re.fullmatch(r'SQL error: (?:Parser|Tokenizer)Error\("(.*)"\)', text, re.DOTALL)
    if inner is not None:
        return "syntax error: " + inner[1].replace('\\"', '"')
    text = text.removeprefix("Error during planning: ").removeprefix("Schema error: ")
    return re.sub(r"table 'restate\.public\.([^']*)' not found", r"table '\1' not found", text)
