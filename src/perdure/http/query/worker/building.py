"""Columns that are being filled: one function per column, called for each row, and only for columns that are asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Generic, Protocol, TypeVar

import pyarrow as pa

from perdure.http.query.messages import Facts, Need, Rows
from perdure.http.query.worker.arrow import batch

V = TypeVar("V")
BATCH_ROWS = 4096
"""After which a batch is full."""


class Known:
    """What no row says."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.attempts = set(facts.attempts)
        self.services = {each.name: each for each in facts.services}
        self.servers = {each.id: each.server for each in facts.deployments}


class Columns(Generic[V]):
    """The columns of one table that a query needs; `of` says what each is of a row."""

    def __init__(self, need: Need, of: Mapping[str, Callable[[V], object]]) -> None:
        self._table = need.table
        self._functions = [(name, of[name]) for name in need.columns if name in of]
        self._batches: list[pa.RecordBatch] = []
        self._begin()

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self._functions}

    def extend(self, rows: Collection[V]) -> None:
        for values, function in self._filling:
            values.extend(map(function, rows))
        self._rows += len(rows)
        if self._rows >= BATCH_ROWS:
            self._flush()

    def add_blank(self, rows: int) -> None:
        """So many rows of which no column is asked for."""
        self._rows += rows
        self._flush()

    def finish(self) -> list[pa.RecordBatch]:
        if self._rows:
            self._flush()
        return self._batches

    def _begin(self) -> None:
        self._rows = 0
        self._values: dict[str, list[object]] = {name: [] for name, _ in self._functions}
        self._filling = [(self._values[name], function) for name, function in self._functions]

    def _flush(self) -> None:
        self._batches.append(batch(self._table, self._values, self._rows))
        self._begin()


class Table(Protocol):
    """One table of a query: takes the chunks that the node sends for it."""

    def take(self, rows: Rows) -> None: ...

    def finish(self) -> list[pa.RecordBatch]: ...
