"""What the official Python SDK never sends, but others may."""

from __future__ import annotations

import pytest

from perdure.model import journal as j
from perdure.model.ids import derived_uuid, hash_key
from perdure.model.limits import TIMER_AT_MS_MAX
from perdure.model.target import Target
from perdure.wire import messages as m
from perdure.wire.commands import decode_command, encode_command, name_of_type, type_of
from perdure.wire.errors import ProtocolViolation
from perdure.wire.framing import Frame, FrameDecoder
from perdure.wire.protobuf import encode


def there_and_back(command: j.Command, version: int = 7) -> j.Command:
    (frame,) = FrameDecoder().feed(encode_command(command, version))
    return decode_command(frame)


def read(message_type: int, message: object) -> j.Command:
    return decode_command(Frame(message_type, 0, encode(message)))  # type: ignore[arg-type]


def test_an_empty_idempotency_key_is_not_an_absent_one() -> None:
    for key in ("", None):
        call = j.Call(2, 1, Target("S", None, "h"), [], b"", key, scope=key, limit_key=key)
        assert there_and_back(call) == call
        send = j.OneWayCall(1, Target("S", "k", "h"), [("a", "")], b"", 0, key, "name", scope=key, limit_key=key)
        assert there_and_back(send) == send


def test_an_invocation_that_is_named_by_its_request() -> None:
    target = m.IdempotentRequestTarget("S", None, "h", "idem")
    attach = read(0x0412, m.InvocationQuery(idempotent_request_target=target, result_completion_id=1, name="n"))
    assert isinstance(attach, j.AttachInvocation)
    assert attach.asked == j.IdempotentTarget(Target("S", None, "h"), "idem")
    assert attach.invocation_id == hash_key("idem").to_bytes(8, "big") + derived_uuid("ik", "S", "h", "idem")
    assert there_and_back(attach) == attach
    keyed = read(0x0413, m.InvocationQuery(idempotent_request_target=m.IdempotentRequestTarget("S", "k", "h", "i")))
    assert isinstance(keyed, j.GetInvocationOutput)
    assert keyed.invocation_id == hash_key("k").to_bytes(8, "big") + derived_uuid("ik", "S", "k", "h", "i")
    assert there_and_back(keyed) == keyed


def test_a_workflow_that_is_named_by_its_key() -> None:
    attach = read(0x0412, m.InvocationQuery(workflow_target=m.WorkflowTarget("W", "k")))
    assert isinstance(attach, j.AttachInvocation) and attach.asked == j.WorkflowTarget("W", "k")
    assert attach.invocation_id == hash_key("k").to_bytes(8, "big") + derived_uuid("wf", "W", "k")
    assert there_and_back(attach) == attach


def test_signals_in_every_form() -> None:
    for signal_id in (0, 1, 17, "name", ""):
        for result in (None, b"", b"v", j.Failure(500, "x", {"a": "b"})):
            signal = j.SendSignal(bytes(24), signal_id, result, "n")
            assert there_and_back(signal) == signal


def test_a_time_beyond_the_end_of_time() -> None:
    sleep = read(0x040C, m.Sleep(2**64 - 1, 1))
    assert isinstance(sleep, j.Sleep) and sleep.wake_at_ms == TIMER_AT_MS_MAX


@pytest.mark.parametrize(
    ("message_type", "message"),
    [
        (0x040F, m.Void()),
        (0x0415, m.Void()),
        (0x0410, m.SendSignal("inv_1foAirY4KKzi6hFk1H1rdNhKe8N8MXbKiK")),
        (0x0410, m.SendSignal("inv_1short", idx=1)),
        (0x0412, m.InvocationQuery()),
        (0x0412, m.InvocationQuery(invocation_id="nonsense")),
        (0x0403, m.SetState(b"\xff")),
    ],
)
def test_what_makes_no_command_is_refused(message_type: int, message: object) -> None:
    with pytest.raises(ProtocolViolation):
        read(message_type, message)


def test_types_have_the_names_of_the_journal() -> None:
    for command in (j.Run(1), j.Output(None), j.Input([], b"")):
        assert name_of_type(type_of(command)) == type(command).__name__
    assert name_of_type(0x0005) is None
