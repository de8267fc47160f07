"""Every command and notification against the official SDK: read, written back, replayed by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from restate._internal import PyFailure, PyHeader, PyStateKeys, PyVM, PyVoid

from perdure.model import journal as j
from perdure.model.ids import format_awakeable_id, format_invocation_id
from perdure.model.target import Target
from perdure.wire import messages as m
from perdure.wire.commands import decode_command, encode_command, name_of_type, type_of
from perdure.wire.protobuf import decode
from tests.wire.peer import INPUT, INVOCATION_ID, Peer

OTHER = bytes(range(24))
BOOM = j.Failure(418, "boom", {"b": "2", "a": "1"})
RESULT = j.CompletionCode


@dataclass
class Case:
    """`act` on the SDK writes `command`; told `answers`, in order, its handle has `result`."""

    act: Callable[[PyVM], object]
    command: j.Command
    answers: tuple[j.Notification, ...] = ()
    result: object = None


def failed(code: int, message: str) -> PyFailure:
    return PyFailure(code, message)


def done(number: int, code: j.CompletionCode, result: bytes | j.Failure | list[str] | None) -> j.Completion:
    return j.Completion(number, code, result)


CASES = {
    "get": Case(
        lambda vm: vm.sys_get_state("a", "named"),
        j.GetLazyState(1, "a", "named"),
        (done(1, RESULT.LAZY_STATE, b"1"),),
        b"1",
    ),
    "get nothing": Case(
        lambda vm: vm.sys_get_state("a", None),
        j.GetLazyState(1, "a"),
        (done(1, RESULT.LAZY_STATE, None),),
        PyVoid,
    ),
    "get an empty value": Case(
        lambda vm: vm.sys_get_state("a", None),
        j.GetLazyState(1, "a"),
        (done(1, RESULT.LAZY_STATE, b""),),
        b"",
    ),
    "keys": Case(
        lambda vm: vm.sys_get_state_keys(None),
        j.GetLazyStateKeys(1),
        (done(1, RESULT.LAZY_STATE_KEYS, ["ä", "b"]),),
        ["ä", "b"],
    ),
    "no keys": Case(
        lambda vm: vm.sys_get_state_keys(None),
        j.GetLazyStateKeys(1),
        (done(1, RESULT.LAZY_STATE_KEYS, []),),
        [],
    ),
    "set": Case(lambda vm: vm.sys_set_state("ä", b"\x00\xff", "n"), j.SetState("ä", b"\x00\xff", "n")),
    "set nothing": Case(lambda vm: vm.sys_set_state("a", b"", None), j.SetState("a", b"")),
    "clear": Case(lambda vm: vm.sys_clear_state("a", "n"), j.ClearState("a", "n")),
    "clear all": Case(lambda vm: vm.sys_clear_all_state("n"), j.ClearAllState("n")),
    "promise": Case(
        lambda vm: vm.sys_get_promise("p"),
        j.GetPromise(1, "p"),
        (done(1, RESULT.GET_PROMISE, b"v"),),
        b"v",
    ),
    "peek": Case(
        lambda vm: vm.sys_peek_promise("p"),
        j.PeekPromise(1, "p"),
        (done(1, RESULT.PEEK_PROMISE, None),),
        PyVoid,
    ),
    "resolve": Case(
        lambda vm: vm.sys_complete_promise_success("p", b"v"),
        j.CompletePromise(1, "p", b"v"),
        (done(1, RESULT.COMPLETE_PROMISE, None),),
        PyVoid,
    ),
    "resolve too late": Case(
        lambda vm: vm.sys_complete_promise_success("p", b""),
        j.CompletePromise(1, "p", b""),
        (done(1, RESULT.COMPLETE_PROMISE, j.Failure(409, "late")),),
        failed(409, "late"),
    ),
    "reject": Case(
        lambda vm: vm.sys_complete_promise_failure("p", failed(418, "no")),
        j.CompletePromise(1, "p", j.Failure(418, "no")),
    ),
    "call": Case(
        lambda vm: vm.sys_call("S", "h", b"body", "key", "idem", [PyHeader("a", "1"), PyHeader("a", "2")], None, None),
        j.Call(2, 1, Target("S", "key", "h"), [("a", "1"), ("a", "2")], b"body", "idem"),
        (done(1, RESULT.CALL_INVOCATION_ID, OTHER), done(2, RESULT.CALL, b"answer")),
        b"answer",
    ),
    "call without anything": Case(
        lambda vm: vm.sys_call("S", "h", b"", None, None, None, None, None),
        j.Call(2, 1, Target("S", None, "h"), [], b""),
        (done(1, RESULT.CALL_INVOCATION_ID, OTHER), done(2, RESULT.CALL, b"")),
        b"",
    ),
    "call that fails": Case(
        lambda vm: vm.sys_call("S", "h", b"", None, None, None, None, None),
        j.Call(2, 1, Target("S", None, "h"), [], b""),
        (done(1, RESULT.CALL_INVOCATION_ID, OTHER), done(2, RESULT.CALL, BOOM)),
        failed(418, "boom"),
    ),
    "send": Case(
        lambda vm: vm.sys_send("S", "h", b"body", None, None, "idem", None, None, None),
        j.OneWayCall(1, Target("S", None, "h"), [], b"body", 0, "idem"),
        (done(1, RESULT.CALL_INVOCATION_ID, OTHER),),
        format_invocation_id(OTHER),
    ),
    "run": Case(lambda vm: vm.sys_run("step"), j.Run(1, "step"), (done(1, RESULT.RUN, b"r"),), b"r"),
    "run to nothing": Case(lambda vm: vm.sys_run("step"), j.Run(1, "step"), (done(1, RESULT.RUN, b""),), b""),
    "run that fails": Case(
        lambda vm: vm.sys_run("step"), j.Run(1, "step"), (done(1, RESULT.RUN, BOOM),), failed(418, "boom")
    ),
    "attach": Case(
        lambda vm: vm.attach_invocation(format_invocation_id(OTHER)),
        j.AttachInvocation(1, OTHER),
        (done(1, RESULT.ATTACH, b"late"),),
        b"late",
    ),
    "cancel": Case(lambda vm: vm.sys_cancel(format_invocation_id(OTHER)), j.SendSignal(OTHER, 1)),
    "signal": Case(
        lambda vm: vm.sys_complete_signal_success(format_invocation_id(OTHER), "s", b""), j.SendSignal(OTHER, "s", b"")
    ),
    "signal a failure": Case(
        lambda vm: vm.sys_complete_signal_failure(format_invocation_id(OTHER), "s", failed(418, "no")),
        j.SendSignal(OTHER, "s", j.Failure(418, "no")),
    ),
    "resolve an awakeable": Case(
        lambda vm: vm.sys_complete_awakeable_success(format_awakeable_id(OTHER, 17), b"v"),
        j.CompleteAwakeable(format_awakeable_id(OTHER, 17), b"v"),
    ),
    "reject an awakeable": Case(
        lambda vm: vm.sys_complete_awakeable_failure(format_awakeable_id(OTHER, 17), failed(418, "no")),
        j.CompleteAwakeable(format_awakeable_id(OTHER, 17), j.Failure(418, "no")),
    ),
    "output": Case(lambda vm: vm.sys_write_output_success(b"out"), j.Output(b"out")),
    "output nothing": Case(lambda vm: vm.sys_write_output_success(b""), j.Output(b"")),
    "fail": Case(lambda vm: vm.sys_write_output_failure(failed(418, "no")), j.Output(j.Failure(418, "no"))),
}


def handle_of(acted: object) -> int | None:
    if isinstance(acted, int) or acted is None:
        return acted
    for name in ("result_handle", "handle"):
        if hasattr(acted, name):
            return int(getattr(acted, name))
    raise AssertionError(acted)


def same_result(got: object, wanted: object) -> bool:
    if isinstance(wanted, PyFailure):
        return isinstance(got, PyFailure) and (got.code, got.message) == (wanted.code, wanted.message)
    if isinstance(wanted, list):
        return isinstance(got, PyStateKeys) and got.keys == wanted
    return isinstance(got, wanted) if isinstance(wanted, type) else got == wanted


@pytest.mark.parametrize("version", [5, 6, 7])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_command_is_read_replayed_and_answered(case: Case, version: int) -> None:
    first = Peer(version)
    live = handle_of(case.act(first.vm))
    (frame,) = first.frames()
    assert frame.type == type_of(case.command)
    assert decode_command(frame) == case.command
    assert encode_command(case.command, version)[8:] == frame.payload  # to the byte
    if live is not None and case.answers and not isinstance(case.command, j.Run):
        for answer in case.answers:
            first.tell(answer)
        assert same_result(first.take(live), case.result)
    again = Peer(version, [INPUT, case.command, *case.answers])
    handle = handle_of(case.act(again.vm))
    assert again.frames() == []  # it was replayed
    if handle is not None and case.answers:
        assert same_result(again.take(handle), case.result)


@pytest.mark.parametrize("version", [5, 6, 7])
def test_a_sleep(version: int) -> None:
    peer = Peer(version)
    peer.vm.sys_sleep(60_000, "nap")
    (frame,) = peer.frames()
    sleep = decode_command(frame)
    assert isinstance(sleep, j.Sleep) and sleep.name == "nap" and sleep.wake_at_ms > 1_700_000_000_000
    again = Peer(version, [INPUT, sleep, done(1, RESULT.SLEEP, None)])
    handle = again.vm.sys_sleep(60_000, "nap")
    assert again.frames() == [] and isinstance(again.take(handle), PyVoid)


@pytest.mark.parametrize("version", [5, 6, 7])
def test_a_delayed_send(version: int) -> None:
    peer = Peer(version)
    peer.vm.sys_send("S", "h", b"", "k", 60_000, None, None, None, None)
    (frame,) = peer.frames()
    send = decode_command(frame)
    assert isinstance(send, j.OneWayCall) and send.invoke_at_ms > 1_700_000_000_000
    assert encode_command(send, version)[8:] == frame.payload


def test_a_scope_and_a_limit_key_travel() -> None:
    peer = Peer(7)
    peer.vm.sys_call("S", "h", b"", None, None, None, "scope", "limit")
    (frame,) = peer.frames()
    call = decode_command(frame)
    assert isinstance(call, j.Call) and (call.scope, call.limit_key) == ("scope", "limit")
    assert encode_command(call, 7)[8:] == frame.payload


@pytest.mark.parametrize("version", [5, 6, 7])
def test_state_that_came_with_the_start_is_read_there(version: int) -> None:
    peer = Peer(version, state={"a": b"1", "ä": b""})
    handle = peer.vm.sys_get_state("a", None)
    missing = peer.vm.sys_get_state("b", None)
    keys = peer.vm.sys_get_state_keys(None)
    assert peer.take(handle) == b"1" and isinstance(peer.take(missing), PyVoid)
    read = peer.take(keys)
    assert isinstance(read, PyStateKeys) and sorted(read.keys) == ["a", "ä"]
    commands = [decode_command(frame) for frame in peer.frames()]
    assert commands == [j.GetEagerState("a", b"1"), j.GetEagerState("b", None), j.GetEagerStateKeys(["a", "ä"])]
    again = Peer(version, [INPUT, *commands], state={"a": b"changed since"})
    assert again.take(again.vm.sys_get_state("a", None)) == b"1"
    assert isinstance(again.take(again.vm.sys_get_state("b", None)), PyVoid)
    again.vm.sys_get_state_keys(None)
    assert again.frames() == []


@pytest.mark.parametrize("version", [5, 6, 7])
@pytest.mark.parametrize("result", [b"v", b"", j.Failure(418, "boom")])
def test_an_awakeable_is_told(version: int, result: bytes | j.Failure) -> None:
    peer = Peer(version)
    awakeable_id, handle = peer.vm.sys_awakeable()
    assert awakeable_id == format_awakeable_id(INVOCATION_ID, 17)
    peer.tell(j.Signal(17, result))
    got = peer.take(handle)
    assert same_result(got, result if isinstance(result, bytes) else failed(418, "boom"))


@pytest.mark.parametrize("version", [5, 6, 7])
def test_a_named_signal_is_told(version: int) -> None:
    peer = Peer(version)
    handle = peer.vm.sys_signal("go")
    peer.tell(j.Signal("go", b"v"))
    assert peer.take(handle) == b"v"


def test_metadata_of_a_failure_travels_from_version_6_on() -> None:
    for version, metadata in ((5, []), (6, [("b", "2"), ("a", "1")]), (7, [("b", "2"), ("a", "1")])):
        peer = Peer(version, [INPUT, j.Run(1, "r"), done(1, RESULT.RUN, BOOM)])
        got = peer.take(peer.vm.sys_run("r").handle)
        assert isinstance(got, PyFailure) and (got.metadata or []) == metadata


def test_the_start_message() -> None:
    start = m.Start(
        id=INVOCATION_ID,
        debug_id=format_invocation_id(INVOCATION_ID),
        partial_state=True,
        key="k",
        random_seed=2**64 - 1,
        scope="sc",
        limit_key="li",
        idempotency_key="",
    )
    peer = Peer(7, start=start)
    seen = peer.input
    assert (seen.invocation_id, seen.key, seen.random_seed) == (start.debug_id, "k", 2**64 - 1)
    assert (seen.scope, seen.limit_key, seen.idempotency_key) == ("sc", "li", "")
    assert [(h.key, h.value) for h in seen.headers] == INPUT.headers and bytes(seen.input) == INPUT.body


def test_the_error_of_a_failing_run() -> None:
    peer = Peer(6)
    handle = peer.vm.sys_run("step").handle
    peer.progress(handle)
    peer.vm.notify_error("it broke", "at line 1", 250)
    error = decode(m.Error, peer.frames()[-1].payload)
    assert (error.code, error.message, error.stacktrace, error.next_retry_delay) == (500, "it broke", "at line 1", 250)
    assert name_of_type(0x0411) == "Run" and error.related_command_type in (None, 0x0411)
