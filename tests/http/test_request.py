from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.http.asgi import ClientGone, Message, raw_path
from perdure.http.ingress.refusals import RequestRefused
from perdure.http.ingress.request import RequestHead, decode_segment, query_values, read_body

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def head(*headers: tuple[str, str]) -> RequestHead:
    return RequestHead([(name.encode(), value.encode("latin-1")) for name, value in headers], "/Echo/echo?a=b")


def test_the_handler_sees_the_path_first_and_then_the_headers_in_order() -> None:
    read = head(
        ("host", "h"),
        ("x-b", "1"),
        ("connection", "close"),
        ("idempotency-key", "k"),
        ("idempotency-expires", "never"),
        ("x-restate-ingress-path", "/forged"),
        ("content-type", "a/b"),
        ("x-a", "2"),
        ("x-a", "3"),
        ("traceparent", PARENT),
    )
    assert read.forwarded == [
        ("x-restate-ingress-path", "/Echo/echo?a=b"),
        ("x-b", "1"),
        ("content-type", "a/b"),
        ("x-a", "2"),
        ("x-a", "3"),
        ("traceparent", PARENT),
    ]
    assert (read.content_type, read.idempotency_key, read.traceparent) == ("a/b", "k", PARENT)


def test_of_a_repeated_header_the_first_counts() -> None:
    read = head(("content-type", "a/b"), ("content-type", "c/d"), ("idempotency-key", "1"), ("idempotency-key", "2"))
    assert (read.content_type, read.idempotency_key) == ("a/b", "1")


def test_states_of_a_trace_are_joined() -> None:
    assert head(("tracestate", "a=1"), ("tracestate", "b=2")).tracestate == "a=1,b=2"


@pytest.mark.parametrize("value", ["", "00-0af7", PARENT[:-1], PARENT.replace("-", "+")])
def test_a_malformed_trace_is_ignored(value: str) -> None:
    assert head(("traceparent", value)).traceparent is None


def test_values_that_are_not_ascii_are_refused() -> None:
    with pytest.raises(RequestRefused, match="bad header x-name: its value is not ASCII") as refused:
        head(("x-name", "J\u00fcrgen"))
    assert refused.value.status == 400


def test_too_many_headers_are_refused() -> None:
    head(*[("x", "y")] * 256)
    with pytest.raises(RequestRefused) as refused:
        head(*[("x", "y")] * 257)
    assert refused.value.status == 431


@pytest.mark.parametrize(
    ("segment", "key"),
    [
        ("plain", "plain"),
        ("a%20b", "a b"),
        ("%E2%82%AC", "\u20ac"),
        ("%2F", "/"),
        ("a+b", "a+b"),
        ("%25", "%"),
        ("%", "%"),
        ("a%zz", "a%zz"),
        ("%2", "%2"),
        ("", ""),
    ],
)
def test_keys_are_decoded(segment: str, key: str) -> None:
    assert decode_segment(segment) == key


@pytest.mark.parametrize("segment", ["%ff", "%C3%28", "%ED%A0%80", "%\u00b22"])
def test_malformed_keys_are_refused(segment: str) -> None:
    with pytest.raises(RequestRefused, match="cannot decode key"):
        decode_segment(segment)


@given(st.text(alphabet=st.characters(max_codepoint=255)))
def test_any_segment_is_decoded_or_refused(segment: str) -> None:
    try:
        decode_segment(segment).encode()
    except RequestRefused as refused:
        assert refused.status == 400


def test_query_names_ignore_case_and_the_first_value_counts() -> None:
    assert query_values(b"Delay=1%20sec&delay=2s&x&limit-KEY=a+b") == {"delay": "1 sec", "x": "", "limit-key": "a b"}


@pytest.mark.parametrize(
    ("scope", "path"),
    [
        ({"raw_path": b"/a%2Fb/c", "path": "/a/b/c"}, "/a%2Fb/c"),
        ({"raw_path": b"/mnt/a/b", "path": "/mnt/a/b", "root_path": "/mnt"}, "/a/b"),
        ({"raw_path": b"/a/b?x=1", "path": "/a/b"}, "/a/b"),
        ({"path": "/a b/c"}, "/a%20b/c"),
    ],
)
def test_the_path_is_taken_as_sent_and_below_the_mount(scope: dict[str, object], path: str) -> None:
    assert raw_path(scope) == path


class Incoming:
    """A body that arrives in parts; None: the client goes away."""

    def __init__(self, *parts: bytes | None) -> None:
        self.parts = list(parts)

    async def receive(self) -> Message:
        part = self.parts.pop(0)
        if part is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": part, "more_body": bool(self.parts)}


async def test_a_body_is_joined() -> None:
    assert await read_body(Incoming(b"ab", b"", b"c").receive, 3) == b"abc"
    assert await read_body(Incoming(b"abc").receive, 3) == b"abc"


@pytest.mark.parametrize("parts", [(b"abcd",), (b"ab", b"cd"), (b"ab", b"cd", b"never read")])
async def test_a_body_over_the_limit_is_refused_before_its_end(parts: tuple[bytes, ...]) -> None:
    incoming = Incoming(*parts)
    with pytest.raises(RequestRefused) as refused:
        await read_body(incoming.receive, 3)
    assert refused.value.status == 413
    assert incoming.parts == list(parts[2:])


async def test_a_declared_length_over_the_limit_is_refused_unread() -> None:
    incoming = Incoming(b"x")
    with pytest.raises(RequestRefused):
        await read_body(incoming.receive, 3, declared=4)
    assert incoming.parts == [b"x"]


@pytest.mark.parametrize("parts", [(None,), (b"ab", None)])
async def test_a_client_that_goes_away_ends_the_reading(parts: tuple[bytes | None, ...]) -> None:
    with pytest.raises(ClientGone):
        await read_body(Incoming(*parts).receive, 10)
