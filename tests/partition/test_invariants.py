"""Each invariant catches the tables that break it: sound tables, one thing put wrong, and the words of the complaint."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator

import pytest

from perdure.model import journal as j
from perdure.model import records as r
from perdure.model.ids import make_invocation_id
from perdure.model.target import HandlerKind, Target
from perdure.partition import invariants
from perdure.partition.invariants import InvariantBroken, check_invocation, check_partition, check_record
from perdure.partition.sizes import event_bytes
from perdure.store.rows import Event, EventKind, EventRange, StateChange, Status, Timer, TimerKind
from perdure.store.tables import Tables

from .world import World

KEY = ("Counter", "k")
HOLDER, WAITING, DONE, LATER, SLEEPER, FAILED, STRANGER = range(1, 8)
ELSEWHERE = make_invocation_id(1 << 63, b"elsewhere".ljust(16))


def request(number: int, target: Target, kind: HandlerKind, at_ms: int = 0) -> j.InvokeRequest:
    invocation_id = make_invocation_id(1, number.to_bytes(16, "big"))
    return j.InvokeRequest(invocation_id, target, kind, [], b"", 7, 1000, 1000, execute_at_ms=at_ms)


@pytest.fixture
def tables() -> Iterator[Tables]:
    """One invocation of each kind, one message under way; everything sound (the world checks that after each record)."""
    world = World(partitions=2)
    add, greet = Target(*KEY, "add"), Target("Greeter", None, "greet")
    world.apply(r.Invoke(0, 1000, request(HOLDER, add, HandlerKind.EXCLUSIVE)))
    world.apply(r.Invoke(0, 1000, request(WAITING, add, HandlerKind.EXCLUSIVE)))
    world.apply(r.Invoke(0, 1000, request(DONE, greet, HandlerKind.PLAIN)))
    world.apply(r.Progress(0, 1000, DONE, 1, [j.Output(b"done")], ended=True))
    world.apply(r.Invoke(0, 1000, request(LATER, greet, HandlerKind.PLAIN, at_ms=5000)))
    world.apply(r.Invoke(0, 1000, request(SLEEPER, greet, HandlerKind.PLAIN)))
    sleeps = [j.Sleep(1, 9000), j.SendSignal(ELSEWHERE, 17), j.SendSignal(ELSEWHERE, 18), j.SendSignal(ELSEWHERE, 19)]
    world.apply(r.Progress(0, 1000, SLEEPER, 1, list(sleeps)))
    world.apply(r.Suspended(0, 1000, SLEEPER, 1, j.Awaiting([1], []), 0))
    world.apply(r.Invoke(0, 1000, request(FAILED, greet, HandlerKind.PLAIN)))
    world.apply(r.AttemptFailed(0, 1000, FAILED, 1, r.AttemptError(500, "boom"), 3000))
    yield world.tables_of(0)
    world.close()


def everything(tables: Tables) -> None:
    check_partition(tables, range(1, tables.meta.next_seq), 2)


def append(tables: Tables, seq: int, *entries: j.Entry, at_ms: int = 1000, commands: int = 0) -> None:
    """Entries that the row's numbers account for: only what they say is wrong."""
    row = tables.edit(seq)
    for entry in entries:
        tables.append_entry(seq, row.journal_length, at_ms, entry)
        row.journal_length += 1
    row.commands += commands


def answered_twice(tables: Tables) -> None:
    answer = j.Completion(1, j.CompletionCode.SLEEP)
    append(tables, SLEEPER, answer, answer)


def no_input(tables: Tables) -> None:
    row = tables.edit(HOLDER)
    row.journal_length = row.commands = 0
    tables.drop_journal(HOLDER)
    append(tables, HOLDER, j.Run(1, "charge"), commands=1)


def renumbered(tables: Tables) -> None:
    tables.edit(HOLDER).seq = STRANGER


def other_id(tables: Tables) -> None:
    tables.edit(DONE).id = tables.edit(HOLDER).id


def holder_is(seq: int | None) -> Callable[[Tables], None]:
    def put(tables: Tables) -> None:
        tables.edit_key_queue(*KEY).holder = seq

    return put


def after_end(tables: Tables) -> None:
    tables.edit(DONE).callers = [j.Caller(0, HOLDER, 1, j.CompletionCode.CALL)]


def outside_queue(tables: Tables) -> None:
    tables.edit(WAITING).inbox_position = 5


def other_place(tables: Tables) -> None:
    tables.put_inbox(*KEY, tables.edit(WAITING).inbox_position, STRANGER)


