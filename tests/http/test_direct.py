"""Calls that are answered without a coroutine: the same to a client as any other, and no task behind them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from perdure.http.asgi import Answer, RawHeaders, Receive, Scope, Send, send_reply
from perdure.http.server import HttpServer

HEAD = b"POST %b HTTP/1.1\r\nhost: x\r\n"
JSON = b"content-type: application/json\r\n"


def whole(path: bytes, body: bytes, more: bytes = JSON) -> bytes:
    return HEAD % path + more + b"content-length: %d\r\n\r\n" % len(body) + body


def chunked(path: bytes, body: bytes, more: bytes = JSON) -> bytes:
    return HEAD % path + more + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


async def ask(world: Any, sent: bytes) -> tuple[list[bytes], bytes]:
    """The sorted head of the reply without what differs each time, and its body."""
    reader, writer = await world.ingress.connect()
    writer.write(sent)
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)).split(b"\r\n")
    length = next(int(line.split(b":")[1]) for line in head if line.startswith(b"content-length"))
    body = await reader.readexactly(length)
    writer.close()
    return sorted(line for line in head if not line.startswith((b"date", b"x-restate-id"))), body


@pytest.mark.parametrize(
    ("path", "body", "more"),
    [
        (b"/Echo/say", b'"hi"', JSON),
        (b"/Echo/say/", b'"hi"', JSON),
        (b"/Echo/say", b'"hi"', JSON + b"origin: http://a.example\r\n"),
        (b"/Echo/say", b'"hi"', b""),
        (b"/Echo/say", b"17", JSON),
        (b"/Echo/fail", b"418", JSON),
        (b"/Counter/a%20b/key", b"null", JSON),
        (b"/Counter/add", b"1", JSON),
        (b"/Echo/none", b"1", JSON),
        (b"/Nobody/say", b"1", JSON),
        (b"/Hidden/say_it", b"1", JSON),
        (b"/Echo/secret", b"1", JSON),
        (b"/Echo/say", b'"hi"', JSON + b"x-restate-limit-key: a\r\n"),
        (b"/Signup/ann/run", b'"ann"', JSON + b"idempotency-key: a\r\n"),
        (b"/", b"1", JSON),
    ],
)
async def test_both_ways_give_the_same_reply(world: Any, path: bytes, body: bytes, more: bytes) -> None:
    assert await ask(world, whole(path, body, more)) == await ask(world, chunked(path, body, more))


async def test_a_call_has_no_task_and_replies_keep_their_order(world: Any) -> None:
    before = len(asyncio.all_tasks())
    reader, writer = await world.ingress.connect()
    writer.write(whole(b"/Echo/wait", b"", b"") + whole(b"/Echo/say", b'"second"'))
    awakeable = await world.told.first()
    assert len(asyncio.all_tasks()) <= before + 1  # this side's reader may have one
    await world.ingress.post(f"/restate/awakeables/{awakeable}/resolve", "first")
    received = b""
    while b'"second"' not in received:
        received += await asyncio.wait_for(reader.read(65536), 20)
    assert received.index(b'"first"') < received.index(b'"second"')
    writer.close()


async def test_a_body_in_portions_is_waited_for(world: Any) -> None:
    reader, writer = await world.ingress.connect()
    sent = whole(b"/Echo/say", b'"in portions"')
    for at in range(0, len(sent), 7):
        writer.write(sent[at : at + 7])
        await writer.drain()
    assert await asyncio.wait_for(reader.readuntil(b'"in portions"'), 20)
    writer.close()


class Keeps:
    """Takes every small request and keeps the answer for later."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.answers: list[Answer] = []
        self.bodies: list[bytes] = []

    def direct(self, url: bytes, headers: RawHeaders, body: bytes, answer: Answer) -> bool:
        self.answers.append(answer)
        self.bodies.append(body)
        self.asked.set()
        return True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_reply(send, 200, [], b"the other way")


async def kept(app: Keeps, sent: bytes) -> tuple[HttpServer, asyncio.StreamReader, asyncio.StreamWriter]:
    server = HttpServer(app, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*await server.start())
    writer.write(sent)
    await asyncio.wait_for(app.asked.wait(), 20)
    return server, reader, writer


async def test_a_stop_waits_for_the_answer() -> None:
    app = Keeps()
    server, reader, writer = await kept(app, whole(b"/a/b", b"1"))
    stopping = asyncio.ensure_future(server.stop(20))
    await asyncio.sleep(0)
    app.answers[0](200, [], b"late")
    assert (await asyncio.wait_for(reader.read(), 20)).endswith(b"\r\n\r\nlate")
    await stopping
    writer.close()


async def test_after_the_grace_of_a_stop_who_waits_is_told() -> None:
    app = Keeps()
    server, reader, writer = await kept(app, whole(b"/a/b", b"1"))
    await server.stop(0)
    answer = await asyncio.wait_for(reader.read(), 20)
    assert answer.startswith(b"HTTP/1.1 503 ") and b"the invocation goes on when it is back" in answer
    app.answers[0](200, [], b"too late")
    writer.close()


async def test_a_client_that_leaves_holds_nothing_up() -> None:
    app = Keeps()
    server, _, writer = await kept(app, whole(b"/a/b", b"1"))
    writer.close()
    await writer.wait_closed()
    await asyncio.wait_for(server.stop(60), 20)
    app.answers[0](200, [], b"to nobody")


async def test_a_header_that_http_cannot_carry_is_an_error_of_the_server() -> None:
    app = Keeps()
    server, reader, writer = await kept(app, whole(b"/a/b", b"1"))
    app.answers[0](200, [(b"content-type", b"a\r\nset-cookie: b")], b"body")
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
    assert answer.startswith(b"HTTP/1.1 500 ") and b"set-cookie" not in answer
    writer.close()
    await server.stop(0)


async def test_the_connection_closes_when_the_client_asked_for_it() -> None:
    app = Keeps()
    server, reader, writer = await kept(app, whole(b"/a/b", b"1", b"connection: close\r\n"))
    app.answers[0](200, [], b"bye")
    answer = await asyncio.wait_for(reader.read(), 20)
    assert b"connection: close\r\n" in answer and answer.endswith(b"bye")
    writer.close()
    await server.stop(0)


@pytest.mark.parametrize(
    "sent",
    [
        whole(b"/a/b", b"x" * 70_000),
        chunked(b"/a/b", b"1"),
        b"PUT /a/b HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n1",
        b"POST /a/b HTTP/1.0\r\nhost: x\r\ncontent-length: 1\r\n\r\n1",
    ],
    ids=["large", "chunked", "another method", "HTTP/1.0"],
)
async def test_what_is_not_offered(sent: bytes) -> None:
    app = Keeps()
    server = HttpServer(app, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*await server.start())
    writer.write(sent)
    assert await asyncio.wait_for(reader.readuntil(b"the other way"), 20)
    assert app.bodies == []
    writer.close()
    await server.stop(0)
