"""How people write durations, sizes and addresses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.cli import values
from perdure.cli.values import Address


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("0", 0),
        ("500ms", 500),
        ("10s", 10_000),
        ("1m 30s", 90_000),
        ("1.5h", 5_400_000),
        ("7d", 604_800_000),
        ("1m30s", 90_000),
    ],
)
def test_durations_have_units(text: str, ms: int) -> None:
    assert values.duration_ms(text) == ms


@pytest.mark.parametrize(
    ("text", "count"), [("0", 0), ("123", 123), ("1KiB", 1024), ("64 MiB", 64 << 20), ("2GiB", 2 << 30), ("5B", 5)]
)
def test_sizes_have_binary_units(text: str, count: int) -> None:
    assert values.size_bytes(text) == count


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", Address("127.0.0.1", 8080)),
        ("localhost:0", Address("localhost", 0)),
        ("[::1]:80", Address("::1", 80)),
        (":8080", Address("0.0.0.0", 8080)),
        ("8080", Address("127.0.0.1", 8080)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert values.address(text) == address
    assert values.address(str(address)) == address


@pytest.mark.parametrize(
    ("reader", "text"),
    [
        (values.duration_ms, "10"),
        (values.duration_ms, ""),
        (values.duration_ms, "ten seconds"),
        (values.duration_ms, "10s later"),
        (values.duration_ms, "-5s"),
        (values.size_bytes, "1XB"),
        (values.size_bytes, "-1"),
        (values.address, "localhost"),
        (values.address, "::1:80"),
        (values.address, "host:99999"),
        (values.switch, "maybe"),
        (values.whole_number, "1.5"),
        (values.whole_number, True),
        (values.number, "x"),
        (values.path, ""),
        (values.one_of("a", "b"), "c"),
    ],
)
def test_what_cannot_be_read_is_refused(reader: Callable[[object], object], text: object) -> None:
    with pytest.raises(ValueError, match=r"^is "):
        reader(text)


@given(st.integers(0, 10**12))
def test_a_duration_in_words_reads_back(ms: int) -> None:
    assert values.duration_ms(values.duration_in_words(ms)) == ms


@given(st.integers(0, 10**15))
def test_a_size_in_words_reads_back(count: int) -> None:
    assert values.size_bytes(values.size_in_words(count)) == count


def test_lists_come_with_commas_or_from_toml() -> None:
    assert values.names("a:app, b:app,") == values.names(["a:app", "b:app"]) == ("a:app", "b:app")
    assert values.names("") == ()
