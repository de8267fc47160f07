"""`Operation`: one route of the admin API, with what has to be known to answer it and to describe it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from starlette.requests import Request
from starlette.responses import Response

Answer: TypeAlias = Callable[[Request], Awaitable[Response]]
Method: TypeAlias = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


@dataclass(frozen=True, slots=True)
class Query:
    """A parameter in the query."""

    name: str
    schema: Mapping[str, object]
    meaning: str


@dataclass(frozen=True, slots=True)
class Operation:
    """`path` holds its parameters in braces, `{key:path}` for one that may contain slashes."""

    method: Method
    path: str
    answer: Answer
    summary: str
    replies: Mapping[int, object | None] = field(default_factory=lambda: {200: None})
    """By status the type of the JSON, None for an empty body."""
    errors: tuple[int, ...] = ()
    body: object | None = None
    """The type of the JSON that is sent; `bytes`: anything."""
    query: tuple[Query, ...] = ()
