"""Payloads count: towards the bound of the active layer while they run, towards retention once they are finished."""

from __future__ import annotations

import pytest

from perdure.model import journal as j
from perdure.model import records as r
from perdure.model.ids import make_invocation_id
from perdure.model.target import HandlerKind, Target

from .world import World

BIG = b"x" * 1_000_000
HERE, ELSEWHERE = make_invocation_id(1, b"a" * 16), make_invocation_id(1 << 63, b"b" * 16)


def request(invocation_id: bytes, body: bytes) -> j.InvokeRequest:
    return j.InvokeRequest(invocation_id, Target("S", None, "h"), HandlerKind.PLAIN, [], body, 7, 1000, 1000)


def call(body: bytes) -> j.Call:
    return j.Call(2, 1, Target("S", None, "h"), [], body, request=request(ELSEWHERE, body))


@pytest.mark.parametrize(
    ("entry", "copies"),
    [
        (j.Completion(1, j.CompletionCode.RUN, BIG), 1),
        (j.Completion(1, j.CompletionCode.RUN, j.Failure(500, BIG.decode())), 1),
        (j.SetState("k", BIG), 2),
        (j.GetEagerState("k", BIG), 1),
        (j.CompletePromise(1, "p", BIG), 2),
        (call(BIG), 2),
        (j.SendSignal(ELSEWHERE, 17, BIG), 2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_payload_counts_wherever_it_is_stored(entry: j.Entry, copies: int) -> None:
    world = World(partitions=2)
    world.apply(r.Invoke(0, 1000, request(HERE, b"")))
    before = world.store.active_bytes
    world.apply(r.Progress(0, 1000, 1, 1, [entry]))
    assert copies * len(BIG) <= world.store.active_bytes - before < copies * len(BIG) + 10_000
    row = world.tables_of(0).invocation(1)
    assert row is not None
    assert len(BIG) <= row.journal_bytes <= len(BIG) + 24
    world.close()


def test_what_a_finished_invocation_takes_is_counted_until_it_is_forgotten() -> None:
    world = World()
    world.apply(r.Invoke(0, 1000, request(HERE, BIG)))
    assert world.tables_of(0).meta.finished_bytes == 0
    world.apply(r.Progress(0, 1000, 1, 1, [j.Output(BIG)], ended=True))
    assert 3 * len(BIG) < world.tables_of(0).meta.finished_bytes < 3 * len(BIG) + 1_000
    world.apply(r.Forget(0, 2000, [1]))
    assert world.tables_of(0).meta.finished_bytes == 0
    world.close()


def test_many_small_ones_count_too() -> None:
    world = World()
    for number in range(100):
        world.apply(r.Invoke(0, 1000, request(make_invocation_id(1, number.to_bytes(16, "big")), b"")))
        world.apply(r.Progress(0, 1000, number + 1, 1, [j.Output(None)], ended=True))
    assert world.tables_of(0).meta.finished_bytes > 100 * 100
    world.close()
