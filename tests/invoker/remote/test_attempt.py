"""What an attempt tells a deployment and how it ends, message by message, over real HTTP/2."""

from __future__ import annotations

import pytest

from perdure.invoker.remote import attempt as attempt_module
from perdure.invoker.remote import opening as opening_module
from perdure.model import journal as j
from perdure.model.ids import CANCEL_SIGNAL, format_invocation_id
from perdure.model.limits import TIMER_AT_MS_MAX
from perdure.model.retry import RetryPolicy
from perdure.model.service import Policies
from perdure.model.target import Target
from perdure.node.errors import TooLarge
from perdure.store.rows import Status
from perdure.wire import messages as m
from perdure.wire.framing import REQUESTED_ACK, Frame, encode_frame
from perdure.wire.protobuf import decode, encode
from tests.invoker.remote.scripted import Scripted, commands, control, output, scripted

RUN = m.Type.PROPOSE_RUN_COMPLETION
V7 = {"service_protocol_v7": True}


def suspension(*completions: int, signals: tuple[int, ...] = (1,)) -> bytes:
    return control(m.Type.SUSPENSION, m.Suspension(list(completions), list(signals)))


def tree_suspension(future: m.Future) -> bytes:
    return control(m.Type.SUSPENSION, m.Suspension(awaiting_on=future))


def notified(frame: Frame) -> m.Notification:
    return decode(m.Notification, frame.payload)


# --- how it begins --------------------------------------------------------------------------------------------------------


async def test_the_request_and_the_start() -> None:
    async with scripted(register={"additional_headers": {"x-route": "blue"}}) as there:
        invocation_id = await there.send("Object/a b/h", "in")
        stream = await there.stream()
        row = there.row(invocation_id)
        headers = stream.headers
        assert headers[":method"] == "POST" and headers[":path"] == "/invoke/Object/h"
        assert headers["content-type"] == headers["accept"] == "application/vnd.restate.invocation.v6"
        assert headers["x-restate-invocation-id"] == format_invocation_id(invocation_id)
        assert headers["x-restate-cluster-name"] == "localcluster"
        assert headers["x-restate-service-key"] == "a%20b" and headers["x-route"] == "blue"
        start = await stream.start()
        assert (start.id, start.debug_id, start.key) == (invocation_id, format_invocation_id(invocation_id), "a b")
        assert (start.known_entries, start.partial_state, start.state_map) == (1, False, [])
        assert start.random_seed == row.seed and start.retry_count_since_last_stored_entry == 0
        stream.accept(output())
        await there.attach(invocation_id)


async def test_version_7_tells_the_idempotency_key_and_version_5_not_the_seed() -> None:
    async with scripted(**V7) as there:
        invocation_id = await there.send(key="idem")
        start = await (stream := await there.stream()).start()
        assert start.idempotency_key == "idem" and stream.headers["content-type"].endswith("v7")
        stream.accept(output(), version=7)
        await there.attach(invocation_id)
    async with scripted(register={"max_protocol_version": 5}) as there:
        invocation_id = await there.send(key="idem")
        start = await (stream := await there.stream()).start()
        assert (start.random_seed, start.idempotency_key) == (0, None)
        stream.accept(output(), version=5)
        await there.attach(invocation_id)


async def test_no_common_version() -> None:
    async with scripted(register={"min_protocol_version": 7}) as there:
        assert await there.failed(await there.send()) == "RT0013"


async def test_state_comes_along_as_far_as_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted() as there:
        await there.send("Object/k/h")
        (await there.stream()).accept(commands(j.SetState("a", b"12345"), j.SetState("b", b"123")) + output())
        second = await there.send("Object/k/h")
        start = await (stream := await there.stream()).start()
        assert start.state_map == [m.StateEntry(b"a", b"12345"), m.StateEntry(b"b", b"123")]
        assert not start.partial_state
        stream.accept(output())
        await there.attach(second)
        monkeypatch.setattr(opening_module, "EAGER_STATE_BYTES_MAX", 6)
        third = await there.send("Object/k/shared")
        start = await (stream := await there.stream()).start()
        assert start.state_map == [m.StateEntry(b"a", b"12345")] and start.partial_state
        stream.accept(output())
        await there.attach(third)


async def test_lazy_state_and_plain_services_get_none() -> None:
    async with scripted(register={"modified": {"Object": Policies(lazy_state=True)}}) as there:
        for target in ("Object/k/h", "Plain/h"):
            invocation_id = await there.send(target)
            start = await (stream := await there.stream()).start()
            assert start.partial_state and start.state_map == []
            stream.accept(output())
            await there.attach(invocation_id)


