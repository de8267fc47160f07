"""What the official SDK says when it suspends: lists and trees."""

from __future__ import annotations

import pytest
from restate._internal import PyUnresolvedFuture

from perdure.model import journal as j
from perdure.wire import messages as m
from perdure.wire.awaits import TREE_DEPTH_MAX, future_awaiting, suspension_awaiting
from perdure.wire.errors import AwaitTooDeep, ProtocolViolation
from perdure.wire.protobuf import NESTING_MAX, decode, encode
from tests.wire.peer import Peer


def suspended(peer: Peer, *handles: int) -> j.Awaiting:
    frame = peer.suspend(*handles)
    assert frame.type == m.Type.SUSPENSION
    return suspension_awaiting(decode(m.Suspension, frame.payload))


@pytest.mark.parametrize("version", [5, 6])
def test_a_list_until_version_6(version: int) -> None:
    peer = Peer(version)
    _, awakeable = peer.vm.sys_awakeable()
    call = peer.vm.sys_call("S", "h", b"", None, None, None, None, None).result_handle
    awaiting = suspended(peer, awakeable, call)
    assert (awaiting.completions, sorted(map(str, awaiting.signals)), awaiting.tree) == ([2], ["1", "17"], None)


def test_a_tree_from_version_7_on() -> None:
    peer = Peer(7)
    _, awakeable = peer.vm.sys_awakeable()
    named = peer.vm.sys_signal("go")
    call = peer.vm.sys_call("S", "h", b"", None, None, None, None, None).result_handle
    peer.vm.notify_input_closed()
    single = PyUnresolvedFuture.single
    both = PyUnresolvedFuture.all_completed([single(awakeable), single(call)])
    peer.vm.do_progress(PyUnresolvedFuture.first_completed([both, single(named)]))
    awaiting = suspension_awaiting(decode(m.Suspension, peer.frames()[-1].payload))
    assert awaiting.completions == [2] and set(awaiting.signals) == {1, 17, "go"}
    tree = awaiting.tree
    assert tree is not None and tree.combinator == j.Combinator.FIRST_COMPLETED and tree.signals == [1]  # cancel
    (first,) = tree.nested
    assert first.combinator == j.Combinator.FIRST_COMPLETED and first.signals == ["go"]
    assert first.nested == [j.AwaitTree(j.Combinator.ALL_COMPLETED, [2], [17], [])]


def test_waiting_for_nothing_is_a_violation() -> None:
    for nothing in (m.Suspension(), m.Suspension(awaiting_on=m.Future())):
        with pytest.raises(ProtocolViolation):
            suspension_awaiting(nothing)


def nest(depth: int) -> bytes:
    payload = encode(m.Future(waiting_completions=[1]))
    for _ in range(depth - 1):
        payload = b"\x22" + varint(len(payload)) + payload
    return payload


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def test_a_deep_tree_is_kept_as_its_leaves_and_a_deeper_one_refused() -> None:
    assert future_awaiting(decode(m.Future, nest(TREE_DEPTH_MAX))).tree is not None
    flat = future_awaiting(decode(m.Future, nest(TREE_DEPTH_MAX + 1)))
    assert flat == j.Awaiting([1], [], None)
    with pytest.raises(AwaitTooDeep):
        decode(m.Future, nest(NESTING_MAX + 2))
    with pytest.raises(AwaitTooDeep):
        decode(m.Future, nest(20_000))