def a_field(seq: int, **values: object) -> Callable[[Tables], None]:
    def put(tables: Tables) -> None:
        row = tables.edit(seq)
        for name, value in values.items():
            setattr(row, name, value)

    return put


def an_event(after: int, at_ms: int) -> Callable[[Tables], None]:
    def put(tables: Tables) -> None:
        event = Event(EventKind.PAUSED, at_ms, after)
        row = tables.edit(FAILED)
        assert row.events is not None
        tables.put_event(FAILED, row.events.next, event)
        row.events = EventRange(0, row.events.next + 1, row.events.bytes + event_bytes(event))

    return put


def passed(tables: Tables) -> None:
    tables.edit_key_queue(*KEY).head += 1


def without_journal(tables: Tables) -> None:
    tables.drop_journal(FAILED)
    row = tables.edit(FAILED)
    row.journal_length = row.commands = row.journal_bytes = 0


def the_same_again(tables: Tables) -> None:
    row = tables.edit(FAILED)
    assert row.events is not None
    event = tables.event(FAILED, row.events.next - 1)
    assert event is not None
    tables.put_event(FAILED, row.events.next, event)
    row.events = EventRange(row.events.first, row.events.next + 1, row.events.bytes + event_bytes(event))


def put_timer(wake_at_ms: int, seq: int, completion_id: int, kind: TimerKind) -> Callable[[Tables], None]:
    return lambda tables: tables.put_timer(Timer(wake_at_ms, seq, completion_id, kind))


def change_at(position: int) -> Callable[[Tables], None]:
    def put(tables: Tables) -> None:
        tables.edit_key_queue(*KEY).changes = {position: StateChange({})}

    return put


BROKEN: list[tuple[str, Callable[[Tables], None]]] = [
    ("a row under another number", renumbered),
    ("an id that leads elsewhere", other_id),
    ("a journal of another length", a_field(HOLDER, journal_length=3)),
    ("a journal of another size", a_field(HOLDER, journal_bytes=3)),
    ("another number of commands", a_field(SLEEPER, commands=2)),
    ("a journal that does not begin with its input", no_input),
    ("a command that was answered twice", answered_twice),
    ("a journal in which time goes back", lambda tables: append(tables, HOLDER, j.Signal(17), at_ms=999)),
    ("a sleep that ended early", lambda tables: append(tables, SLEEPER, j.Completion(1, j.CompletionCode.SLEEP))),
    ("more events than are kept", a_field(FAILED, events=EventRange(1, 1, 64))),
    ("more events than are kept", a_field(FAILED, events=EventRange(0, 1, 1 << 20))),
    ("events of another size", a_field(FAILED, events=EventRange(0, 1, 65))),
    ("an event behind the end of its journal", an_event(after=1, at_ms=1000)),
    ("events out of order", an_event(after=0, at_ms=999)),
    ("an await set that does not fit its status", a_field(SLEEPER, awaiting=None)),
    ("an await set that does not fit its status", a_field(HOLDER, awaiting=j.Awaiting([1], []))),
    ("a next attempt that does not fit its status", a_field(FAILED, status=Status.PAUSED)),
    ("an attempt before its start", a_field(LATER, epoch=1)),
    ("a start without an attempt", a_field(HOLDER, epoch=0)),
    ("timers or callers after its end", after_end),
    ("timers or callers after its end", a_field(DONE, timers=[(9000, 1)])),
    ("another time at which it is forgotten than its retention says", a_field(DONE, expires_at_ms=0)),
    ("another time at which it is forgotten than its retention says", a_field(DONE, completed_at_ms=0)),
    ("a place on Counter/k behind it that was not cleared", passed),
    ("events without the journal that they stand in", without_journal),
    ("the same failure twice in a row", the_same_again),
    ("a start before its time", a_field(LATER, started_at_ms=4999)),
    ("a lock on Counter/k that does not fit its status", holder_is(WAITING)),
    ("a lock on Counter/k that does not fit its status", a_field(WAITING, status=Status.INVOKED, epoch=1)),
    ("a lock on Counter/k that does not fit its status", lambda tables: tables.drop_key_queue(*KEY)),
    ("a place outside its queue", outside_queue),
    ("a place that another one has", other_place),
    ("a change of state on Counter/k in a place that is not its own", change_at(0)),
    ("a change of state on Counter/k in a place that is not its own", change_at(1)),
    ("a sleep without its timer", lambda tables: tables.drop_timer((9000, SLEEPER, 1))),
    ("a next attempt without its timer", lambda tables: tables.drop_timer((3000, FAILED, 0))),
    ("a start in the future without its timer", lambda tables: tables.drop_timer((5000, LATER, 0))),
    ("a timer and no life", put_timer(7000, DONE, 1, TimerKind.SLEEP)),
    ("a timer and no life", put_timer(7000, 99, 1, TimerKind.SLEEP)),
    ("a timer it knows nothing of", put_timer(7000, SLEEPER, 2, TimerKind.SLEEP)),
    ("a timer it knows nothing of", put_timer(7000, LATER, 0, TimerKind.START)),
    ("a timer it knows nothing of", put_timer(7000, FAILED, 0, TimerKind.RETRY)),
    (
        "finished invocations of other number or size than it counts",
        lambda tables: setattr(tables.edit_meta(), "finished", 2),
    ),
    (
        "finished invocations of other number or size than it counts",
        lambda tables: setattr(tables.edit_meta(), "finished_bytes", 2),
    ),
    ("an outbox to 1 with a gap", lambda tables: setattr(tables.edit_meta(), "outbox_next", {1: 9})),
]