async def test_it_counts_failures_since_the_last_command() -> None:
    policy = RetryPolicy(initial_interval_ms=20, factor=1.0, max_attempts=None)
    async with scripted(default_retry=policy) as there:
        invocation_id = await there.send()
        seen = []
        say = [
            commands(j.Run(1)) + control(m.Type.ERROR, m.Error(500, "a")),
            control(m.Type.ERROR, m.Error(500, "b")),
            control(RUN, m.ProposeRunCompletion(1, b"r")) + control(m.Type.ERROR, m.Error(500, "c")),
            commands(j.Run(2)) + control(m.Type.ERROR, m.Error(500, "d")),
            output(),
        ]
        for said in say:
            stream = await there.stream()
            start = await stream.start()
            seen.append((start.retry_count_since_last_stored_entry, start.known_entries))
            assert start.duration_since_last_stored_entry >= 20 * start.retry_count_since_last_stored_entry
            stream.accept(said)
        await there.attach(invocation_id)
        assert seen == [(0, 1), (1, 2), (2, 2), (3, 3), (1, 4)]


# --- what it is told ------------------------------------------------------------------------------------------------------


async def test_notifications_are_streamed_in_the_order_of_the_journal() -> None:
    async with scripted() as there:
        invocation_id = await there.send("Object/k/h")
        stream = await there.stream()
        stream.accept(commands(j.GetLazyState(1, "a"), j.Run(2), j.Sleep(3, 1), j.GetLazyStateKeys(4)))
        first = await stream.notified(3)
        stream.say(control(RUN, m.ProposeRunCompletion(2, b"r")))
        last = (await stream.notified(4))[3:]
        assert sorted(frame.type for frame in first) == [0x8002, 0x8006, 0x800C]
        assert [frame.type for frame in last] == [0x8011] and notified(last[0]).value == m.Value(b"r")
        in_journal = [entry.code for entry in there.journal(invocation_id) if isinstance(entry, j.Completion)]
        assert [frame.type for frame in [*first, *last]] == in_journal
        stream.say(output())
        await there.attach(invocation_id)


async def test_a_call_is_answered_with_its_id_and_its_result() -> None:
    async with scripted() as there:
        parent = await there.send()
        caller = await there.stream()
        caller.accept(commands(j.Call(2, 1, Target("Plain", None, "h"), [("a", "b")], b"body")))
        callee = await there.stream()
        callee_input = (await callee.start()) and callee.frames()[1]
        assert decode(m.Input, callee_input.payload) == m.Input([m.Pair("a", "b")], "", m.Value(b"body"))
        callee.accept(commands(j.Output(j.Failure(418, "no", {"k": "v"}))) + output()[-8:])
        told = await caller.notified(2)
        assert [frame.type for frame in told] == [0x800E, 0x800D]
        assert notified(told[0]).invocation_id == callee.headers["x-restate-invocation-id"]
        assert notified(told[1]).failure == m.Failure(418, "no", [m.Pair("k", "v")])
        caller.say(output())
        await there.attach(parent)


@pytest.mark.parametrize("version", [6, 7])
@pytest.mark.parametrize("flags", [0, REQUESTED_ACK])
async def test_a_result_is_acknowledged_or_sent_back(version: int, flags: int) -> None:
    async with scripted(service_protocol_v7=version == 7) as there:
        invocation_id = await there.send()
        stream = await there.stream()
        stream.accept(commands(j.Run(1)) + control(RUN, m.ProposeRunCompletion(1, b"r"), flags), version=version)
        (frame,) = await stream.notified(1)
        if flags and version == 7:
            assert frame.type == m.Type.PROPOSE_RUN_COMPLETION_ACK
            assert decode(m.ProposeRunCompletionAck, frame.payload).completion_id == 1
        else:
            assert frame.type == 0x8011 and notified(frame).value == m.Value(b"r")
        stream.say(control(m.Type.ERROR, m.Error(500, "again")))
        again = await there.stream()
        assert (await again.start()).known_entries == 3
        assert again.frames()[3].type == 0x8011  # on replay always whole
        again.accept(output(), version=version)
        await there.attach(invocation_id)


async def test_nothing_is_told_before_it_is_durable() -> None:
    async with scripted() as there:
        invocation_id = await there.send()
        stream = await there.stream()
        stream.accept(commands(j.Run(1)) + control(RUN, m.ProposeRunCompletion(1, b"r")))
        await stream.notified(1)
        assert there.row(invocation_id).notifications == 1
        stream.say(output())
        await there.attach(invocation_id)


