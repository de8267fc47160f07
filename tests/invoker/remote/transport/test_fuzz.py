"""Whatever a peer sends, each exchange has one end, and nothing else in the loop goes wrong."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from perdure.invoker.remote.connection import Bounds
from perdure.invoker.remote.transport import Transport
from perdure.model.deployment import Deployment, HttpVersion

from .peer import Recorder, saying

SETTINGS = b"\0\0\0\4\0\0\0\0\0"
OK = b"\x88"

stream_ids = st.sampled_from([0, 1, 1, 1, 2, 3, 5, 2**31 - 1])
payloads = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"", OK, OK + b"\x5f\x02ab", bytes(4), bytes(8), b"\xff" * 4, b"\x7f\xff\xff\xff"]),
)


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """Mostly well-formed frames of any kind, flags and stream."""
    kind = draw(st.one_of(st.integers(0, 9), st.integers(0, 255)))
    flags = draw(st.sampled_from([0, 1, 4, 5, 8, 32, 255]))
    payload = draw(payloads)
    length = len(payload) if draw(st.booleans()) else draw(st.sampled_from([0, len(payload), 16_384, 16_385]))
    return length.to_bytes(3, "big") + bytes((kind, flags)) + draw(stream_ids).to_bytes(4, "big") + payload


h2_answers = st.builds(
    lambda greeting, body, rest: greeting + b"".join(body) + rest,
    st.sampled_from([SETTINGS, SETTINGS, SETTINGS, b""]),
    st.lists(frames(), max_size=12),
    st.binary(max_size=20),
)
lines = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n",
        b"HTTP/2.0 200 OK\r\n",
        b"HTTP/1.0 999\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: -1\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Connection: upgrade\r\nUpgrade: x\r\n",
        b"X: \xff\xfe\r\n",
        b"\r\n",
        b"\r\n",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"abc",
    ]
)
h1_answers = st.builds(b"".join, st.lists(st.one_of(lines, st.binary(max_size=8)), max_size=10))


async def exchanged(answer: bytes, http_version: HttpVersion) -> None:
    unhandled: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(str(context)))
    transport = Transport(bounds=Bounds(connect_s=5.0))
    listeners = [Recorder(), Recorder()]
    async with saying(answer, then_close=True) as uri:
        for listener in listeners:
            exchange = transport.open(Deployment(id="dp_1", uri=uri, http_version=http_version), "x", {}, listener)
            exchange.send(b"hello" * 100)
        for listener in listeners:
            await listener.until(lambda it: it.over)
        await transport.close()
    await asyncio.sleep(0)
    assert unhandled == []
    for listener in listeners:
        assert listener.told.count("response") <= 1
        assert listener.told.count("end") + listener.told.count("broken") == 1
        assert listener.told[-1] in ("end", "broken")


@given(h2_answers)
def test_a_peer_of_http2(answer: bytes) -> None:
    asyncio.run(exchanged(answer, "HTTP/2.0"))


@given(h1_answers)
def test_a_server_of_http1(answer: bytes) -> None:
    asyncio.run(exchanged(answer, "HTTP/1.1"))
