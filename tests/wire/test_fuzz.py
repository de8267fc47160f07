"""Whatever bytes a deployment sends: messages that can be used, or a refusal by name. Never another exception."""

from __future__ import annotations

import contextlib
import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from perdure.model.errors import PerdureError
from perdure.wire import commands, messages
from perdure.wire.awaits import future_awaiting, suspension_awaiting
from perdure.wire.commands import decode_command, encode_command, name_of_type
from perdure.wire.discovery import read_manifest
from perdure.wire.errors import AwaitTooDeep, MessageTooLarge, ProtocolViolation
from perdure.wire.framing import Frame, FrameDecoder, encode_frame
from perdure.wire.protobuf import decode, encode

STRUCTS = [
    kind
    for kind in vars(messages).values()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__module__ == messages.__name__
    if not kind.__name__.startswith("_")  # what two messages have in common is none
]
COMMAND_TYPES = [number for number in range(0x0400, 0x0440) if name_of_type(number) is not None]
REFUSED = (ProtocolViolation, MessageTooLarge, AwaitTooDeep)


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


@st.composite
def protobuf(draw: st.DrawFn, depth: int = 0) -> bytes:
    """Fields of any number and wire type, most of them well-formed, some of them messages themselves."""
    out = bytearray()
    for _ in range(draw(st.integers(0, 5))):
        wire = draw(st.sampled_from([0, 0, 1, 2, 2, 2, 3, 4, 5, 7]))
        out += varint(draw(st.integers(0, 16) | st.integers(0, 2**31)) << 3 | wire)
        if wire == 0:
            out += draw(st.integers(0, 2**64 - 1).map(varint) | st.just(b"\xff" * 11))
        elif wire == 2:
            inner = draw(st.binary(max_size=12) | st.text(max_size=8).map(str.encode))
            if depth < 3 and draw(st.booleans()):
                inner = draw(protobuf(depth=depth + 1))
            length = len(inner) if draw(st.integers(0, 9)) else draw(st.integers(0, 2**40))
            out += varint(length) + inner
        else:
            out += draw(st.binary(max_size=8))
    return bytes(out)


payloads = protobuf() | st.binary(max_size=60)


def test_every_message_and_command_is_part_of_it() -> None:
    assert len(STRUCTS) > 30 and len(COMMAND_TYPES) > 15


@given(st.sampled_from(STRUCTS), payloads)
def test_a_message_of_any_bytes(kind: type[msgspec.Struct], data: bytes) -> None:
    try:
        read = decode(kind, data)
    except REFUSED:
        return
    assert decode(kind, encode(read)) == read, "what was understood can be said again"


@given(st.sampled_from(COMMAND_TYPES) | st.integers(0, 0xFFFF), payloads, st.integers(5, 7))
def test_a_command_of_any_bytes(message_type: int, data: bytes, version: int) -> None:
    try:
        command = decode_command(Frame(message_type, 0, data))
    except REFUSED:
        return
    [again] = FrameDecoder().feed(encode_command(command, version))
    assert type(decode_command(again)) is type(command)


@given(payloads)
def test_an_await_of_any_bytes(data: bytes) -> None:
    for kind, wait in ((messages.Suspension, suspension_awaiting), (messages.AwaitingOn, None)):
        with contextlib.suppress(*REFUSED):
            read = decode(kind, data)
            if wait is not None:
                wait(read)  # type: ignore[arg-type]
            elif read.awaiting_on is not None:  # type: ignore[attr-defined]
                future_awaiting(read.awaiting_on)  # type: ignore[attr-defined]


frames = st.builds(encode_frame, st.integers(0, 0xFFFF), st.binary(max_size=40), st.sampled_from([0, 0x8000, 0xFFFF]))


@given(st.lists(frames, max_size=6), st.binary(max_size=10), st.data())
def test_frames_in_any_chunks(whole: list[bytes], rest: bytes, data: st.DataObject) -> None:
    stream, decoder = b"".join(whole), FrameDecoder(message_bytes_max=64)
    found: list[Frame] = []
    position = 0
    while position < len(stream):
        size = data.draw(st.integers(1, len(stream)))
        found += decoder.feed(stream[position : position + size])
        position += size
    assert [encode_frame(*(frame.type, frame.payload, frame.flags)) for frame in found] == whole
    assert not decoder.unfinished
    with contextlib.suppress(MessageTooLarge):
        list(decoder.feed(rest))


WORDS = (
    "protocolMode minProtocolVersion maxProtocolVersion services name ty handlers input output jsonSchema contentType"
)
KNOWN = f"{WORDS} required metadata retryPolicyMaxAttempts inactivityTimeout".split()
names = st.sampled_from(KNOWN) | st.text(max_size=5)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=5),
    max_leaves=20,
)
GOOD = {
    "protocolMode": "BIDI_STREAM",
    "minProtocolVersion": 5,
    "maxProtocolVersion": 7,
    "services": [{"name": "S", "ty": "SERVICE", "handlers": [{"name": "h", "input": {}, "output": {}}]}],
}


@given(st.binary(max_size=40) | json_values.map(lambda value: json.dumps(value).encode()), st.integers(0, 6))
def test_a_manifest_of_any_bytes(body: bytes, version: int) -> None:
    with contextlib.suppress(PerdureError):
        read_manifest(f"application/vnd.restate.endpointmanifest.v{version}+json", body)


@given(
    st.sampled_from(["protocolMode", "services", "minProtocolVersion", "name", "ty", "handlers", "input"]), json_values
)
def test_a_manifest_with_one_thing_wrong(name: str, value: object) -> None:
    manifest = json.loads(json.dumps(GOOD))
    for place in (manifest, manifest["services"][0], manifest["services"][0]["handlers"][0]):
        if name in place:
            place[name] = value
    with contextlib.suppress(PerdureError):
        read_manifest("application/vnd.restate.endpointmanifest.v4+json", json.dumps(manifest).encode())


def test_a_command_is_told_by_name() -> None:
    assert {commands.name_of_type(number) for number in COMMAND_TYPES} >= {"Call", "Run", "Sleep", "Output"}
