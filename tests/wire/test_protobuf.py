from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.wire import messages as m
from perdure.wire.errors import AwaitTooDeep, ProtocolViolation
from perdure.wire.protobuf import decode, encode

numbers = st.integers(0, 2**32 - 1)
futures = st.recursive(
    st.builds(m.Future, st.lists(numbers), st.lists(numbers), st.lists(st.text()), st.just([]), st.integers(0, 4)),
    lambda inner: st.builds(m.Future, st.just([]), st.just([]), st.just([]), st.lists(inner, max_size=3)),
    max_leaves=6,
)


@given(futures)
def test_what_is_written_is_read(future: m.Future) -> None:
    assert decode(m.Future, encode(future)) == future


@given(
    st.builds(
        m.Start,
        st.binary(),
        st.text(),
        numbers,
        st.lists(st.builds(m.StateEntry, st.binary(), st.binary())),
        st.booleans(),
        st.text(),
        numbers,
        st.integers(0, 2**64 - 1),
        st.integers(0, 2**64 - 1),
        st.none() | st.text(),
    )
)
def test_a_start_is_read_as_written(start: m.Start) -> None:
    assert decode(m.Start, encode(start)) == start


def test_numbers_are_read_packed_or_not() -> None:
    assert decode(m.Suspension, b"\x08\x01\x08\x96\x01").waiting_completions == [1, 150]
    assert decode(m.Suspension, b"\x0a\x03\x01\x96\x01\x08\x02").waiting_completions == [1, 150, 2]
    assert encode(m.Suspension([1, 150])) == b"\x0a\x03\x01\x96\x01"


def test_defaults_are_left_out_and_what_is_present_is_written() -> None:
    assert encode(m.Call(idempotency_key="")) == b"\x32\x00"
    assert encode(m.Call()) == b""
    assert encode(m.Output(value=m.Value(b""))) == b"\x72\x00"
    assert decode(m.Output, b"\x72\x00") == m.Output(value=m.Value(b""))


def test_unknown_fields_are_skipped() -> None:
    every_wire_type = b"\xa0\x06\x01" + b"\xa1\x06" + bytes(8) + b"\xa2\x06\x02ab" + b"\xa5\x06" + bytes(4)
    assert decode(m.Sleep, every_wire_type + b"\x08\x05") == m.Sleep(5)


def test_the_last_of_a_oneof_counts() -> None:
    both = encode(m.Output(value=m.Value(b"v"))) + encode(m.Output(failure=m.Failure(500, "x")))
    assert decode(m.Output, both) == m.Output(failure=m.Failure(500, "x"))


@pytest.mark.parametrize(
    "payload",
    [
        b"\x08",  # a number without its bytes
        b"\x08" + b"\xff" * 11,  # a number that does not end
        b"\x62\x05ab",  # a string that reaches beyond the message
        b"\x62\x01\xff",  # not UTF-8
        b"\x0b",  # a group
        b"\x00\x00",  # field 0
        b"\x0a\x01a",  # a string where a number belongs
        b"\x60\x01",  # a number where a string belongs
        b"\xa1\x06\x00",  # eight bytes that are not there
    ],
)
def test_what_is_not_well_formed_is_refused(payload: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        decode(m.Sleep, payload)


@given(st.binary(max_size=200), st.sampled_from([m.Call, m.Error, m.Suspension, m.Notification, m.SendSignal, m.Input]))
def test_no_bytes_do_worse_than_being_refused(payload: bytes, cls: type) -> None:
    try:
        read = decode(cls, payload)
    except (ProtocolViolation, AwaitTooDeep):
        return
    assert decode(cls, encode(read)) == read