def test_sound_tables_pass(tables: Tables) -> None:
    everything(tables)


@pytest.mark.parametrize(("complaint", "break_it"), BROKEN)
def test_broken_tables_are_caught(tables: Tables, complaint: str, break_it: Callable[[Tables], None]) -> None:
    break_it(tables)
    with pytest.raises(InvariantBroken, match=re.escape(complaint)) as caught:
        everything(tables)
    assert str(caught.value).startswith("PD0312: ")


def test_a_key_that_nobody_holds_has_no_queue(tables: Tables) -> None:
    holder_is(None)(tables)
    tables.edit(HOLDER).handler_kind = HandlerKind.SHARED
    with pytest.raises(InvariantBroken, match="a queue on Counter/k that nobody holds up"):
        check_invocation(tables, WAITING)


@pytest.mark.parametrize(
    "record",
    [
        r.Progress(0, 1000, HOLDER, 1, []),
        r.AttemptFailed(0, 1000, HOLDER, 1, r.AttemptError(500, "boom"), 3000),
        r.Suspended(0, 1000, HOLDER, 1, j.Awaiting([], []), 0),
        r.Interrupted(0, 1000, HOLDER, 1),
        r.Forget(0, 1000, [DONE, HOLDER]),
        r.TimersFired(0, 1000, [(9000, HOLDER, 1)]),
        r.Invoke(0, 1000, request(HOLDER, Target(*KEY, "add"), HandlerKind.EXCLUSIVE)),
        r.DeliverSignal(0, 1000, make_invocation_id(1, HOLDER.to_bytes(16, "big")), 17),
        *(
            kind(0, 1000, make_invocation_id(1, HOLDER.to_bytes(16, "big")))
            for kind in (r.Kill, r.Cancel, r.Resume, r.Pause, r.Purge, r.PurgeJournal)
        ),
        r.Deliver(0, 1000, 1, 1, r.KillMessage(make_invocation_id(1, HOLDER.to_bytes(16, "big")))),
        r.Deliver(0, 1000, 1, 1, r.InvokeMessage(request(HOLDER, Target(*KEY, "add"), HandlerKind.EXCLUSIVE))),
        r.Deliver(0, 1000, 1, 1, r.CompletionMessage(HOLDER, j.Completion(1, j.CompletionCode.CALL))),
    ],
    ids=lambda record: type(record).__name__,
)
def test_a_record_is_checked_for_the_invocation_it_names(tables: Tables, record: r.Record) -> None:
    check_record(record, tables)
    tables.edit(HOLDER).epoch = 0
    with pytest.raises(InvariantBroken, match=f"invocation {HOLDER} has a start without an attempt"):
        check_record(record, tables)


def test_a_record_that_names_none_checks_none(tables: Tables) -> None:
    tables.edit(HOLDER).epoch = 0
    check_record(r.Lead(0, 1000, 1), tables)
    check_record(r.OutboxDelivered(0, 1000, 1, 1), tables)
    check_record(r.ModifyState(0, 1000, *KEY, {}), tables)


def test_every_complaint_is_provoked() -> None:
    """A new invariant needs broken tables above."""
    calls = [node for node in ast.walk(ast.parse(inspect.getsource(invariants))) if isinstance(node, ast.Call)]
    texts = [call.args[2] for call in calls if isinstance(call.func, ast.Name) and call.func.id == "_hold"]
    complaints = [max((n.value for n in ast.walk(text) if isinstance(n, ast.Constant)), key=len) for text in texts]
    provoked = {complaint for complaint, _ in BROKEN} | {"a queue on Counter/k that nobody holds up"}
    assert len(complaints) > 20
    assert [text for text in complaints if not any(text in complaint for complaint in provoked)] == []
