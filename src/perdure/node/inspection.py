"""`Inspection`: looking at the invocations of a running engine: lists with filters, and one in detail. Changes nothing.

A list is read in slices with the loop let in between them, and a request looks at a bounded number of rows: then it answers
with what it has found and a cursor to go on from.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec

from perdure.model.journal import Failure
from perdure.node.control import Control
from perdure.node.errors import BadRequest, InvocationNotFound
from perdure.node.timeline import Moment, timeline
from perdure.node.waiting import Wait, waits_for
from perdure.store.listing import NewestFirst
from perdure.store.rows import Invocation, JournalChunk, Status

SLICE_ROWS = 250
"""Rows looked at between two turns of the loop."""
ROWS_PER_REQUEST = 25_000
PAGE_MAX = 1_000

_OPEN = (Status.SCHEDULED, Status.INBOXED, Status.INVOKED, Status.SUSPENDED, Status.PAUSED)
_NAMES: dict[str, tuple[tuple[Status, ...], Callable[[Invocation], bool] | None]] = {
    "scheduled": ((Status.SCHEDULED,), None),
    "inboxed": ((Status.INBOXED,), None),
    "running": ((Status.INVOKED,), lambda row: not row.retry_at_ms),
    "backing-off": ((Status.INVOKED,), lambda row: row.retry_at_ms > 0),
    "suspended": ((Status.SUSPENDED,), None),
    "paused": ((Status.PAUSED,), None),
    "completed": ((Status.COMPLETED,), None),
    "succeeded": ((Status.COMPLETED,), lambda row: not isinstance(row.result, Failure)),
    "failed": ((Status.COMPLETED,), lambda row: isinstance(row.result, Failure)),
    "open": (_OPEN, None),
}
STATUS_NAMES = tuple(_NAMES)
"""What a list can be filtered by; `succeeded` and `failed` are the two ways to be `completed`, `open` is all the rest."""


def status_name(row: Invocation) -> str:
    """`scheduled`, `inboxed`, `running`, `backing-off`, `suspended`, `paused` or `completed`."""
    if row.status is Status.INVOKED:
        return "backing-off" if row.retry_at_ms else "running"
    return row.status.name.lower()


@dataclass(frozen=True, slots=True)
class Filter:
    """What is listed; None and nothing given: everything."""

    statuses: frozenset[str] = frozenset()
    service: str | None = None
    handler: str | None = None
    key: str | None = None

    def base_statuses(self) -> frozenset[Status]:
        if not self.statuses:
            return frozenset(Status)
        return frozenset(status for name in self.statuses for status in _NAMES[name][0])

    def takes(self, row: Invocation) -> bool:
        target = row.target
        return (
            (self.service is None or target.service == self.service)
            and (self.handler is None or target.handler == self.handler)
            and (self.key is None or target.key == self.key)
            and (not self.statuses or any(_has_status(row, name) for name in self.statuses))
        )


def _has_status(row: Invocation, name: str) -> bool:
    statuses, test = _NAMES[name]
    return row.status in statuses and (test is None or test(row))


@dataclass(frozen=True, slots=True)
class Page:
    """Newest first. `after`: where the next page begins; None: this was the last. A page may be short, even empty."""

    rows: list[Invocation]
    after: str | None


@dataclass(frozen=True, slots=True)
class Details:
    row: Invocation
    journal: JournalChunk
    timeline: list[Moment]
    waits_for: list[Wait]


class Inspection(Control):
    """An engine that can be looked at."""

    async def invocations(self, wanted: Filter | None = None, *, limit: int = 100, after: str | None = None) -> Page:
        """One page of a list. Errors: BadRequest for an unknown status, a limit out of range or a bad cursor."""
        await self.ready()
        wanted = wanted or Filter()
        if unknown := wanted.statuses - set(STATUS_NAMES):
            raise BadRequest(f"unknown status '{min(unknown)}'; there are: {', '.join(STATUS_NAMES)}")
        if not 1 <= limit <= PAGE_MAX:
            raise BadRequest(f"the limit is {limit}; it must be between 1 and {PAGE_MAX}")
        places = [None] * self.partitions if after is None else _parse_cursor(after, self.partitions)
        listings = [
            _Listing(NewestFirst(tables, below, wanted.base_statuses()), wanted)
            for tables, below in zip(self.store.tables, places, strict=True)
        ]
        rows: list[Invocation] = []
        left = ROWS_PER_REQUEST + SLICE_ROWS * self.partitions  # each can be looked into once
        while len(rows) < limit:
            dry = next((each for each in listings if not each.found and not each.source.exhausted), None)
            if dry is not None:
                if left <= 0:
                    break
                left -= SLICE_ROWS
                dry.fill()
                await asyncio.sleep(0)
                continue
            full = [each for each in listings if each.found]
            if not full:
                return Page(rows, None)
            rows.append(max(full, key=lambda each: each.found[0].created_at_ms).found.popleft())
        if not any(each.found or not each.source.exhausted for each in listings):
            return Page(rows, None)
        return Page(rows, _format_cursor(each.place() for each in listings))

    def inspect(self, invocation_id: bytes) -> Details:
        """All that is known of an invocation, and what it waits for. Errors: InvocationNotFound."""
        row = self.find(invocation_id)
        if row is None:
            raise InvocationNotFound()
        home = self.home_of(invocation_id)
        tables = self.store.tables[home]
        journal = tables.journal(row.seq)
        moments = timeline(row, journal, tables.events(row), self.now_ms())
        return Details(row, journal, moments, waits_for(row, moments, self.pool.awaiting(home, row.seq), tables))


class _Listing:
    """The rows of one partition that were found and not yet taken."""

    def __init__(self, source: NewestFirst, wanted: Filter) -> None:
        self.source = source
        self.found: deque[Invocation] = deque()
        self._wanted = wanted

    def fill(self) -> None:
        self.found.extend(row for row in self.source.slice(SLICE_ROWS) if self._wanted.takes(row))

    def place(self) -> int:
        """Everything from this sequence number on has been taken or passed over."""
        return self.found[0].seq + 1 if self.found else self.source.below


def _format_cursor(places: Iterable[int]) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(list(places))).decode().rstrip("=")


def _parse_cursor(text: str, partitions: int) -> list[int]:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        places = msgspec.msgpack.decode(raw, type=list[int])
    except (binascii.Error, ValueError):
        places = []
    if len(places) != partitions or min(places) < 0:
        raise BadRequest("bad cursor: give `after` as the page before has it")
    return places
