"""Random histories: a list of small numbers becomes records, valid ones and stale ones, against the tables as they are.

A move is (what, a, b); `a` picks whom it is about and `b` how. What a real engine guarantees is kept: an attempt answers
its own steps once, completion ids are fresh, messages leave in outbox order (and come late, twice, or too early).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec

from perdure.model import journal as j
from perdure.model import records as r
from perdure.model.ids import (
    CANCEL_SIGNAL,
    format_awakeable_id,
    hash_key,
    keyed_invocation_id,
    make_invocation_id,
    partition_key,
    partition_of,
)
from perdure.model.target import HandlerKind, Target
from perdure.partition.actions import Action, Delivered, StartAttempt
from perdure.store.rows import Invocation, Status

from .world import World

Move = tuple[str, int, int]
KEYS = ("east", "west", "east", "a")
KINDS = (*HandlerKind, HandlerKind.EXCLUSIVE, HandlerKind.EXCLUSIVE)
PROMISES = ("p", "q")
_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE: msgspec.msgpack.Decoder[r.Record] = msgspec.msgpack.Decoder(r.Record)


def as_logged(record: r.Record) -> r.Record:
    """The record as a reader of the log gets it."""
    return _DECODE.decode(_ENCODE(record))


class History:
    def __init__(self, world: World) -> None:
        self.world = world
        self.records: list[r.Record] = []
        self.actions: list[list[Action]] = []
        self.now_ms = 1_000_000
        self.signals = 0
        """How many were sent; each carries its number, so that one applied twice shows."""
        self.restarts = 0
        self._ids: list[bytes] = [make_invocation_id(5, b"nobody".ljust(16))]
        self._completion_ids = 0
        self._leader = 0
        self._epochs: dict[tuple[int, int], int] = {}

    def play(self, moves: list[Move]) -> None:
        for what, a, b in moves:
            MOVES[what](self, a, b)

    def propose(self, record: r.Record) -> None:
        record = as_logged(record)
        stale = self._is_stale(record)
        self.records.append(record)
        actions = self.world.apply(record)
        self.actions.append(actions)
        assert not (stale and actions), "what a stale attempt says has no effect"
        self._check_epochs(actions)
        self._check_delivery(record, actions)

    def _is_stale(self, record: r.Record) -> bool:
        match record:
            case r.Progress() | r.AttemptFailed() | r.Suspended() | r.Interrupted():
                row = self.world.tables_of(record.partition).invocation(record.seq)
                if row is None or row.status is not Status.INVOKED or row.retry_at_ms:
                    return True
                return row.epoch != record.epoch
            case _:
                return False

    def _check_epochs(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, StartAttempt):
                place = action.partition, action.seq
                assert action.epoch > self._epochs.get(place, 0), "each attempt has an epoch of its own"
                self._epochs[place] = action.epoch

    def _check_delivery(self, record: r.Record, actions: list[Action]) -> None:
        """The source may forget a message exactly when it has been applied."""
        if isinstance(record, r.Deliver):
            applied = self.world.tables_of(record.partition).meta.delivered.get(record.source_partition, 0)
            told = any(isinstance(action, Delivered) for action in actions)
            assert told == (record.outbox_seq <= applied)

    # --- who --------------------------------------------------------------------------------------------------------------

    def home_of(self, invocation_id: bytes) -> int:
        return partition_of(partition_key(invocation_id), self.world.partitions)

    def rows(self) -> list[tuple[int, Invocation]]:
        return [(p, row) for p in range(self.world.partitions) for row in self.world.invocations(p)]

    def any_row(self, a: int) -> tuple[int, Invocation] | None:
        rows = self.rows()
        return rows[a % len(rows)] if rows else None

    def running(self, a: int) -> tuple[int, Invocation] | None:
        rows = [(p, row) for p, row in self.rows() if row.status is Status.INVOKED and not row.retry_at_ms]
        return rows[a % len(rows)] if rows else None

    def any_id(self, a: int) -> bytes:
        return self._ids[a % len(self._ids)]

    def fresh(self) -> int:
        self._completion_ids += 1
        return self._completion_ids

    def request(self, a: int, b: int, caller: j.Caller | None = None) -> j.InvokeRequest:
        """A new invocation, or one that may exist: workflow runs and idempotency keys repeat."""
        kind = KINDS[a % len(KINDS)]
        key = None if kind is HandlerKind.PLAIN else KEYS[b % len(KEYS)]
        service = ("Greeter", "Counter", "Counter", "Signup")[kind]
        target = Target(service, key, "run" if kind is HandlerKind.RUN else "handle")
        idem = f"key-{b % 3}" if a % 5 == 4 and kind is not HandlerKind.RUN else None
        if idem is not None or kind is HandlerKind.RUN:
            run = kind is HandlerKind.RUN
            invocation_id: bytes = keyed_invocation_id(
                service, key, target.handler, workflow_run=run, idempotency_key=idem, at_ms=0, random=bytes(18)
            )
        else:
            shard = (
                hash_key(key) if key is not None else ((b % self.world.partitions) << 64) // self.world.partitions + 1
            )
            invocation_id = make_invocation_id(shard, len(self._ids).to_bytes(16, "big"))
        self._ids.append(invocation_id)
        result_ms, journal_ms = ((5000, 5000), (5000, 2000), (5000, 0), (0, 0), (2000, 9000))[b % 5]
        at_ms = self.now_ms + 700 if a % 7 == 6 else 0
        body = b"x" * (b % 4)
        return j.InvokeRequest(
            invocation_id, target, kind, [], body, 7, result_ms, journal_ms, idem, at_ms, caller=caller
        )


# --- moves ------------------------------------------------------------------------------------------------------------


def _invoke(h: History, a: int, b: int) -> None:
    request = h.request(a, b)
    h.propose(r.Invoke(h.home_of(request.invocation_id), h.now_ms, request))


def _attempt(h: History, a: int, b: int) -> tuple[int, Invocation, int] | None:
    """An invocation and an epoch: the current one of a running attempt, now and then a stale or impossible one."""
    found = h.any_row(a) if b % 5 == 0 else h.running(a)
    if found is None:
        return None
    partition, row = found
    return partition, row, row.epoch - 1 if b % 10 == 5 else row.epoch


def _progress(h: History, a: int, b: int) -> None:
    attempt = _attempt(h, a, b)
    if attempt is None:
        return
    partition, row, epoch = attempt
    entries = [entry for at in range(1 + b % 3) for entry in _entries(h, partition, row, a + at, b + at)]
    if entries:
        h.propose(r.Progress(partition, h.now_ms, row.seq, epoch, entries))


def _entries(h: History, partition: int, row: Invocation, a: int, b: int) -> list[j.Entry]:
    caller = j.Caller(partition, row.seq, h.fresh(), j.CompletionCode.CALL)
    keyed = row.handler_kind is not HandlerKind.PLAIN
    writes = row.handler_kind in (HandlerKind.EXCLUSIVE, HandlerKind.RUN)
    promises = row.target.service == "Signup"
    match a % 14:
        case 0:
            return [j.Run(h.fresh(), "step")]
        case 1:
            step = h.fresh()
            return [j.Run(step, "step"), j.Completion(step, j.CompletionCode.RUN, b"y" * (b % 5))]
        case 2 if writes:
            return [j.SetState("k", b"v" * (b % 3))]
        case 3 if writes:
            return [j.ClearState("k") if b % 2 else j.ClearAllState()]
        case 4 if keyed:
            return [j.GetLazyState(h.fresh(), "k") if b % 2 else j.GetLazyStateKeys(h.fresh())]
        case 5 | 6:
            return [j.Sleep(h.fresh(), h.now_ms + (b % 4) * 500 - 500)]
        case 7 | 8:
            request = h.request(b, a, caller)
            return [j.Call(caller.completion_id, h.fresh(), request.target, [], request.body, request=request)]
        case 9:
            request = h.request(b, a)
            return [j.OneWayCall(h.fresh(), request.target, [], request.body, request=request)]
        case 10:
            h.signals += 1
            told = str(h.signals).encode()
            if b % 2:
                return [j.SendSignal(h.any_id(b), CANCEL_SIGNAL if b % 8 == 7 else "named", told)]
            return [j.CompleteAwakeable(format_awakeable_id(h.any_id(b), 17), told)]
        case 11:
            return [j.AttachInvocation(h.fresh(), h.any_id(b))]
        case 12:
            return [j.GetInvocationOutput(h.fresh(), h.any_id(b))]
        case 13 if promises:
            name = PROMISES[b % 2]
            return [
                (
                    j.GetPromise(h.fresh(), name),
                    j.PeekPromise(h.fresh(), name),
                    j.CompletePromise(h.fresh(), name, b"!"),
                )[b % 3]
            ]
        case _:
            return []


def _step_done(h: History, a: int, b: int) -> None:
    found = h.running(a)
    if found is None:
        return
    partition, row = found
    entries = h.world.tables_of(partition).journal(row.seq).entries
    answered = {entry.completion_id for entry in entries if isinstance(entry, j.Completion)}
    open_steps = [entry.completion_id for entry in entries if isinstance(entry, j.Run)]
    open_steps = [step for step in open_steps if step not in answered]
    if open_steps:
        done = j.Completion(open_steps[b % len(open_steps)], j.CompletionCode.RUN, b"done")
        h.propose(r.Progress(partition, h.now_ms, row.seq, row.epoch, [done]))


def _end(h: History, a: int, b: int) -> None:
    attempt = _attempt(h, a, b)
    if attempt is not None:
        partition, row, epoch = attempt
        result = (b"ok", None, j.Failure(400, "no"))[b % 3]
        h.propose(r.Progress(partition, h.now_ms, row.seq, epoch, [j.Output(result)], ended=True))


def _fail(h: History, a: int, b: int) -> None:
    attempt = _attempt(h, a, b)
    if attempt is not None:
        partition, row, epoch = attempt
        retry_at_ms = None if b % 4 == 3 else h.now_ms + 300 * (b % 4)
        error = r.AttemptError(500, "boom", step=b if b % 3 == 0 else None)
        exhausted = "kill" if b % 8 == 7 else "pause"
        h.propose(r.AttemptFailed(partition, h.now_ms, row.seq, epoch, error, retry_at_ms, exhausted, b % 3 != 0))


def _suspend(h: History, a: int, b: int) -> None:
    attempt = _attempt(h, a, b)
    if attempt is not None:
        partition, row, epoch = attempt
        awaited = [entry for entry in unanswered(h.world, partition, row.seq) if (entry + b) % 2]
        seen = row.notifications
        last = h.world.tables_of(partition).journal(row.seq).entries[-1:]
        if b % 4 == 3 and last and isinstance(last[0], j.Completion):  # the answer crossed the suspension
            seen -= 1
            awaited.append(last[0].completion_id)
        awaiting = j.Awaiting(awaited, [17] if b % 3 == 0 else [])
        h.propose(r.Suspended(partition, h.now_ms, row.seq, epoch, awaiting, seen))


def _interrupt(h: History, a: int, b: int) -> None:
    attempt = _attempt(h, a, b)
    if attempt is not None:
        partition, row, epoch = attempt
        retry_at_ms = (0, h.now_ms + 400, None)[b % 3]
        h.propose(r.Interrupted(partition, h.now_ms, row.seq, epoch, retry_at_ms))


def _timers(h: History, a: int, b: int) -> None:
    partition = a % h.world.partitions
    timers = h.world.tables_of(partition).timers_after((0, 0, 0), 100)
    due = [timer.key for timer in timers if timer.wake_at_ms <= h.now_ms]
    keys = due[: 1 + b % 5] + ([(h.now_ms, 1 + b % 9, b % 3)] if b % 6 == 0 else [])
    if keys:
        h.propose(r.TimersFired(partition, h.now_ms, keys))


def _signal(h: History, a: int, b: int) -> None:
    invocation_id = h.any_id(a)
    h.signals += 1
    h.propose(r.DeliverSignal(h.home_of(invocation_id), h.now_ms, invocation_id, 17, str(h.signals).encode()))


def _control(
    kind: type[r.Kill | r.Cancel | r.Resume | r.Pause | r.Purge | r.PurgeJournal],
) -> Callable[[History, int, int], None]:
    def propose(h: History, a: int, b: int) -> None:
        invocation_id = h.any_id(a + b)
        h.propose(kind(h.home_of(invocation_id), h.now_ms, invocation_id))

    return propose


def _restart(h: History, a: int, b: int) -> None:
    old_id = h.any_id(a + b)
    h.restarts += 1
    new_id = make_invocation_id(partition_key(old_id), b"restart %08d" % h.restarts)
    h.propose(r.Restart(h.home_of(old_id), h.now_ms, old_id, new_id, 8, b % 7, 5_000 * (b % 3), 5_000))


def _modify_state(h: History, a: int, b: int) -> None:
    rows = [row for partition in range(h.world.partitions) for row in h.world.invocations(partition)]
    keyed = [row.target for row in rows if row.target.key is not None]
    if keyed:
        target = keyed[a % len(keyed)]
        home = partition_of(hash_key(target.key or ""), h.world.partitions)
        version = None if b % 2 else "another"
        h.propose(r.ModifyState(home, h.now_ms, target.service, target.key or "", {"total": b"%d" % b}, version))


def _forget(h: History, a: int, b: int) -> None:
    partition = a % h.world.partitions
    seqs = [row.seq for row in h.world.invocations(partition) if b % 3 == 0 or 0 < row.expires_at_ms <= h.now_ms]
    if seqs:
        h.propose(r.Forget(partition, h.now_ms, seqs[: 1 + b % 4]))


def _lead(h: History, a: int, b: int) -> None:
    h._leader += b % 2
    h.propose(r.Lead(a % h.world.partitions, h.now_ms, h._leader))


def _deliver(h: History, a: int, b: int) -> None:
    """A message that stands in an outbox or stood there once: the next one, one again, or one too early."""
    known = sorted(h.world.forwarded)
    if not known:
        return
    source, target, _ = known[a % len(known)]
    applied = h.world.tables_of(target).meta.delivered.get(source, 0)
    outbox_seq = max(1, applied + (1, 1, 1, 0, 2, -1)[b % 6])
    message = h.world.forwarded.get((source, target, outbox_seq))
    if message is not None:
        h.propose(r.Deliver(target, h.now_ms, source, outbox_seq, message))


def _delivered(h: History, a: int, b: int) -> None:
    known = sorted(h.world.forwarded)
    if known:
        source, target, _ = known[a % len(known)]
        applied = h.world.tables_of(target).meta.delivered.get(source, 0)
        h.propose(r.OutboxDelivered(source, h.now_ms, target, max(0, applied - b % 2)))


def _wait(h: History, a: int, b: int) -> None:
    h.now_ms += 100 * (b % 12) - (2_000 if a % 5 == 0 else 0)


def _checkpoint(h: History, a: int, b: int) -> None:
    h.world.checkpoint()


MOVES: Mapping[str, Callable[[History, int, int], None]] = MappingProxyType(
    {
        "invoke": _invoke,
        "progress": _progress,
        "step done": _step_done,
        "end": _end,
        "fail": _fail,
        "suspend": _suspend,
        "interrupt": _interrupt,
        "timers": _timers,
        "signal": _signal,
        "kill": _control(r.Kill),
        "cancel": _control(r.Cancel),
        "resume": _control(r.Resume),
        "pause": _control(r.Pause),
        "purge": _control(r.Purge),
        "purge journal": _control(r.PurgeJournal),
        "restart": _restart,
        "modify state": _modify_state,
        "forget": _forget,
        "lead": _lead,
        "deliver": _deliver,
        "delivered": _delivered,
        "wait": _wait,
        "checkpoint": _checkpoint,
    }
)


def unanswered(world: World, partition: int, seq: int) -> list[int]:
    """Completion ids that the journal asks for and does not hold yet."""
    entries = world.tables_of(partition).journal(seq).entries
    asked = [
        completion_id
        for entry in entries
        if not isinstance(entry, j.Completion)
        for name in ("completion_id", "invocation_id_completion_id")
        if (completion_id := getattr(entry, name, None)) is not None
    ]
    answered = {entry.completion_id for entry in entries if isinstance(entry, j.Completion)}
    return [completion_id for completion_id in asked if completion_id not in answered]