# --- how it ends ----------------------------------------------------------------------------------------------------------


async def test_half_closed_when_nothing_goes_either_way_and_suspended() -> None:
    async with scripted(inactivity_timeout_ms=50) as there:
        invocation_id = await there.send()
        stream = await there.stream()
        stream.accept(commands(j.Sleep(1, 4_000_000_000_000)))
        await stream.ended()
        stream.say(suspension(1), end=True)
        row = await there.until_status(invocation_id, Status.SUSPENDED)
        assert row.awaiting == j.Awaiting([1], [1])
        await there.engine.cancel(invocation_id)
        again = await there.stream()
        assert (await again.start()).known_entries == 3
        again.accept(output())
        await there.attach(invocation_id)


async def test_what_comes_while_it_lets_go_starts_it_again() -> None:
    async with scripted(inactivity_timeout_ms=50) as there:
        invocation_id = await there.send()
        stream = await there.stream()
        stream.accept()
        await there.engine.signal(invocation_id, 18, b"before")
        await stream.notified(1)
        await stream.ended()
        await there.engine.signal(invocation_id, 17, b"now")
        stream.say(suspension(signals=(17, 1)), end=True)
        again = await there.stream()
        assert (await again.start()).known_entries == 3
        again.accept(output())
        await there.attach(invocation_id)


async def test_waiting_for_what_it_was_told_starts_it_again() -> None:
    async with scripted() as there:
        invocation_id = await there.send()
        stream = await there.stream()
        stream.accept(commands(j.Sleep(1, 1)))
        await stream.notified(1)
        stream.say(suspension(1), end=True)
        again = await there.stream()
        again.accept(output())
        await there.attach(invocation_id)


@pytest.mark.parametrize("number", [1, 17])
async def test_waiting_for_a_signal_that_it_was_told_on_the_way_starts_it_again_once(number: int) -> None:
    """A deployment that lets go by itself may have stopped listening before the signal came."""
    async with scripted() as there:
        invocation_id = await there.send()
        stream = await there.stream()
        stream.accept()
        if number == CANCEL_SIGNAL:
            await there.engine.cancel(invocation_id)
        else:
            await there.engine.signal(invocation_id, number, b"told")
        await stream.notified(1)
        stream.say(suspension(signals=(17, 1)), end=True)
        again = await there.stream()
        assert (await again.start()).known_entries == 2
        again.accept(suspension(signals=(17, 1)), end=True)
        await there.until_status(invocation_id, Status.SUSPENDED)


async def test_request_and_response_is_closed_at_once() -> None:
    for options in ({"register": {"bidirectional": False}}, {"inactivity_timeout_ms": 0}):
        async with scripted(**options) as there:  # type: ignore[arg-type]
            invocation_id = await there.send()
            stream = await there.stream()
            await stream.ended()
            stream.accept(commands(j.Run(1)) + control(RUN, m.ProposeRunCompletion(1, b"r")) + suspension(1), end=True)
            again = await there.stream()
            assert (await again.start()).known_entries == 3
            again.accept(output(), end=True)
            await there.attach(invocation_id)


async def suspended_on(there: Scripted, future: m.Future) -> bytes:
    invocation_id = await there.send()
    (await there.stream()).accept(tree_suspension(future), version=7, end=True)
    await there.until_status(invocation_id, Status.SUSPENDED)
    return invocation_id


async def test_a_tree_wakes_it_when_it_is_done_and_not_before() -> None:
    async with scripted(**V7) as there:
        both = m.Future(waiting_signals=[17, 18], combinator_type=j.Combinator.ALL_COMPLETED)
        cancel = m.Future(waiting_signals=[1], nested_futures=[both], combinator_type=j.Combinator.FIRST_COMPLETED)
        invocation_id = await suspended_on(there, cancel)
        await there.engine.signal(invocation_id, 17, b"a")
        row = there.row(invocation_id)
        assert row.status is Status.SUSPENDED and row.awaiting is not None and row.awaiting.signals == [1, 18]
        await there.engine.signal(invocation_id, 18, b"b")
        again = await there.stream()
        assert (await again.start()).known_entries == 3
        again.accept(output(), version=7)
        await there.attach(invocation_id)


async def test_a_tree_that_is_too_deep_pauses_it() -> None:
    async with scripted(**V7) as there:
        future = m.Future(waiting_signals=[1])
        for _ in range(290):
            future = m.Future(nested_futures=[future])
        deep = encode_deep(future, 100)
        invocation_id = await there.send()
        (await there.stream()).accept(deep, version=7)
        row = await there.until_status(invocation_id, Status.PAUSED)
        assert row.last_error is not None and row.last_error.doc_code == "RT0025"


