"""A layer: what changed in one partition since the last freeze, kept in memory until a checkpoint has written it.

What always holds:
* A value of None is a tombstone: the row is gone, whatever lies below. An absent key says nothing: look below.
* A frozen layer does not change any more, except for the order of its timers, which is worked out when first asked for
  and only on the loop's thread.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Container, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

from perdure.model.deployment import Deployment
from perdure.model.records import Message
from perdure.store.rows import Event, Invocation, JournalChunk, KeyQueue, PartitionMeta, Promise, Timer

V = TypeVar("V")

TimerKey: TypeAlias = tuple[int, int, int]
ObjectKey: TypeAlias = tuple[str, str]
EventKey: TypeAlias = tuple[int, int]
"""seq of the invocation, number of the event."""


class Layer:
    """The changes of one partition."""

    __slots__ = (
        "chunks",
        "deployments",
        "dropped_journals",
        "events",
        "fresh",
        "ids",
        "inbox",
        "invocations",
        "key_queues",
        "meta",
        "outboxes",
        "promises",
        "states",
        "timers",
    )

    def __init__(self) -> None:
        self.meta: PartitionMeta | None = None
        self.invocations: dict[int, Invocation | None] = {}
        self.ids: dict[bytes, int | None] = {}
        self.fresh: set[int] = set()
        """Invocations of which nothing lies below, neither row nor id: forgetting one leaves no trace."""
        self.chunks: dict[int, JournalChunk] = {}
        self.dropped_journals: set[int] = set()
        """Journals whose chunks below this layer are gone."""
        self.events: dict[EventKey, Event | None] = {}
        self.states: dict[ObjectKey, Overlay[bytes]] = {}
        self.key_queues: dict[ObjectKey, KeyQueue | None] = {}
        self.inbox: dict[tuple[str, str, int], int | None] = {}
        self.timers = TimerLayer()
        self.outboxes: dict[int, OutboxLayer] = {}
        self.promises: dict[ObjectKey, Overlay[Promise]] = {}
        self.deployments: dict[str, Deployment | None] = {}

    def entries(self) -> int:
        """How many rows and tombstones it holds."""
        return (
            len(self.invocations)
            + len(self.chunks)
            + len(self.dropped_journals)
            + len(self.events)
            + sum(len(overlay.values) for overlay in self.states.values())
            + len(self.key_queues)
            + len(self.inbox)
            + len(self.timers.rows)
            + sum(len(outbox.messages) for outbox in self.outboxes.values())
            + sum(len(overlay.values) for overlay in self.promises.values())
            + len(self.deployments)
        )

    def empty(self) -> None:
        """Let go of everything, piece by piece: a large dict that dies at once holds the interpreter lock for its time.

        For a layer that nobody reads any more.
        """
        self.meta = None
        tables: list[dict[Any, Any]] = [self.invocations, self.ids, self.chunks, self.events, self.key_queues]
        tables += [
            self.inbox,
            self.timers.rows,
            self.states,
            self.promises,
            self.deployments,
            *(outbox.messages for outbox in self.outboxes.values()),
        ]
        for table in tables:
            while table:
                table.popitem()


class Overlay(Generic[V]):
    """Named values of one object's key; `hides` says that nothing below counts any more."""

    __slots__ = ("hides", "values")

    def __init__(self) -> None:
        self.hides = False
        self.values: dict[str, V | None] = {}

    def clear(self) -> None:
        self.hides = True
        self.values.clear()


class OutboxLayer:
    """Messages to one target partition; sequence numbers only grow, and are dropped from the front."""

    __slots__ = ("dropped_to", "messages", "order", "start")

    def __init__(self) -> None:
        self.dropped_to = -1
        """Messages up to and including this one are gone, here and below."""
        self.messages: dict[int, Message] = {}
        self.order: list[int] = []
        self.start = 0

    def put(self, outbox_seq: int, message: Message) -> None:
        if self.order and outbox_seq <= self.order[-1]:
            raise ValueError(f"outbox message {outbox_seq} after {self.order[-1]}")
        self.messages[outbox_seq] = message
        self.order.append(outbox_seq)

    def drop(self, up_to: int) -> None:
        self.dropped_to = max(self.dropped_to, up_to)
        end = bisect_right(self.order, up_to, self.start)
        for outbox_seq in self.order[self.start : end]:
            del self.messages[outbox_seq]
        self.start = max(self.start, end)

    def after(self, outbox_seq: int, limit: int) -> list[tuple[int, Message]]:
        begin = bisect_right(self.order, outbox_seq, self.start)
        return [(at, self.messages[at]) for at in self.order[begin : begin + limit]]


class TimerLayer:
    """Timers by key, and in key order once someone asks.

    `_order[:_start]` is dead for good (dropped here or shadowed from above), so that popping from the front stays O(1).
    """

    __slots__ = ("_order", "_start", "_unsorted", "rows")

    _INSERT_MAX = 32

    def __init__(self) -> None:
        self.rows: dict[TimerKey, Timer | None] = {}
        self._order: list[TimerKey] = []
        self._start = 0
        self._unsorted: list[TimerKey] = []

    def put(self, timer: Timer) -> None:
        key = timer.key
        self.rows[key] = timer
        self._unsorted.append(key)

    def drop(self, key: TimerKey) -> None:
        self.rows[key] = None

    def after(self, key: TimerKey, limit: int, above: Sequence[Container[TimerKey]]) -> list[TimerKey]:
        """Keys of up to `limit` timers of this layer that lie behind `key` and are in none of the layers `above`."""
        if self._unsorted:
            self._sort()
        rows, order = self.rows, self._order
        at = bisect_right(order, key)
        if at <= self._start:
            at = self._start = self._skip_dead(self._start, above)
        found: list[TimerKey] = []
        while at < len(order) and len(found) < limit:
            candidate = order[at]
            if rows[candidate] is not None and not any(candidate in layer for layer in above):
                found.append(candidate)
            at += 1
        return found

    def _skip_dead(self, at: int, above: Sequence[Container[TimerKey]]) -> int:
        rows, order = self.rows, self._order
        while at < len(order):
            key = order[at]
            if rows[key] is not None and not any(key in layer for layer in above):
                break
            at += 1
        return at

    def _sort(self) -> None:
        if len(self._unsorted) > self._INSERT_MAX:
            rows = self.rows
            live = {key for key in self._order[self._start :] if rows[key] is not None}
            live.update(key for key in self._unsorted if rows[key] is not None)
            self._order = sorted(live)
            self._start = 0
        else:
            for key in self._unsorted:
                at = bisect_right(self._order, key)
                if at > 0 and self._order[at - 1] == key:
                    # Put again after a drop: it may lie in the part that counted as dead.
                    self._start = min(self._start, at - 1)
                    continue
                self._order.insert(at, key)
                self._start = min(self._start, at)
        self._unsorted.clear()
