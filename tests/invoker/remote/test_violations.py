"""Deployments that break the protocol: their own attempt fails, is named, and is tried again; nobody else notices."""

from __future__ import annotations

import pytest

from perdure.invoker.remote import attempt as attempt_module
from perdure.model import journal as j
from perdure.model.retry import RetryPolicy
from perdure.model.target import Target
from perdure.store.rows import Status
from perdure.wire import messages as m
from perdure.wire.framing import MESSAGE_BYTES_MAX, encode_frame
from perdure.wire.notifications import encode_notification
from perdure.wire.protobuf import encode
from tests.invoker.remote.scripted import END, commands, control, output, scripted

RUN_RESULT = m.ProposeRunCompletion(1, b"r")

VIOLATIONS = {
    "an unknown control message": encode_frame(0x0009, b""),
    "a custom message": encode_frame(0xFC00, b""),
    "a start": control(m.Type.START, m.Start()),
    "an ack of a command": encode_frame(m.Type.COMMAND_ACK, b""),
    "an ack of a run": control(m.Type.PROPOSE_RUN_COMPLETION_ACK, m.ProposeRunCompletionAck(1)),
    "an await in version 6": control(m.Type.AWAITING_ON, m.AwaitingOn(m.Future([1]))),
    "a completion": encode_notification(j.Completion(1, j.CompletionCode.SLEEP), 6),
    "a signal": encode_notification(j.Signal(1), 6),
    "an input": commands(j.Input([], b"")),
    "an unknown command": encode_frame(0x040F, b""),
    "what is no protobuf": encode_frame(0x040C, b"\xff"),
    "an end without an output": END,
    "a command after the output": commands(j.Output(b"x"), j.Sleep(1, 1)),
    "a second output": commands(j.Output(b"x"), j.Output(b"y")),
    "a suspension after the output": commands(j.Output(b"x")) + control(m.Type.SUSPENSION, m.Suspension([1])),
    "a suspension that waits for nothing": control(m.Type.SUSPENSION, m.Suspension()),
    "a completion id of zero": commands(j.Sleep(0, 1)),
    "a completion id that is taken": commands(j.Run(1), j.Sleep(1, 1)),
    "a call that takes one id twice": commands(j.Call(1, 1, Target("Plain", None, "h"), [], b"")),
    "a result of no step": control(m.Type.PROPOSE_RUN_COMPLETION, RUN_RESULT),
    "a result of a sleep": commands(j.Sleep(1, 1)) + control(m.Type.PROPOSE_RUN_COMPLETION, RUN_RESULT),
    "a second result": commands(j.Run(1)) + control(m.Type.PROPOSE_RUN_COMPLETION, RUN_RESULT) * 2,
    "a result without a result": commands(j.Run(1)) + control(m.Type.PROPOSE_RUN_COMPLETION, m.ProposeRunCompletion(1)),
    "a bad invocation id": encode_frame(0x0410, encode(m.SendSignal("inv_1x", idx=1))),
}


@pytest.mark.parametrize("said", VIOLATIONS.values(), ids=VIOLATIONS)
async def test_it_is_refused_and_nobody_else_notices(said: bytes) -> None:
    async with scripted() as there:
        bystander = await there.send()
        beside = await there.stream()
        beside.accept(commands(j.Run(1)))
        invocation_id = await there.send()
        stream = await there.stream()
        stream.accept(said)
        assert await there.failed(invocation_id) == "RT0012"
        await stream.reset()
        again = await there.stream()  # on the same connection
        again.accept(output())
        assert (await there.attach(invocation_id)).result == b'"done"'
        beside.say(control(m.Type.PROPOSE_RUN_COMPLETION, RUN_RESULT) + output(b'"beside"'), end=True)
        assert (await there.attach(bystander)).result == b'"beside"'
        assert there.row(bystander).epoch == 1


