"""What is not HTTP, what stops in the middle, and what comes in unusual portions."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

GOOD = b'POST /Echo/say HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 4\r\n\r\n"hi"'
HEAD = b"POST /Echo/say HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


async def everything(world: Any, *parts: bytes, half_close: bool = False) -> bytes:
    """All that comes back until the server closes."""
    reader, writer = await world.ingress.connect()
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if half_close:
            writer.write_eof()
        return await asyncio.wait_for(reader.read(), 20)
    finally:
        writer.close()


async def goes_on(world: Any) -> None:
    answer = await world.ingress.post("/Echo/say", "on")
    assert (answer.status, answer.json()) == (200, "on")


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /Echo/say HTTP/9.9\r\n\r\n",
        b"GET /Echo/say\r\n\r\n",
        b"GET  HTTP/1.1\r\n\r\n",
        b"GET ?x HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /Echo/\xff HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /Echo/nothing HTTP/1.1\r\nbad header: x\r\n\r\n",
        b"GET /Echo/nothing HTTP/1.1\r\n: x\r\n\r\n",
        b"GET /Echo/nothing HTTP/1.1\r\nx: a\x00b\r\n\r\n",
        b"GET /Echo/nothing HTTP/2.0\r\nhost: x\r\n\r\n",
        b"CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n",
        HEAD + b"content-length: -1\r\n\r\n",
        HEAD + b"content-length: x\r\n\r\n",
        HEAD + b"content-length: 4\r\ncontent-length: 5\r\n\r\n",
        HEAD + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n4\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\nhi\r\n",
        HEAD + b'transfer-encoding: chunked\r\n\r\n4\r\n"hi"xx\r\n0\r\n\r\n',
        HEAD + b"content-length: 99999999999999999999999999\r\n\r\n",
    ],
    ids=lambda sent: repr(sent[:40]),
)
async def test_what_is_not_http_is_refused_and_closed(world: Any, sent: bytes) -> None:
    before = world.stored()
    answer = await everything(world, sent)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/json" in head
    assert json.loads(body) == {"code": 400, "message": json.loads(body)["message"], "source": "ingress"}
    assert world.stored() == before
    await goes_on(world)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"POST",
        HEAD,
        HEAD + b'content-length: 4\r\n\r\n"h',
        HEAD + b'transfer-encoding: chunked\r\n\r\n4\r\n"hi"\r\n',
    ],
    ids=lambda sent: repr(sent[-30:]),
)
async def test_a_request_that_stops_in_the_middle_stores_nothing(world: Any, sent: bytes) -> None:
    before = world.stored()
    assert await everything(world, sent, half_close=True) == b""
    assert world.stored() == before
    await goes_on(world)


async def test_a_connection_cut_in_the_body_stores_nothing(world: Any) -> None:
    before = world.stored()
    _, writer = await world.ingress.connect()
    writer.write(HEAD + b'content-length: 4\r\n\r\n"h')
    await writer.drain()
    writer.transport.abort()
    await goes_on(world)
    assert len(world.engine.registry.services()) == 4
    assert world.stored() > before
    assert world.engine.stats()["invocations"] == 1, "only the good one"


@pytest.mark.parametrize(
    "chunks",
    [
        b'4\r\n"hi"\r\n0\r\n\r\n',
        b'1\r\n"\r\n2\r\nhi\r\n1\r\n"\r\n0\r\n\r\n',
        b'4;ext=1\r\n"hi"\r\n0\r\ntrailer: x\r\n\r\n',
    ],
)
async def test_chunked_bodies(world: Any, chunks: bytes) -> None:
    answer = await everything(world, HEAD + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n" + chunks)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b'"hi"')


async def test_byte_by_byte(world: Any) -> None:
    request = GOOD.replace(b"host: x", b"host: x\r\nconnection: close")
    answer = await everything(world, *(request[i : i + 1] for i in range(len(request))))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b'"hi"')


async def test_pipelined_requests_are_answered_in_order(world: Any) -> None:
    numbered = [GOOD.replace(b"hi", b"%02d" % number) for number in range(50)]
    numbered[-1] = numbered[-1].replace(b"host: x", b"connection: close\r\nhost: x")
    answer = await everything(world, b"".join(numbered))
    assert answer.count(b"HTTP/1.1 200 ") == 50
    assert [answer.index(b'"%02d"' % number) for number in range(50)] == sorted(
        answer.index(b'"%02d"' % number) for number in range(50)
    )


@pytest.mark.parametrize("rest", [b"nonsense\r\n\r\n", HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n"])
async def test_good_requests_before_a_broken_one_get_their_replies(world: Any, rest: bytes) -> None:
    answer = await everything(world, GOOD + GOOD.replace(b"hi", b"ho") + rest)
    assert answer.count(b"HTTP/1.1 200 ") == 2
    assert b'"hi"' in answer
    assert answer.endswith(b'"ho"')
    assert world.engine.stats()["invocations"] == 2
    await goes_on(world)


async def test_one_connection_serves_many_requests(world: Any) -> None:
    reader, writer = await world.ingress.connect()
    for _ in range(20):
        writer.write(GOOD)
        assert (await asyncio.wait_for(reader.readuntil(b'"hi"'), 10)).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_http_1_0_closes(world: Any) -> None:
    answer = await everything(world, GOOD.replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer


@pytest.mark.parametrize(
    "offered",
    [
        b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
        b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\nsec-websocket-version: 13\r\n",
    ],
)
async def test_an_upgrade_is_not_taken(world: Any, offered: bytes) -> None:
    request = GOOD.replace(b"host: x\r\n", b"host: x\r\n" + offered)
    bodiless = b"GET /Echo/nothing HTTP/1.1\r\nhost: x\r\n" + offered + b"\r\n"
    last = GOOD.replace(b"host: x", b"connection: close\r\nhost: x")
    together = await everything(world, request + bodiless + last)
    assert together.count(b"HTTP/1.1 200 ") == 3
    in_pieces = await everything(world, *(bytes([byte]) for byte in request + bodiless + last))
    assert in_pieces.count(b"HTTP/1.1 200 ") == 3


async def test_an_absolute_target(world: Any) -> None:
    request = GOOD.replace(b"/Echo/say", b"http://elsewhere/Echo/say").replace(
        b"host: x", b"connection: close\r\nhost: x"
    )
    assert (await everything(world, request)).startswith(b"HTTP/1.1 200 ")


async def test_continue_is_said_before_the_body(world: Any) -> None:
    reader, writer = await world.ingress.connect()
    writer.write(HEAD + b"expect: 100-continue\r\ncontent-length: 4\r\n\r\n")
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b'"hi"')
    assert (await asyncio.wait_for(reader.readuntil(b'"hi"'), 10)).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_continue_is_not_said_for_a_body_that_is_too_large(world: Any) -> None:
    reader, writer = await world.ingress.connect()
    writer.write(HEAD + b"expect: 100-continue\r\ncontent-length: 100001\r\n\r\n")
    assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).startswith(b"HTTP/1.1 413 ")
    writer.close()


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_large_body_is_refused_while_it_arrives(world: Any, chunked: bool) -> None:
    """The sender gets to see the reply, and the connection can be used again."""
    reader, writer = await world.ingress.connect()
    piece = b"x" * 50_000
    if chunked:
        body = (b"c350\r\n" + piece + b"\r\n") * 20 + b"0\r\n\r\n"
        writer.write(HEAD + b"transfer-encoding: chunked\r\n\r\n" + body)
    else:
        writer.write(HEAD + b"content-length: 1000000\r\n\r\n" + piece * 20)
    await writer.drain()
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    assert head.startswith(b"HTTP/1.1 413 ")
    await reader.readuntil(b"}")
    writer.write(GOOD)
    assert (await asyncio.wait_for(reader.readuntil(b'"hi"'), 10)).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_a_body_without_end_is_cut(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.http.protocol.UNWANTED_BYTES_MAX", 500_000)
    _, writer = await world.ingress.connect()
    writer.write(HEAD + b"transfer-encoding: chunked\r\n\r\n")
    sent = 0
    with pytest.raises(ConnectionError):
        while sent < 100_000_000:
            writer.write(b"c350\r\n" + b"x" * 50_000 + b"\r\n")
            await writer.drain()
            sent += 50_000
    writer.close()
    await goes_on(world)


@pytest.mark.parametrize("line", [b"x: " + b"y" * 300_000, b"x: y\r\n" * 60_000])
async def test_a_head_without_end_is_refused(world: Any, line: bytes) -> None:
    reader, writer = await world.ingress.connect()
    writer.write(b"GET /Echo/nothing HTTP/1.1\r\n")
    answer = b""
    try:
        for start in range(0, len(line), 10_000):
            writer.write(line[start : start + 10_000])
            await writer.drain()
        answer = await asyncio.wait_for(reader.read(), 20)
    except ConnectionError:
        pass  # the reset overtook the reply
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")
    writer.close()
    await goes_on(world)


async def test_too_many_headers_are_refused(world: Any) -> None:
    answer = await world.ingress.request("GET", "/Echo/nothing", None, {f"x-{number}": "y" for number in range(300)})
    assert (answer.status, answer.json()["code"]) == (431, 431)


async def test_options_of_the_server_itself(world: Any) -> None:
    assert (await world.ingress.request("OPTIONS", "*")).status == 200
