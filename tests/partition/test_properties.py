"""What holds after any history: invariants (checked after each record), determinism, recovery, exactly-once messages.

Fixed examples by default, so that a failure is the change's fault; `PERDURE_EXAMPLES=5000` tries that many new ones.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perdure.model import journal as j
from perdure.model import records as r
from perdure.model.ids import make_invocation_id
from perdure.model.target import HandlerKind, Target
from perdure.store.rows import Invocation, Status

from .histories import MOVES, History, Move, as_logged, unanswered
from .world import World

COMMON = ("invoke", "progress", "progress", "step done", "end", "deliver", "deliver", "timers", "suspend", "wait")
HISTORIES = st.lists(
    st.tuples(st.sampled_from((*COMMON, *COMMON, *MOVES)), st.integers(0, 99), st.integers(0, 99)),
    min_size=20,
    max_size=100,
)
PARTITIONS = st.sampled_from((1, 3))


def examples(count: int) -> settings:
    """`count`: how many where hypothesis looks at a hundred by default."""
    return settings(
        max_examples=max(1, count * settings.default.max_examples // 100),
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@examples(120)
@given(partitions=PARTITIONS, moves=HISTORIES)
def test_the_same_records_give_the_same_tables_and_actions(partitions: int, moves: list[Move]) -> None:
    """Checkpoints in between make no difference either: the second world never writes one."""
    first, second = World(partitions), World(partitions)
    history = History(first)
    history.play(moves)
    again = [second.apply(as_logged(record)) for record in history.records]
    assert again == history.actions
    assert second.digests() == first.digests()
    first.close()
    second.close()


@examples(40)
@given(partitions=PARTITIONS, moves=HISTORIES, after=HISTORIES)
def test_the_log_from_the_last_checkpoint_gives_the_same_tables(
    partitions: int, moves: list[Move], after: list[Move]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = str(Path(directory) / "store")
        world = World(partitions, path)
        history = History(world)
        history.play(moves)
        world.checkpoint()
        covered = len(history.records)
        history.play([move for move in after if move[0] != "checkpoint"])
        expected = world.digests()
        world.close()
        recovered = World(partitions, path)
        assert recovered.store.applied_lsn == covered
        for record in history.records[covered:]:
            recovered.apply(record)
        assert recovered.digests() == expected
        recovered.close()


@examples(120)
@given(partitions=PARTITIONS, moves=HISTORIES)
def test_every_message_is_handled_once_and_everything_ends(partitions: int, moves: list[Move]) -> None:
    history = History(World(partitions))
    history.play(moves)
    deliver_all(history)
    nothing_is_lost(history)
    nothing_came_twice(history)
    for _ in range(200):
        live = [(p, row) for p, row in history.rows() if row.status is not Status.COMPLETED]
        if not live:
            break
        for partition, row in live:
            lead_to_its_end(history, partition, row.seq)
        deliver_all(history)
        nothing_is_lost(history)
        nothing_came_twice(history)
    else:
        pytest.fail("some invocation does not end")
    for partition in range(partitions):
        tables = history.world.tables_of(partition)
        assert tables.timers_after((0, 0, 0), 10) == []
        assert [row.target for row in history.world.invocations(partition) if queue_of(history, partition, row)] == []
    history.world.close()


def deliver_all(history: History) -> None:
    """Each message as often as it takes, and then once more."""
    world = history.world
    while True:
        standing = [
            (source, target, outbox_seq)
            for source in range(world.partitions)
            for target in range(world.partitions)
            for outbox_seq, _ in world.tables_of(source).outbox(target, 0, 1000)
        ]
        if not standing:
            return
        for source, target, outbox_seq in standing:
            for _ in range(2):
                message = world.forwarded[source, target, outbox_seq]
                history.propose(r.Deliver(target, history.now_ms, source, outbox_seq, message))
            history.propose(r.OutboxDelivered(source, history.now_ms, target, outbox_seq))


def nothing_is_lost(history: History) -> None:
    """With no message under way, whatever a live invocation still waits for is known where it will come from."""
    world = history.world
    for partition, row in history.rows():
        if row.status is Status.COMPLETED:
            continue
        answered = {e.completion_id for e in journal_of(history, partition, row) if isinstance(e, j.Completion)}
        assert row.awaiting is None or not answered & set(row.awaiting.completions), "it sleeps on what it was told"
        open_ids = set(unanswered(world, partition, row.seq))
        for entry in journal_of(history, partition, row):
            if getattr(entry, "completion_id", None) not in open_ids:
                continue
            match entry:
                case j.Call():
                    assert entry.request is not None
                    assert_known(history, partition, row, entry.completion_id, entry.request.invocation_id)
                case j.AttachInvocation():
                    assert_known(history, partition, row, entry.completion_id, entry.invocation_id)
                case j.Sleep():
                    key = (entry.wake_at_ms, row.seq, entry.completion_id)
                    assert world.tables_of(partition).timer(key) is not None
                case j.GetPromise():
                    assert_promised(history, partition, row, entry)
                case j.Run():
                    pass
                case _:
                    pytest.fail(f"{entry} was never answered")


def journal_of(history: History, partition: int, row: Invocation) -> list[j.Entry]:
    return history.world.tables_of(partition).journal(row.seq).entries


def assert_promised(history: History, partition: int, row: Invocation, entry: j.GetPromise) -> None:
    """A promise that is awaited is open and knows who waits, unless its workflow was forgotten meanwhile."""
    service, key = row.target.service, row.target.key or ""
    runs = [
        other
        for _, other in history.rows()
        if other.handler_kind is HandlerKind.RUN and other.target.key == key and other.seq <= row.seq
    ]
    if runs:
        promise = history.world.tables_of(partition).promise(service, key, entry.key)
        assert promise is not None
        assert not promise.completed
        assert (row.seq, entry.completion_id) in [(c.seq, c.completion_id) for c in promise.waiting or ()]


def assert_known(history: History, partition: int, row: Invocation, completion_id: int, target_id: bytes) -> None:
    tables = history.world.tables_of(history.home_of(target_id))
    seq = tables.find(target_id)
    target = None if seq is None else tables.invocation(seq)
    assert target is not None, "one that has gone had an answer for everybody"
    assert target.status is not Status.COMPLETED
    callers = [(caller.partition, caller.seq, caller.completion_id) for caller in target.callers or ()]
    assert (partition, row.seq, completion_id) in callers


def nothing_came_twice(history: History) -> None:
    """Signals carry a number each; a second answer or a second invocation of one id breaks an invariant already."""
    told = Counter(
        entry.result
        for partition, row in history.rows()
        for entry in history.world.tables_of(partition).journal(row.seq).entries
        if isinstance(entry, j.Signal) and entry.result is not None
    )
    assert [number for number, times in told.items() if times > 1] == []


def lead_to_its_end(history: History, partition: int, seq: int) -> None:
    world = history.world
    tables = world.tables_of(partition)
    history.now_ms += 10_000
    due = [timer.key for timer in tables.timers_after((0, 0, 0), 1000)]
    if due:
        history.propose(r.TimersFired(partition, history.now_ms, due))
    row = tables.invocation(seq)
    if row is not None and row.status in (Status.SUSPENDED, Status.PAUSED):
        history.propose(r.Resume(partition, history.now_ms, row.id))
    row = tables.invocation(seq)
    if row is not None and row.status is Status.INVOKED:
        history.propose(r.Progress(partition, history.now_ms, seq, row.epoch, [j.Output(b"")], ended=True))


def queue_of(history: History, partition: int, row: Invocation) -> object:
    return history.world.tables_of(partition).key_queue(row.target.service, row.target.key or "")


def test_an_id_that_was_forgotten_twice_between_two_checkpoints_stays_forgotten() -> None:
    """A derived id lives on: made, checkpointed, forgotten, made anew, forgotten again."""
    world = World()
    request = j.InvokeRequest(
        make_invocation_id(1, b"i" * 16), Target("S", None, "h"), HandlerKind.PLAIN, [], b"", 7, 1000, 1000, "key"
    )
    for seq in (1, 2):
        world.apply(r.Invoke(0, 1000, request))
        world.apply(r.Progress(0, 1000, seq, 1, [j.Output(b"ok")], ended=True))
        if seq == 1:
            world.checkpoint()
        world.apply(r.Purge(0, 1000, request.invocation_id))
        assert world.tables_of(0).find(request.invocation_id) is None
    world.close()
