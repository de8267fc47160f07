from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.wire.errors import MessageTooLarge
from perdure.wire.framing import MESSAGE_BYTES_MAX, REQUESTED_ACK, Frame, FrameDecoder, encode_frame

frames = st.builds(Frame, st.integers(0, 0xFFFF), st.sampled_from([0, REQUESTED_ACK]), st.binary(max_size=40))


@given(st.lists(frames, max_size=8), st.lists(st.integers(1, 30), min_size=1))
def test_frames_come_out_however_the_bytes_are_cut(sent: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(encode_frame(frame.type, frame.payload, frame.flags) for frame in sent)
    decoder, received, position, turn = FrameDecoder(), [], 0, 0
    while position < len(stream):
        size = cuts[turn % len(cuts)]
        received += decoder.feed(stream[position : position + size])
        position, turn = position + size, turn + 1
    assert received == sent and not decoder.unfinished


def test_the_header() -> None:
    assert encode_frame(0x8011, b"abc", REQUESTED_ACK) == bytes.fromhex("8011 8000 00000003") + b"abc"


def test_a_message_that_is_too_large_is_refused_by_its_header() -> None:
    decoder = FrameDecoder()
    assert list(decoder.feed(encode_frame(1, b"x") + MESSAGE_BYTES_MAX.to_bytes(8, "big"))) == [Frame(1, 0, b"x")]
    assert decoder.unfinished
    with pytest.raises(MessageTooLarge):
        list(FrameDecoder().feed((MESSAGE_BYTES_MAX + 1).to_bytes(8, "big")))
