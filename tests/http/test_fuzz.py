"""Whatever is sent: an answer that HTTP allows, none of them a 5xx but 503, nothing stored of what is refused, no hang."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.slow

KNOWN = ["Echo", "say", "nothing", "raw", "Counter", "add", "key", "Signup", "run", "send", "restate", "call", "attach"]
KNOWN += [
    "output",
    "lookup",
    "invocation",
    "workflow",
    "awakeables",
    "a",
    "resolve",
    "reject",
    "scope",
    "health",
    "openapi",
]
KNOWN += ["inv_1kWHPJ8EdIa67slYDwAjggtZU5n9JnhLWN", "sign_1AAAA", "%", "%2F", "%ff", "%00", "..", "", "k"]
TOKEN = st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyz-_.!#$&'*+^`|~0123456789"), min_size=1, max_size=20)
SEGMENT = st.sampled_from(KNOWN) | st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="?# "))
PATH = st.lists(SEGMENT, max_size=8).map(lambda parts: "/" + "/".join(parts))
QUERY = st.just("") | st.builds(
    "?{}={}&{}".format,
    st.sampled_from(["delay", "DELAY", "limit-key", "x"]),
    st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="# "), max_size=20),
    st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="# "), max_size=5),
)
VALUE = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=30).map(
    str.strip
)
NAME = TOKEN | st.sampled_from(
    [
        "content-type",
        "idempotency-key",
        "idempotency-expires",
        "traceparent",
        "tracestate",
        "origin",
        "x-restate-limit-key",
        "accept",
        "cookie",
        "x-restate-ingress-path",
        "access-control-request-method",
        "forwarded",
        "range",
        "te",
    ]
)
HOP = {"connection", "content-length", "transfer-encoding", "upgrade", "expect", "host", "trailer"}
HEADERS = st.dictionaries(NAME.filter(lambda name: name.lower() not in HOP), VALUE, max_size=6)
BODY = st.none() | st.binary(max_size=60) | st.sampled_from([b'"x"', b"5", b"{}", b"null", b'{"target":"workflow"}'])
METHOD = st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "PROPFIND"])
FEW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


async def send_and_check(world: Any, method: str, target: str, headers: dict[str, str], body: bytes | None) -> None:
    before = world.stored()
    try:
        answer = await asyncio.wait_for(world.ingress.request(method, target, body, headers), 10)
    except asyncio.IncompleteReadError:
        pytest.fail("closed without a reply")
    assert 200 <= answer.status < 500 or answer.status == 503, answer
    if answer.status >= 400 and method != "HEAD":
        told = json.loads(answer.body)
        assert told["code"] == answer.status, told
        if told["source"] == "ingress":
            assert world.stored() == before, "refused, and yet something was stored"
    good = await world.ingress.post("/Echo/say", "on")
    assert good.status == 200


def run(new_world: Any, check: Callable[[Any], Awaitable[None]]) -> None:
    """Hypothesis runs many examples in one test: each gets a loop and a world of its own."""

    async def once() -> None:
        world = await new_world()
        await world.start()
        try:
            await asyncio.wait_for(check(world), 30)
        finally:
            await world.close()

    asyncio.run(once())


@FEW
@given(method=METHOD, path=PATH, query=QUERY, headers=HEADERS, body=BODY)
def test_any_request(
    new_world: Any, method: str, path: str, query: str, headers: dict[str, str], body: bytes | None
) -> None:
    run(new_world, lambda world: send_and_check(world, method, path + query, headers, body))


PIECES = st.sampled_from(
    [
        b"POST /Echo/say HTTP/1.1\r\n",
        b"GET /Echo/nothing HTTP/1.1\r\n",
        b"host: x\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b'"hi"',
        b"4",
        b"content-type: application/json\r\n",
        b"content-length: 4\r\n",
        b"transfer-encoding: chunked\r\n",
        b"0\r\n\r\n",
        b"connection: close\r\n",
        b"connection: upgrade\r\nupgrade: h2c\r\n",
        b"expect: 100-continue\r\n",
        b"4\r\n",
        b"CONNECT a:80 HTTP/1.1\r\n",
        b"HTTP/1.0",
        b"x: y\r\n",
        b" ",
        b":",
        b'"hi"\r\n',
    ]
)


async def send_bytes(world: Any, pieces: list[bytes], at_once: bool) -> None:
    reader, writer = await world.ingress.connect()
    try:
        for piece in [b"".join(pieces)] if at_once else pieces:
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        answer = b""
    finally:
        writer.close()
    assert b"HTTP/1.1 5" not in answer
    assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
    good = await world.ingress.post("/Echo/say", "on")
    assert (good.status, good.json()) == (200, "on")


@FEW
@given(pieces=st.lists(PIECES | st.binary(max_size=12), max_size=14), at_once=st.booleans())
def test_any_bytes(new_world: Any, pieces: list[bytes], at_once: bool) -> None:
    run(new_world, lambda world: send_bytes(world, pieces, at_once))
