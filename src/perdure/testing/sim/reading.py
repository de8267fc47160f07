"""What the tables answer in the middle of work, wherever it lies by then: in layers, in SQLite, behind a cursor that has moved.

Beside them are the tables of the same records that were never written down, in one layer, in memory: those answer by
themselves. The reader changes nothing but what the engine's own readers change.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TypeVar

from perdure.store.layer import TimerKey
from perdure.store.listing import NewestFirst
from perdure.store.rows import Status
from perdure.store.tables import Tables
from perdure.testing.sim.world import World

T = TypeVar("T")
_WAITING = (Status.SCHEDULED, Status.INBOXED, Status.INVOKED, Status.SUSPENDED, Status.PAUSED)


class Reader:
    """Asks both, now and then, one thing of each kind."""

    def __init__(self, world: World, random: Random) -> None:
        self._world = world
        self._random = random

    def look(self, live: Tables, plain: Tables, lsn: int) -> None:
        """`plain` is what `live` must say, at the same LSN."""
        random = self._random
        timers = plain.layers[0].timers.rows
        standing = sorted(key for key, timer in timers.items() if timer is not None)
        after: TimerKey = random.choice(
            (_FIRST_TIMER, (plain.meta.now_ms, 0, 0), random.choice([_FIRST_TIMER, *standing]))
        )
        limit = random.randint(1, 4)
        behind = [key for key in standing if key > after][:limit]
        found = [timer.key for timer in live.timers_after(after, limit)]
        self._compare(f"timers behind {after}", lsn, behind, found)
        self._same(live, plain, lsn, "with_status", lambda t: [t.with_status(status) for status in _WAITING])
        for target in sorted(plain.layers[0].outboxes):
            self._same(live, plain, lsn, "outbox", lambda t, target=target: t.outbox(target, -1, limit))  # type: ignore[misc]
        self._list(live, plain, lsn)
        self._values(live, plain, lsn)
        self._expired(live, plain, lsn)

    def _list(self, live: Tables, plain: Tables, lsn: int) -> None:
        """In slices, with one status or all."""
        statuses = self._random.choice((tuple(Status), (self._random.choice(tuple(Status)),)))
        limit = self._random.randint(1, 5)

        def listed(tables: Tables) -> list[int]:
            newest, seqs = NewestFirst(tables, None, statuses), list[int]()
            while not newest.exhausted:
                seqs += [row.seq for row in newest.slice(limit)]
            return seqs

        self._same(live, plain, lsn, f"the list of {[status.name for status in statuses]}", listed)

    def _values(self, live: Tables, plain: Tables, lsn: int) -> None:
        layer = plain.layers[0]
        if layer.states:
            place = self._random.choice(list(layer.states))
            self._same(live, plain, lsn, f"state of {place}", lambda t: t.state(*place))
            names = [*plain.state(*place), "k0"]
            self._same(
                live, plain, lsn, f"values of {place}", lambda t: [t.state_value(*place, name) for name in names]
            )
        if layer.promises:
            held = self._random.choice(list(layer.promises))
            self._same(live, plain, lsn, f"promises of {held}", lambda t: t.promises(*held))
        if layer.ids:
            some = self._random.choice(list(layer.ids))
            self._same(live, plain, lsn, "find", lambda t: t.find(some))

    def _expired(self, live: Tables, plain: Tables, lsn: int) -> None:
        """Some of those whose time is over, in its order; one that has changed lately may be left out."""
        ended = {
            seq: row.expires_at_ms for seq in plain.with_status(Status.COMPLETED) if (row := plain.invocation(seq))
        }
        last_ms = self._random.choice((plain.meta.now_ms, _NEVER_MS))
        found = [(ended.get(seq), seq) for seq in live.expired(last_ms, self._random.randint(1, 4))]
        wrong = [seq for at_ms, seq in found if at_ms is None or at_ms > last_ms]
        if wrong or found != sorted(found, key=_by_time):
            self._world.broken("tables", f"what expires up to {last_ms} is {found}, at LSN {lsn}")

    def _same(self, live: Tables, plain: Tables, lsn: int, what: str, ask: Callable[[Tables], T]) -> None:
        self._compare(f"{what} in partition {live.partition}", lsn, ask(plain), ask(live))

    def _compare(self, what: str, lsn: int, wanted: object, found: object) -> None:
        if wanted != found:
            self._world.broken("tables", f"{what} should be {wanted}, and {found} is read, at LSN {lsn}")


_FIRST_TIMER: TimerKey = (-1, 0, 0)
_NEVER_MS = 1 << 62


def _by_time(found: tuple[int | None, int]) -> tuple[int, int]:
    return (found[0] or 0, found[1])
