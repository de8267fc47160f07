"""What the official Python SDK never sends, but others may."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.model import journal as j
from perdure.model.ids import derived_uuid, format_invocation_id, hash_key
from perdure.model.limits import TIMER_AT_MS_MAX
from perdure.model.target import Target
from perdure.wire import messages as m
from perdure.wire import protobuf
from perdure.wire.commands import _CODECS as command_table
from perdure.wire.commands import decode_command, encode_command, name_of_type, type_of
from perdure.wire.errors import ProtocolViolation
from perdure.wire.framing import Frame, FrameDecoder
from perdure.wire.protobuf import decode, encode


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


def messages(cls: type[msgspec.Struct]) -> st.SearchStrategy[msgspec.Struct]:
    """Any message of the class, at most one field of each oneof set."""
    names = [field.name for field in protobuf._TABLES[cls].fields]

    def values(field: protobuf.Field) -> st.SearchStrategy[object]:
        kinds: dict[protobuf.Kind, st.SearchStrategy[object]] = {
            protobuf.Kind.UINT32: st.integers(0, 2**32 - 1),
            protobuf.Kind.UINT64: st.integers(0, TIMER_AT_MS_MAX),
            protobuf.Kind.BOOL: st.booleans(),
            protobuf.Kind.STRING: st.text(max_size=5),
            protobuf.Kind.BYTES: st.text(max_size=5).map(str.encode),  # keys of the state are text
        }
        one = messages(field.of) if field.of is not None else kinds[field.kind]
        if field.repeated:
            return st.lists(one, max_size=3)
        return st.none() | one if field.optional else one

    def build(drawn: tuple[object, ...]) -> msgspec.Struct:
        chosen = dict(zip(names, drawn, strict=True))
        seen: set[str] = set()
        for field in protobuf._TABLES[cls].fields:
            if field.oneof is not None and chosen[field.name] is not None:
                if field.oneof in seen:
                    chosen[field.name] = None
                seen.add(field.oneof)
        return cls(**chosen)

    return st.tuples(*(values(field) for field in protobuf._TABLES[cls].fields)).map(build)


CLASSES = {codec.name: (number, codec.message) for number, codec in command_table.items()}


@pytest.mark.parametrize("name", CLASSES)
@given(data=st.data())
def test_what_is_read_is_written_back_with_the_same_fields(name: str, data: st.DataObject) -> None:
    number, cls = CLASSES[name]
    sent = data.draw(messages(cls))
    if isinstance(sent, m.InvocationQuery) and sent.invocation_id is not None:
        sent.invocation_id = format_invocation_id(bytes(24))
    if isinstance(sent, m.SendSignal):
        sent.target_invocation_id = format_invocation_id(bytes(24))
    try:
        command = read(number, sent)
    except ProtocolViolation:
        assert isinstance(sent, m.InvocationQuery | m.SendSignal)  # which one, was not said
        return
    (frame,) = FrameDecoder().feed(encode_command(command, 7))
    assert frame.type == number
    back = decode(cls, frame.payload)
    for unwritten in ("value", "void"):  # absent, but written as empty: no SDK leaves it out
        if hasattr(sent, unwritten) and getattr(sent, unwritten) is None and not getattr(sent, "failure", None):
            setattr(sent, unwritten, getattr(back, unwritten))
    assert without_doubles(back) == without_doubles(sent)


def without_doubles(message: msgspec.Struct) -> msgspec.Struct:
    """The metadata of a failure is a map: the last of one name counts. An empty service key is none."""
    for name in ("failure", "completion_failure"):
        failure = getattr(message, name, None)
        if failure is not None:
            failure.metadata = [m.Pair(*pair) for pair in {p.key: p.value for p in failure.metadata}.items()]
    if isinstance(message, m.InvocationQuery) and message.idempotent_request_target is not None:
        message.idempotent_request_target.service_key = message.idempotent_request_target.service_key or None
    return message


@given(st.sampled_from(sorted(command_table)), st.binary(max_size=60))
def test_no_bytes_do_worse_than_being_refused(number: int, payload: bytes) -> None:
    try:
        decode_command(Frame(number, 0, payload))
    except ProtocolViolation:
        return
