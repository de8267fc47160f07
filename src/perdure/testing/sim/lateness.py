"""What an engine owes, and since when: nobody waits for longer than it takes, although nothing is lost when he does.

It looks whenever time is about to move, when nothing else can happen. What is owed follows from the tables that the log alone
gives, and from what stands between the two sides of each attempt; so nothing here asks the invoker or the node how they are.
Only time in which the engine could act counts: not that of a sync, of a full disk, or while the store lets nothing go on.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from perdure.invoker.pool import DROP_WHEN_TIMERS_LEAVE_MS
from perdure.model import journal as j
from perdure.model import records as r
from perdure.model.driver import Turn
from perdure.model.limits import IDLE_ATTEMPT_BYTES
from perdure.node.phase import Phase
from perdure.partition import actions as a
from perdure.partition.lifecycle import attempt_is_current
from perdure.store.layer import TimerKey
from perdure.store.rows import Invocation, Status
from perdure.testing.sim.attempts import WatchedApp, WatchedAttempt

if TYPE_CHECKING:
    from perdure.testing.sim.engine import SimEngine
    from perdure.testing.sim.records import Records
    from perdure.testing.sim.world import World

_SOON_S = 1.0
"""Longer than the way through the log and a few threads takes."""
_LOOK_EVERY_S = 0.05
_SWEEP_S = 1.0
"""Between two looks at who has idled for long enough."""
_CAUGHT_UP_WITHIN_S = 5.0
"""How long the store may hold everything up while there is room on the disk."""
_STAYS = "an attempt that only waits stays in memory"
_TOO_LARGE = 413
"""Why the log does not take what an attempt proposes."""
_WAITED_FOR = (j.Completion, *j.ANSWERED_BY_ENGINE)
_UNAWAITED = (r.Suspended, r.Forget, r.OutboxDelivered)
"""Records that nobody waits for."""


class _Debt(NamedTuple):
    """`what` is the same as long as it is the same debt; `within_s` has room for all that may delay it."""

    kind: str
    what: Hashable
    within_s: float = _SOON_S


class Lateness:
    """Of one process."""

    def __init__(self, world: World, engine: SimEngine, app: WatchedApp, records: Records) -> None:
        self._world = world
        self._engine = engine
        self._app = app
        self._records = records
        self.acting_s = 0.0
        """Time in which the engine could act."""
        self._look_at_s = 0.0
        self._owed: dict[_Debt, float] = {}
        self._invoked: set[tuple[int, int]] = set()
        """(partition, seq) of what may have to run."""
        self._timers: list[tuple[TimerKey, int]] = []
        """Heap of (key, partition)."""
        self._messages: set[tuple[int, int]] = set()
        """(from, to): partitions between which messages may be on their way."""
        self._proposed: dict[int, r.Record] = {}
        self._held_up_s = 0.0
        self._completed_s: dict[bytes, float] = {}

    # --- what it is told --------------------------------------------------------------------------------------------------

    def began(self) -> None:
        """The engine has started: what was under way is to be taken up."""
        for partition, tables in enumerate(self._records.tables):
            self._invoked.update((partition, seq) for seq in tables.with_status(Status.INVOKED))
            for timer in tables.timers_after((0, 0, 0), 1_000):
                heapq.heappush(self._timers, (timer.key, partition))
            self._messages.update((partition, to) for to in range(self._engine.partitions))

    def proposed(self, lsn: int, record: r.Record) -> None:
        self._proposed[lsn] = record

    def followed(self, record: r.Record, actions: list[a.Action], *, in_force: bool) -> None:
        """A record is durable, and this is what it asks for. `in_force`: it is not of an attempt that was over by then."""
        if in_force and isinstance(record, r.Suspended | r.AttemptFailed):
            self._judge_end(record)
        for action in actions:
            match action:
                case a.StartAttempt():
                    self._invoked.add((action.partition, action.seq))
                case a.ArmTimer():
                    heapq.heappush(self._timers, (action.timer.key, action.partition))
                case a.Forward():
                    self._messages.add((action.partition, action.target))
                case a.Accepted(duplicate=False):  # under the id of one that is forgotten
                    self._completed_s.pop(action.invocation_id, None)
                case a.Completed():
                    self._completed_s[action.invocation_id] = self.acting_s
                case _:
                    pass

    def look(self, seconds: float) -> None:
        """Time is about to move on by so much."""
        engine = self._engine
        if engine.phase is not Phase.READY or not self._world.process:
            return
        full = engine.simulation.disk.faults.full
        if not full:
            self._judge_lingering()
        if engine.pool.throttled or full:
            self._judge_hold_up(0.0 if full else seconds)
            return
        self._held_up_s = 0.0
        if self.acting_s >= self._look_at_s:
            self._look_at_s = self.acting_s + _LOOK_EVERY_S
            self._judge()
        self.acting_s += seconds

    def answered(self, invocation_id: bytes, asked_s: float) -> None:
        """Somebody has the result of an invocation, who began to wait for it when `acting_s` was `asked_s`."""
        since_s = self.acting_s - max(asked_s, self._completed_s.get(invocation_id, self.acting_s))
        if since_s > _SOON_S:
            self._world.broken("late", f"an answer came {since_s:.1f} s after the end")

    # --- debts ------------------------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        for attempt in self._app.closed.values():
            if attempt.tasks and attempt.turn is not Turn.ENDED:
                self._world.broken("over", f"a step of {attempt.target} goes on, whose attempt is over")
        now_s, owed = self.acting_s, dict[_Debt, float]()
        for debt in self._debts():
            since_s = owed[debt] = self._owed.get(debt, now_s)
            if now_s - since_s > debt.within_s:
                self._world.broken("late", f"{debt.kind}, since {now_s - since_s:.1f} s: {debt.what}")
        self._owed = owed

    def _debts(self) -> Iterator[_Debt]:
        present: set[tuple[bytes, int]] = set()
        idle = 0
        for attempt in list(self._app.open):
            who = (attempt.invocation_id, attempt.epoch)
            present.add(who)
            row = self._records.find(attempt.invocation_id)
            if row is None or not attempt_is_current(row, attempt.epoch):
                yield _Debt("an attempt is over, and is not closed", who)
            elif (debt := self._debt_to(attempt, row)) is not None:
                yield debt
                idle += debt.kind is _STAYS
        if idle * IDLE_ATTEMPT_BYTES > self._engine.settings.idle_attempts_bytes_max:
            yield _Debt("attempts that only wait take more memory than they may", None)
        held = max(len(present), len(self._engine.pool))  # some of them may run elsewhere
        yield from self._debts_to_the_invoked(present, room=idle > 0 or held < self._attempts_max)
        yield from self._debts_to_the_tables()
        for waiting in self._engine.replies_waiting:
            yield _Debt("a request is not answered", waiting)

    @property
    def _attempts_max(self) -> int:
        return self._engine.settings.concurrent_attempts_max

    def _debt_to(self, attempt: WatchedAttempt, row: Invocation) -> _Debt | None:
        """The first that is owed to an attempt that is the current one. None: its steps run."""
        spec, _ = self._engine.registry.place(row)
        who = (row.target, row.id.hex(), attempt.epoch, attempt.turns)
        if attempt.turn is Turn.YIELDED:
            return _Debt("a handler that gave way does not go on", who)
        if attempt.turn is Turn.ENDED:
            return _Debt("a handler has ended, and its invocation has not", who)
        if attempt.failing:
            abort_s = spec.abort_timeout_ms / 1000 if attempt.running else 0.0
            what = (*who, bool(attempt.running))
            return _Debt("an attempt has failed, and that is not recorded", what, _SOON_S + abort_s)
        if row.notifications > attempt.told:
            return _Debt("a handler is not told what stands in its journal", who)
        if attempt.asked > row.commands:
            return _Debt("what a handler asks does not come into its journal", (*who, row.commands))
        if attempt.done:
            return _Debt("the result of a step does not come into the journal", (*who, *sorted(attempt.done)))
        if attempt.fresh:
            return _Debt("a step does not begin", (*who, *sorted(attempt.fresh)))
        if attempt.running:
            return None
        leaves = self._engine.settings.always_replay or self._only_sleeps(attempt)
        idle_s = 0.0 if leaves else spec.inactivity_timeout_ms / 1000 + _SWEEP_S
        return _Debt(_STAYS, (*who, leaves), _SOON_S + idle_s)

    def _only_sleeps(self, attempt: WatchedAttempt) -> bool:
        """It waits for nothing but timers, and for long."""
        soon_ms = self._engine.now_ms() + DROP_WHEN_TIMERS_LEAVE_MS
        if min(attempt.sleeps.values(), default=0) <= soon_ms:
            return False
        awaiting = attempt.awaiting()
        return not awaiting.signals and attempt.sleeps.keys() >= set(awaiting.completions)

    def _debts_to_the_invoked(self, present: set[tuple[bytes, int]], *, room: bool) -> Iterator[_Debt]:
        """Invocations that are to run, and nobody runs them."""
        for partition, seq in list(self._invoked):
            row = self._records.tables[partition].invocation(seq)
            if row is None or row.status is not Status.INVOKED or row.retry_at_ms:
                self._invoked.discard((partition, seq))
            elif room and (row.id, row.epoch) not in present and self._engine.registry.place(row)[1] is None:
                yield _Debt("an invocation is to run, and does not", (row.target, row.id.hex(), row.epoch))

    def _debts_to_the_tables(self) -> Iterator[_Debt]:
        tables, timers, now_ms = self._records.tables, self._timers, self._engine.now_ms()
        while timers and timers[0][0][0] <= now_ms:
            key, partition = timers[0]
            if tables[partition].timer(key) is not None:
                yield _Debt("a timer does not fire", (partition, *key))
                break
            heapq.heappop(timers)
        for source, target in list(self._messages):
            first = tables[source].outbox(target, 0, 1)
            if first:
                yield _Debt("a message does not arrive", (source, target, first[0][0]))
            else:
                self._messages.discard((source, target))

    def _judge_end(self, record: r.Suspended | r.AttemptFailed) -> None:
        """An attempt came to an end without a result, and says so."""
        row = self._records.tables[record.partition].invocation(record.seq)
        attempt = None if row is None else self._app.closed.get((row.id, record.epoch))
        if row is None or attempt is None:
            return
        who, broken = f"{row.target}, attempt {record.epoch}", self._world.broken
        if isinstance(record, r.Suspended):
            if attempt.left:
                broken("suspended", f"{who}: {attempt.left} was under way")
            return
        if record.error.code == _TOO_LARGE:
            return
        if attempt.asked > row.commands:
            broken("asked", f"{who} failed, and what it had asked for is not in the journal")
        judged = attempt.turn is Turn.WAITING and attempt.error is None and attempt.failed
        if judged and not any(each.on_thread or each.own_policy for each in attempt.failed.values()):
            first = next(iter(attempt.failed))
            if record.error.step != first:
                broken("failure", f"{who} failed by step {first}, and says that it was step {record.error.step}")
        self._judge_delay(who, record, row, attempt)

    def _judge_delay(self, who: str, record: r.AttemptFailed, row: Invocation, attempt: WatchedAttempt) -> None:
        """The next attempt is when the policy says."""
        asked = attempt.retry_after_ms is not None or any(each.own_policy for each in attempt.failed.values())
        if record.retry_at_ms is None or asked or not record.counted:
            return
        policy, delay_ms = self._engine.registry.place(row)[0].retry, record.retry_at_ms - record.at_ms
        least_ms, most_ms = (policy.delay_ms(row.attempts_failed, jitter) for jitter in (0.0, 1.0))
        if least_ms is None or most_ms is None:
            self._world.broken("failure", f"{who} is tried again, and its policy has come to its end")
        elif not max(1, least_ms) <= delay_ms <= max(1, most_ms):
            self._world.broken("failure", f"{who} is tried again after {delay_ms} ms, not {least_ms} to {most_ms}")

    # --- what waits to go out ---------------------------------------------------------------------------------------------

    def _judge_lingering(self) -> None:
        """A record may wait for others to go out with it only if nobody waits for it."""
        log = self._engine.log
        for lsn in [lsn for lsn in self._proposed if lsn <= log.durable_lsn]:
            del self._proposed[lsn]
        self._judge_held_back()
        if not log.is_pending(log.durable_lsn + 1):
            return  # nothing is left, or a batch is on its way
        for lsn in range(log.durable_lsn + 1, log.next_lsn):
            record = self._proposed.get(lsn)
            if record is not None and self._is_awaited(record):
                self._world.broken("late", f"LSN {lsn} lingers, for which somebody waits: {record}")

    def _judge_held_back(self) -> None:
        """What the engine is to answer goes out at the end of the turn, whatever else runs."""
        for attempt in self._app.asking:
            row = self._records.find(attempt.invocation_id)
            if row is None or attempt not in self._app.open or attempt.failing or attempt.turn is Turn.YIELDED:
                continue
            out = row.commands
            for record in self._proposed.values():
                if type(record) is r.Progress and (record.seq, record.epoch) == (row.seq, attempt.epoch):
                    out += sum(isinstance(entry, j.Command) for entry in record.entries)
            if out < attempt.asked_others:
                self._world.broken("late", f"{attempt.target} is to be answered, and what it asks is held back")
        self._app.asking.clear()

    def _is_awaited(self, record: r.Record) -> bool:
        if type(record) is not r.Progress:
            return type(record) not in _UNAWAITED
        if record.ended or any(type(entry) in _WAITED_FOR for entry in record.entries):
            return True
        row = self._records.tables[record.partition].invocation(record.seq)
        for attempt in self._app.open:
            if row is not None and (attempt.invocation_id, attempt.epoch) == (row.id, record.epoch):
                return attempt.turn is Turn.WAITING and not (
                    attempt.failing or attempt.fresh or attempt.running or attempt.done
                )
        return False

    def _judge_hold_up(self, seconds: float) -> None:
        """The store cannot keep up, and nothing goes on: until it has caught up, and no longer."""
        self._held_up_s += seconds
        if self._held_up_s > _CAUGHT_UP_WITHIN_S:
            self._world.broken("late", f"everything has been held up for {self._held_up_s:.1f} s")
