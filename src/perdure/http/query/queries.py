"""`Queries`: runs queries over a running engine, a few at a time, each under a time limit, all of them off the loop."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TypeVar
from weakref import WeakKeyDictionary, proxy

from perdure.http.query import messages as m
from perdure.http.query.errors import (
    QueryProcessFailed,
    QueryRefused,
    QueryTooLarge,
    QueryTooLong,
    SqlNotInstalled,
    TooManyQueries,
)
from perdure.http.query.facts import facts_of
from perdure.http.query.limits import Limits
from perdure.http.query.reads import rows_for
from perdure.http.query.worker_process import WorkerGone, WorkerProcess
from perdure.node.engine import Engine
from perdure.store.snapshot import Snapshot

T = TypeVar("T")
START_WITHIN_S = 60.0
"""For the process of a query: it loads some 200 MB of libraries."""


@lru_cache(maxsize=1)
def installed() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in ("datafusion", "pyarrow"))


def queries_of(engine: Engine, limits: Limits | None = None) -> Queries:
    """The one of this engine, made with these limits when it is asked for first; it ends with the engine."""
    queries = _QUERIES.get(engine)
    if queries is None:
        queries = _QUERIES[engine] = Queries(engine, limits)
    return queries


class Queries:
    """One for an engine, on its loop."""

    def __init__(self, engine: Engine, limits: Limits | None = None) -> None:
        self._engine: Engine = proxy(engine)  # the engine's life is not ours to prolong
        self.limits = limits or Limits()
        self._free = [_Slot(number, self.limits) for number in reversed(range(self.limits.at_once))]
        self._turns = asyncio.Semaphore(self.limits.at_once)
        self._asked = 0
        self._running: set[_Slot] = set()
        self._since_ms = engine.now_ms()
        self._end: asyncio.Future[None] | None = None

    async def run(self, sql: str, form: m.Form, *, binary: list[int] | None = None) -> m.Answer:
        """The answer, encoded. Cancelling stops the query.

        Errors: QueryError of every kind; NodeStopped; those of the store.
        """
        if not installed():
            raise SqlNotInstalled
        await self._engine.ready()
        if self._end is None:
            self._end = asyncio.ensure_future(self._close_with_the_engine())
        if self._asked >= self.limits.at_once + self.limits.waiting_max:
            raise TooManyQueries(self.limits.at_once, self.limits.waiting_max)
        self._asked += 1
        try:
            async with self._turns:
                slot = self._free.pop()
                self._running.add(slot)
                try:
                    limits = self.limits
                    asked = m.Ask(sql, form, limits.seconds_max, limits.answer_bytes_max, binary or [])
                    return await self._run(slot, asked)
                finally:
                    self._running.discard(slot)
                    self._free.append(slot)
                    slot.rest(asyncio.get_running_loop(), self.limits.idle_s)
        finally:
            self._asked -= 1

    async def _run(self, slot: _Slot, asked: m.Ask) -> m.Answer:
        slot.wake()
        try:
            async with asyncio.timeout(START_WITHIN_S):
                await self._off_the_loop(slot, slot.worker.start)
        except (TimeoutError, WorkerGone):
            raise QueryProcessFailed from None
        try:
            async with asyncio.timeout(self.limits.seconds_max):
                reply = await self._off_the_loop(slot, lambda: slot.worker.ask(asked))
                if isinstance(reply, m.Needs):
                    reply = await self._feed(slot, reply.needs)
        except TimeoutError:
            raise QueryTooLong(self.limits.seconds_max) from None
        except WorkerGone:
            raise QueryTooLarge("the process of the query ended; it needs more memory than it may take") from None
        match reply:
            case m.Answer():
                return reply
            case m.Refused(kind, message) if kind in ("size", "memory"):
                raise QueryTooLarge(message)
            case m.Refused(kind, message, original):
                raise QueryRefused(kind, message, original)
        raise AssertionError(f"a worker does not say {reply!r} twice")

    async def _feed(self, slot: _Slot, needs: list[m.Need]) -> m.FromWorker:
        snapshot, memory = await self._engine.snapshot()
        try:
            facts = facts_of(memory, self._since_ms)
            return await self._off_the_loop(slot, lambda: slot.worker.feed(facts, _rows(needs, snapshot)), snapshot)
        finally:
            snapshot.close()

    async def _off_the_loop(self, slot: _Slot, work: Callable[[], T], snapshot: Snapshot | None = None) -> T:
        """On the slot's thread; whoever cancels this has the worker killed, and the thread back before it is over."""
        future = asyncio.wrap_future(self._engine.executor.submit(slot.lane, work))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            slot.worker.kill()
            if snapshot is not None:
                snapshot.interrupt()
            await asyncio.wait([future])
            future.exception()
            raise

    async def _close_with_the_engine(self) -> None:
        await self._engine.failed()
        self.close()

    def close(self) -> None:
        """End the processes; queries under way fail."""
        for slot in (*self._free, *self._running):
            slot.wake()
            slot.worker.kill()


_QUERIES: WeakKeyDictionary[Engine, Queries] = WeakKeyDictionary()


def _rows(needs: list[m.Need], snapshot: Snapshot) -> Iterator[m.Rows]:
    for need in needs:
        yield from rows_for(need, snapshot)


class _Slot:
    """A thread and a process for one query at a time."""

    def __init__(self, number: int, limits: Limits) -> None:
        self.lane = f"query-{number}"
        self.worker = WorkerProcess(limits.memory_bytes_max)
        self._idle: asyncio.TimerHandle | None = None

    def rest(self, loop: asyncio.AbstractEventLoop, idle_s: float) -> None:
        if self.worker.running:
            self._idle = loop.call_later(idle_s, self.worker.kill)

    def wake(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