async def test_what_came_before_the_violation_stands() -> None:
    async with scripted() as there:
        invocation_id = await there.send()
        (await there.stream()).accept(commands(j.Run(1, "a"), j.Run(2, "b"), j.Run(2, "c")))
        again = await there.stream()
        assert (await again.start()).known_entries == 3
        again.accept(output())
        await there.attach(invocation_id)
        assert [entry.name for entry in there.journal(invocation_id)[1:3] if isinstance(entry, j.Run)] == ["a", "b"]


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ((MESSAGE_BYTES_MAX + 1).to_bytes(8, "big"), "RT0003"),
        (commands(j.Sleep(1, 1))[:-1], "RT0012"),
        (commands(j.Sleep(1, 1)), "RT0010"),
        (b"", "RT0010"),
    ],
    ids=["too large", "cut off", "without an end", "empty"],
)
async def test_a_response_that_cannot_be_used(said: bytes, code: str) -> None:
    async with scripted() as there:
        invocation_id = await there.send()
        (await there.stream()).accept(said, end=True)
        assert await there.failed(invocation_id) == code
        (await there.stream()).accept(output())
        assert (await there.attach(invocation_id)).result == b'"done"'


@pytest.mark.parametrize(
    ("status", "headers", "code"),
    [
        ("200", [("content-type", "text/html")], "RT0012"),
        ("200", [("content-type", "application/vnd.restate.invocation.v5")], "RT0012"),
        ("200", [], "RT0012"),
        ("302", [("location", "/")], "RT0012"),
        ("404", [], "RT0012"),
        ("500", [], "RT0012"),
        ("413", [], "RT0019"),
        ("415", [], "RT0015"),
        ("429", [], "RT0023"),
        ("503", [], "RT0023"),
        ("502", [], "RT0010"),
        ("504", [], "RT0010"),
    ],
)
async def test_statuses(status: str, headers: list[tuple[str, str]], code: str) -> None:
    async with scripted() as there:
        invocation_id = await there.send()
        (await there.stream()).answer(status, *headers, end=False)
        assert await there.failed(invocation_id) == code
        (await there.stream()).accept(output())
        assert (await there.attach(invocation_id)).result == b'"done"'


async def test_retry_after_sets_the_delay_and_does_not_count() -> None:
    policy = RetryPolicy(initial_interval_ms=3_600_000, max_attempts=2)
    async with scripted(default_retry=policy) as there:
        invocation_id = await there.send()
        for _ in range(3):
            (await there.stream()).answer("429", ("retry-after", "0"))
        (await there.stream()).accept(output())
        assert (await there.attach(invocation_id)).result == b'"done"'


@pytest.mark.parametrize(
    ("target", "command", "code"),
    [
        ("Plain/h", j.SetState("a", b""), "RT0017"),
        ("Plain/h", j.GetLazyState(1, "a"), "RT0017"),
        ("Object/k/shared", j.SetState("a", b""), "RT0017"),
        ("Object/k/shared", j.ClearAllState(), "RT0017"),
        ("Flow/k/shared", j.ClearState("a"), "RT0017"),
        ("Object/k/h", j.GetPromise(1, "p"), "RT0017"),
        ("Object/k/shared", j.PeekPromise(1, "p"), "RT0017"),
        ("Plain/h", j.Call(2, 1, Target("Plain", "k", "h"), [], b""), "RT0017"),
        ("Plain/h", j.Call(2, 1, Target("Plain", None, "h"), [], b"", ""), "RT0017"),
        ("Plain/h", j.Call(2, 1, Target("Nobody", None, "h"), [], b""), "RT0018"),
        ("Plain/h", j.OneWayCall(1, Target("Plain", None, "nothing"), [], b""), "RT0018"),
        ("Plain/h", j.CompleteAwakeable("garbage", b""), "RT0012"),
        ("Plain/h", j.Call(2, 1, Target("Plain", None, "h"), [], b"", scope="s"), "RT0024"),
        ("Plain/h", j.OneWayCall(1, Target("Plain", None, "h"), [], b"", limit_key="l"), "RT0024"),
    ],
)
async def test_what_a_handler_may_not_ask_for(target: str, command: j.Command, code: str) -> None:
    async with scripted() as there:
        invocation_id = await there.send(target)
        (await there.stream()).accept(commands(command, version=7))
        assert await there.failed(invocation_id) == code
        error = there.row(invocation_id).last_error
        place = f"cannot process command Command: {type(command).__name__} (command index 1) because of a failed"
        assert error is not None and error.message.startswith(place) == (code in ("RT0017", "RT0018"))
        again = await there.stream()
        assert (await again.start()).known_entries == 1
        again.accept(output())
        await there.attach(invocation_id)


