"""What is kept of the attempts that brought no result: what counts as the same, how much is kept, and when it goes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from perdure.model import journal as j
from perdure.model import records as r
from perdure.model.ids import make_invocation_id
from perdure.model.limits import EVENT_TEXT_MAX, EVENTS_BYTES_MAX, EVENTS_MAX
from perdure.model.target import HandlerKind, Target
from perdure.store.rows import Event, EventKind, Invocation

from .world import World

ID = make_invocation_id(1, b"a" * 16)
TREE = j.AwaitTree(j.Combinator.FIRST_COMPLETED, [1], [17], [])


class One:
    """One invocation whose attempts end as the test says."""

    def __init__(self) -> None:
        self.world = World()
        self.now_ms = 1000
        target = Target("Greeter", None, "greet")
        request = j.InvokeRequest(ID, target, HandlerKind.PLAIN, [], b"", 7, 1000, 500)
        self.world.apply(r.Invoke(0, self.now_ms, request))

    @property
    def row(self) -> Invocation:
        row = self.world.tables_of(0).invocation(1)
        assert row is not None
        return row

    @property
    def events(self) -> list[Event]:
        return self.world.tables_of(0).events(self.row)

    @property
    def messages(self) -> list[str]:
        return [event.error.message for event in self.events if event.error is not None]

    def fails(self, message: str, *, last: bool = False, **error: object) -> None:
        self.now_ms += 1
        failure = r.AttemptError(500, message, **error)  # type: ignore[arg-type]
        retry_at_ms = None if last else self.now_ms + 1
        self.world.apply(r.AttemptFailed(0, self.now_ms, 1, self.row.epoch, failure, retry_at_ms))
        if not last:
            self.now_ms += 1
            self.world.apply(r.TimersFired(0, self.now_ms, [(self.now_ms, 1, 0)]))

    def ends(self) -> None:
        self.world.apply(r.Progress(0, self.now_ms, 1, self.row.epoch, [j.Output(b"")], ended=True))

    def suspends(self, awaiting: j.Awaiting) -> None:
        self.world.apply(r.Suspended(0, self.now_ms, 1, self.row.epoch, awaiting, 0))


@pytest.fixture
def one() -> Iterator[One]:
    one = One()
    yield one
    one.world.close()


def test_one_that_never_fails_has_none(one: One) -> None:
    one.ends()
    assert one.row.events is None


@pytest.mark.parametrize("checkpoints", [False, True])
def test_the_same_error_again_is_kept_once(one: One, checkpoints: bool) -> None:
    for message, stacktrace in [("down", "here"), ("down", "there"), ("gone", ""), ("down", "")]:
        one.fails(message, stacktrace=stacktrace)
        if checkpoints:
            one.world.checkpoint()
            one.world.checkpoint()
    assert one.messages == ["down", "gone", "down"]
    one.fails("down", command_name="charge")
    assert one.messages == ["down", "gone", "down", "down"], "of another step it is another error"


def test_the_last_failure_stands_with_the_pause(one: One) -> None:
    one.fails("down")
    one.fails("down", last=True)
    assert [(event.kind, event.after) for event in one.events] == [(EventKind.ATTEMPT_FAILED, 0), (EventKind.PAUSED, 0)]
    assert one.messages == ["down", "down"]


def test_a_pause_says_why_only_between_two_attempts(one: One) -> None:
    one.fails("down")
    one.world.apply(r.Pause(0, one.now_ms, ID))
    one.world.apply(r.Resume(0, one.now_ms, ID))
    one.world.apply(r.AttemptFailed(0, one.now_ms, 1, one.row.epoch, r.AttemptError(500, "shut"), 9000))
    one.world.apply(r.Pause(0, one.now_ms, ID))
    pauses = [event.error for event in one.events if event.kind is EventKind.PAUSED]
    assert [None if error is None else error.message for error in pauses] == [None, "shut"]


def test_a_suspension_is_kept_where_it_is_said_as_a_tree(one: One) -> None:
    one.suspends(j.Awaiting([1], [17]))
    assert one.row.events is None
    one.world.apply(r.Resume(0, one.now_ms, ID))
    one.suspends(j.Awaiting([1], [17], TREE))
    one.world.apply(r.Resume(0, one.now_ms, ID))
    one.suspends(j.Awaiting([1], [17], TREE))
    assert [(event.kind, event.awaiting) for event in one.events] == [
        (EventKind.SUSPENDED, j.Awaiting([1], [17], TREE)),
        (EventKind.SUSPENDED, j.Awaiting([1], [17], TREE)),
    ]


def test_the_oldest_go_for_more_than_are_kept(one: One) -> None:
    for number in range(EVENTS_MAX + 3):
        one.fails(f"no {number}")
        if number % 10 == 0:
            one.world.checkpoint()
    assert one.messages == [f"no {number}" for number in range(3, EVENTS_MAX + 3)]


def test_the_oldest_go_for_more_bytes_than_are_kept(one: One) -> None:
    for number in range(20):
        one.fails(f"{number} " + "x" * EVENT_TEXT_MAX, stacktrace="y" * EVENT_TEXT_MAX)
    messages = one.messages
    assert all(len(message) == EVENT_TEXT_MAX and message.endswith("x…") for message in messages)
    assert [message.split()[0] for message in messages] == ["17", "18", "19"]
    assert one.row.events is not None
    assert one.row.events.bytes <= EVENTS_BYTES_MAX


def test_a_tree_as_large_as_all_events_is_not_kept_a_second_time(one: One) -> None:
    leaves = list(range(EVENTS_BYTES_MAX // 20))
    one.suspends(j.Awaiting(leaves, [], j.AwaitTree(j.Combinator.ALL_COMPLETED, leaves, [], [])))
    assert [event.awaiting for event in one.events] == [j.Awaiting([], [])]


@pytest.mark.parametrize("checkpoints", [False, True])
@pytest.mark.parametrize("how", ["journal purged", "purged", "journal's retention", "killed"])
def test_they_go_with_the_journal(one: One, how: str, checkpoints: bool) -> None:
    one.fails("down")
    one.fails("gone")
    if checkpoints:
        one.world.checkpoint()
    if how == "killed":
        one.world.apply(r.Kill(0, one.now_ms, ID))
    else:
        one.ends()
    assert one.messages == ["down", "gone"], "they stay as long as the journal"
    match how:
        case "journal purged":
            one.world.apply(r.PurgeJournal(0, one.now_ms, ID))
        case "journal's retention":
            one.world.apply(r.Forget(0, one.now_ms + 500, [1]))
        case _:
            one.world.apply(r.Purge(0, one.now_ms, ID))
    for _ in range(2):
        one.world.checkpoint()
    assert one.world.tables_of(0).database.event_keys() == []
    assert [one.world.tables_of(0).event(1, number) for number in range(2)] == [None, None]