def encode_deep(future: m.Future, more: int) -> bytes:
    payload = encode(future)
    for _ in range(more):
        size = len(payload)
        varint = bytes([size & 0x7F | 0x80, size >> 7]) if size > 0x7F else bytes([size])
        payload = b"\x22" + varint + payload
    return encode_frame(m.Type.SUSPENSION, payload)


async def test_what_it_waits_for_is_shown_until_it_is_told() -> None:
    async with scripted(**V7) as there:
        invocation_id = await there.send()
        seq = there.row(invocation_id).seq
        stream = await there.stream()
        stream.accept(control(m.Type.AWAITING_ON, m.AwaitingOn(m.Future(waiting_signals=[1, 17]))), version=7)
        await there.until(lambda: there.engine.pool.awaiting(0, seq))
        awaiting = there.engine.pool.awaiting(0, seq)
        assert awaiting is not None and awaiting.signals == [1, 17]
        await there.engine.signal(invocation_id, 17, b"v")
        await stream.notified(1)
        assert there.engine.pool.awaiting(0, seq) is None
        stream.say(output())
        await there.attach(invocation_id)


async def test_an_attempt_that_waits_gives_up_its_place() -> None:
    async with scripted(concurrent_attempts_max=1) as there:
        parent = await there.send()
        caller = await there.stream()
        caller.accept(commands(j.Call(2, 1, Target("Plain", None, "h"), [], b"")))
        await caller.ended()  # somebody waits for its place
        caller.say(suspension(2), end=True)
        (await there.stream()).accept(output(b'"child"'))
        again = await there.stream()
        assert (await again.start()).known_entries == 4
        again.accept(output())
        assert (await there.attach(parent)).result == b'"done"'


# --- failures -------------------------------------------------------------------------------------------------------------


async def test_an_error_names_its_command_and_is_tried_again() -> None:
    async with scripted() as there:
        invocation_id = await there.send()
        error = m.Error(500, "boom", "at line 1", 1, "step", 0x0411)
        (await there.stream()).accept(commands(j.Run(1, "step")) + control(m.Type.ERROR, error), end=True)
        again = await there.stream()
        again.accept(output())
        await there.attach(invocation_id)
        seen = there.row(invocation_id).last_error
        assert seen is not None
        assert (seen.code, seen.message, seen.stacktrace, seen.doc_code) == (500, "boom", "at line 1", "RT0007")
        assert (seen.command_index, seen.command_name, seen.command_type) == (1, "step", "Run")


async def test_its_own_delay_replaces_one_and_counts_nothing() -> None:
    policy = RetryPolicy(initial_interval_ms=3_600_000, max_attempts=1)
    async with scripted(default_retry=policy) as there:
        invocation_id = await there.send()
        for _ in range(3):
            (await there.stream()).accept(control(m.Type.ERROR, m.Error(500, "x", next_retry_delay=1)), end=True)
        (await there.stream()).accept(output())
        assert (await there.attach(invocation_id)).result == b'"done"'
        assert there.row(invocation_id).attempts_failed == 0


async def test_a_delay_beyond_the_end_of_time() -> None:
    async with scripted() as there:
        invocation_id = await there.send()
        error = m.Error(500, "x", next_retry_delay=2**64 - 1)
        (await there.stream()).accept(control(m.Type.ERROR, error), end=True)
        await there.until(lambda: there.row(invocation_id).retry_at_ms)
        assert there.row(invocation_id).retry_at_ms == TIMER_AT_MS_MAX
        assert await there.engine.resume(invocation_id)
        (await there.stream()).accept(output())
        await there.attach(invocation_id)


async def test_the_behavior_of_an_error() -> None:
    async with scripted(**V7) as there:
        paused = await there.send()
        pause = m.Error(570, "mismatch", behavior=m.ErrorBehavior.PAUSE)
        (await there.stream()).accept(control(m.Type.ERROR, pause), version=7, end=True)
        row = await there.until_status(paused, Status.PAUSED)
        assert row.last_error is not None and row.last_error.doc_code == "RT0016"
        ended = await there.send()
        fail = m.Error(418, "no", behavior=m.ErrorBehavior.FAIL)
        (await there.stream()).accept(control(m.Type.ERROR, fail), version=7, end=True)
        assert (await there.attach(ended)).result == j.Failure(418, "no")