@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("Flow/k/shared", j.GetPromise(1, "p")),
        ("Flow/k/shared", j.GetLazyState(1, "a")),
        ("Flow/k/run", j.SetState("a", b"1")),
        ("Object/k/shared", j.GetEagerState("a", None)),
        ("Object/k/h", j.ClearAllState()),
    ],
)
async def test_what_it_may(target: str, command: j.Command) -> None:
    async with scripted() as there:
        invocation_id = await there.send(target)
        (await there.stream()).accept(commands(command) + output())
        await there.attach(invocation_id)
        assert there.row(invocation_id).last_error is None


async def test_no_key_is_the_empty_key() -> None:
    """As in Restate: the protocol has one way to write both."""
    async with scripted() as there:
        invocation_id = await there.send()
        caller = await there.stream()
        caller.accept(commands(j.Call(2, 1, Target("Object", None, "h"), [], b"")))
        callee = await there.stream()
        assert (await callee.start()).key == ""
        callee.accept(output(), end=True)
        await caller.notified(2)
        caller.say(output(), end=True)
        await there.attach(invocation_id)
        (call,) = [entry for entry in there.journal(invocation_id) if type(entry) is j.Call]
        assert call.request is not None and str(call.request.target) == "Object//h"


async def test_a_deployment_that_never_comes_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt_module, "JOURNAL_ENTRIES_MAX", 50)
    async with scripted() as there:
        invocation_id = await there.send()
        stream = await there.stream()
        stream.accept(commands(*(j.Run(number) for number in range(1, 60))))
        row = await there.until_status(invocation_id, Status.PAUSED)
        assert row.last_error is not None and row.last_error.doc_code == "PD0311" and row.journal_length == 50
        await stream.reset()


async def test_a_deployment_that_says_nothing() -> None:
    async with scripted(inactivity_timeout_ms=30, abort_timeout_ms=30) as there:
        invocation_id = await there.send()
        stream = await there.stream()
        stream.accept()
        await stream.ended()  # it is asked to let go
        assert await there.failed(invocation_id) == "RT0001"
        await stream.reset()
        # Behind the same address another process may answer: the next attempt has another connection.
        (await there.stream(connection=1)).accept(output())
        await there.attach(invocation_id)


async def test_what_comes_after_the_end_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt_module, "_FAREWELL_S", 3600)
    async with scripted() as there:
        invocation_id = await there.send()
        stream = await there.stream()
        stream.accept(output())
        await there.attach(invocation_id)
        stream.say(commands(j.Run(7)))
        await stream.reset()
        assert there.row(invocation_id).journal_length == 2


async def test_a_response_that_does_not_end_after_the_end_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt_module, "_FAREWELL_S", 0.02)
    async with scripted() as there:
        invocation_id = await there.send()
        stream = await there.stream()
        stream.accept(output())
        await there.attach(invocation_id)
        await stream.reset()


async def test_a_reset_of_the_stream() -> None:
    async with scripted() as there:
        invocation_id = await there.send()
        stream = await there.stream()
        stream.accept(commands(j.Run(1)))
        await there.until(lambda: there.row(invocation_id).journal_length == 2)
        connection = await there.peer.connection()
        connection.h2.reset_stream(stream.id)
        connection.flush()
        assert await there.failed(invocation_id) == "RT0010"
        (await there.stream()).accept(output())
        await there.attach(invocation_id)