async def test_what_the_log_refuses_pauses_it() -> None:
    async with scripted() as there:
        invocation_id = await there.send()
        stream = await there.stream()
        stream.accept()
        row = there.row(invocation_id)
        there.engine.pool.refuse(0, row.seq, row.epoch, TooLarge("a record of 80 MB."))
        row = await there.until_status(invocation_id, Status.PAUSED)
        assert row.last_error is not None and row.last_error.message == "a record of 80 MB."
        await stream.reset()


async def test_an_error_while_a_pause_is_wanted_pauses() -> None:
    async with scripted() as there:
        invocation_id = await there.send()
        stream = await there.stream()
        stream.accept()
        assert await there.engine.pause(invocation_id)
        await stream.ended()
        stream.say(control(m.Type.ERROR, m.Error(500, "x")), end=True)
        await there.until_status(invocation_id, Status.PAUSED)


async def test_a_kill_resets_the_stream_and_what_still_comes_counts_nothing() -> None:
    async with scripted() as there:
        invocation_id = await there.send()
        stream = await there.stream()
        stream.accept(commands(j.Run(1)))
        await there.until(lambda: there.row(invocation_id).journal_length == 2)
        await there.engine.kill(invocation_id)
        await stream.reset()
        assert (await there.attach(invocation_id)).result == j.Failure(409, "killed")
        assert there.row(invocation_id).journal_length == 2 and len(there.engine.pool) == 0


# --- where it runs --------------------------------------------------------------------------------------------------------


async def test_pinned_when_the_first_entry_is_stored_and_not_before() -> None:
    async with scripted() as there:
        fresh, begun = await there.send(), await there.send()
        nothing_yet = await there.stream()
        nothing_yet.accept()
        stored = await there.stream()
        stored.accept(commands(j.Run(1)))
        await there.until(lambda: there.row(begun).protocol_version)
        old = there.row(begun).deployment
        assert there.row(begun).protocol_version == 6 and there.row(fresh).protocol_version is None
        new = await there.register(uri=f"{there.peer.uri}second/")
        nothing_yet.say(control(m.Type.ERROR, m.Error(500, "x")), end=True)
        again = await there.stream()
        assert again.headers[":path"] == "/second/invoke/Plain/h"
        again.accept(output())
        await there.attach(fresh)
        stored.say(control(m.Type.ERROR, m.Error(500, "x")), end=True)
        again = await there.stream()
        assert again.headers[":path"] == "/invoke/Plain/h"
        again.accept(output())
        await there.attach(begun)
        assert (there.row(fresh).deployment, there.row(begun).deployment) == (new.id, old)


async def test_it_keeps_the_version_it_began_with() -> None:
    async with scripted() as there:
        invocation_id = await there.send()
        stream = await there.stream()
        stream.accept(commands(j.Run(1)))
        await there.until(lambda: there.row(invocation_id).protocol_version == 6)
        there.engine.pool._protocol_version_max = 7
        stream.say(control(m.Type.ERROR, m.Error(500, "x")), end=True)
        again = await there.stream()
        assert again.headers["content-type"].endswith("v6")
        again.accept(output())
        await there.attach(invocation_id)


async def test_restarted_in_a_deployment_it_speaks_the_highest_version_that_both_have() -> None:
    async with scripted(**V7, register={"min_protocol_version": 7}) as there:
        killed = await there.send()
        await there.stream()
        (deployment,) = there.engine.registry.deployments()
        await there.engine.kill(killed)
        again = await there.engine.restart(killed, deployment=deployment.id)
        assert (there.row(again).deployment, there.row(again).protocol_version) == (deployment.id, 7)
        (await there.stream()).accept(output(), version=7)
        await there.attach(again)


async def test_a_deployment_that_says_more_than_the_log_takes_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt_module, "READ_AHEAD_BYTES_MAX", 100_000)
    async with scripted() as there:
        invocation_id = await there.send("Object/k/h")
        stream = await there.stream()
        there.engine.pool.throttled = True
        stream.accept()
        stream.say(commands(*(j.SetState(f"k{number}", bytes(20_000)) for number in range(8))))
        attempt = there.engine.pool._attempts[(0, there.row(invocation_id).seq)]
        await there.until(lambda: not attempt._reading)  # type: ignore[attr-defined]
        stream.say(commands(j.SetState("late", b"")))
        for _ in range(20):
            await there.engine.signal(invocation_id, 99, b"")  # rounds of the log and the loop
        assert j.SetState("late", b"") not in there.journal(invocation_id)
        there.engine.pool.throttled = False
        await there.until(lambda: j.SetState("late", b"") in there.journal(invocation_id))
        stream.say(output())
        await there.attach(invocation_id)
