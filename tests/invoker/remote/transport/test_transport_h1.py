"""Exchanges over HTTP/1.1: streamed both ways, one after the other on a connection, and what a server may do wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from perdure.invoker.remote.errors import ConnectionBroken, NotTheProtocol, ResponseTooLarge, Unreachable
from perdure.invoker.remote.exchange import Exchange, Listener
from perdure.invoker.remote.transport import Transport
from perdure.model.deployment import Deployment

from .peer import Recorder, saying

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
MakeTransport = Callable[..., Transport]
HEAD = b"HTTP/1.1 200 OK\r\n"


def begin(transport: Transport, uri: str, listener: Listener, *sent: bytes, end: bool = False) -> Exchange:
    exchange = transport.open(
        Deployment(id="dp_1", uri=uri, http_version="HTTP/1.1"), "invoke/Greeter/greet", {"x-a": "1"}, listener
    )
    for data in sent:
        exchange.send(data)
    if end:
        exchange.end()
    return exchange


async def answered(transport: Transport, uri: str) -> bytes:
    """What comes back to one small request."""
    listener = Recorder()
    begin(transport, uri, listener, b"x", end=True)
    return (await listener.end()).data


class Server:
    def __init__(self, port: int) -> None:
        self.uri = f"http://127.0.0.1:{port}/"
        self.connections = 0


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[Server]:
    """A server that a test writes byte by byte; `serve` is one connection."""
    errors: list[BaseException] = []
    under_way: set[asyncio.Task[None]] = set()

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        under_way.add(task)
        here.connections += 1
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        except BaseException as error:
            errors.append(error)
        finally:
            writer.close()
            under_way.discard(task)

    listening = await asyncio.start_server(guarded, "127.0.0.1", 0)
    here = Server(listening.sockets[0].getsockname()[1])
    try:
        yield here
    finally:
        listening.close()
        for task in list(under_way):
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
    assert errors == []


async def chunk(reader: asyncio.StreamReader) -> bytes:
    data = await reader.readexactly(int(await reader.readline(), 16))
    assert await reader.readline() == b"\r\n"
    return data


async def says_ok(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await reader.readuntil(b"0\r\n\r\n")
        writer.write(HEAD + b"content-length: 2\r\n\r\nok")


async def test_request_and_response_are_open_at_the_same_time(transport: Transport) -> None:
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\nX-B: 1\r\nx-b: 2\r\n\r\n")
        while data := await chunk(reader):
            writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        writer.write(b"0\r\nx-trailer: 1\r\n\r\n")
        await reader.read()

    async with serving(serve) as server:
        listener = Recorder()
        exchange = begin(transport, server.uri, listener)
        for turn in (b"one", b"two", b"three"):
            exchange.send(turn)
            await listener.until(lambda it, turn=turn: it.data.endswith(turn))  # type: ignore[misc]
        exchange.end()
        await listener.end()
        await transport.close()
    assert listener.data == b"onetwothree" and listener.headers["x-b"] == "1, 2"
    assert "x-trailer" not in listener.headers
    port = server.uri.split(":")[2].strip("/")
    assert heads[0].split(b"\r\n") == [
        b"POST /invoke/Greeter/greet HTTP/1.1",
        f"host: 127.0.0.1:{port}".encode(),
        b"x-a: 1",
        b"transfer-encoding: chunked",
        b"",
        b"",
    ]


async def test_a_connection_is_used_again_when_both_sides_are_done(transport: Transport) -> None:
    async with serving(says_ok) as server:
        for _ in range(3):
            assert await answered(transport, server.uri) == b"ok"
        assert server.connections == 1
        many = [Recorder() for _ in range(30)]
        for listener in many:
            begin(transport, server.uri, listener, b"x", end=True)
        for listener in many:
            await listener.end()
        assert 1 < server.connections <= 31


async def test_connections_are_bounded_and_the_rest_waits(make_transport: MakeTransport) -> None:
    transport = make_transport(connections_max=3)
    async with serving(says_ok) as server:
        many = [Recorder() for _ in range(20)]
        for listener in many:
            begin(transport, server.uri, listener, b"x", end=True)
        for listener in many:
            await listener.end()
    assert server.connections <= 3


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"content-length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 103 Early Hints\r\nx-c: 1\r\n\r\n" + HEAD + b"content-length: 2\r\n\r\nok", b"ok"),
        (HEAD + b"\r\nuntil the end", b"until the end"),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (HEAD + b"connection: close\r\ncontent-length: 2\r\n\r\nok", b"ok"),
    ],
)
async def test_ways_to_answer(transport: Transport, answer: bytes, body: bytes) -> None:
    async with saying(answer, then_close=True) as uri:
        for _ in range(2):
            listener = Recorder()
            begin(transport, uri, listener, b"x", end=True)
            await listener.end()
            assert listener.data == body and "x-c" not in listener.headers


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"SSH-2.0-OpenSSH\r\n", NotTheProtocol),
        (b"\0\0\x12\4\0\0\0\0\0", NotTheProtocol),
        (HEAD + b"content-length: 10\r\n\r\nshort", ConnectionBroken),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nshort", ConnectionBroken),
        (HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n", NotTheProtocol),
        (HEAD + b"content-length: 1\r\ncontent-length: 2\r\n\r\nxx", NotTheProtocol),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n", NotTheProtocol),
        (HEAD + b"x: y\r\n" * 20_000, NotTheProtocol),
        (b"", ConnectionBroken),
        (b"HTTP/1.1 20", ConnectionBroken),
    ],
)
async def test_what_breaks_an_exchange(transport: Transport, answer: bytes, error: type[Exception]) -> None:
    async with saying(answer, then_close=True) as uri:
        listener = Recorder()
        begin(transport, uri, listener, b"x", end=True)
        assert isinstance(await listener.broken(), error)


async def test_a_request_that_crosses_the_end_of_an_idle_connection_moves(transport: Transport) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"0\r\n\r\n")
        writer.write(HEAD + b"content-length: 2\r\n\r\nok")
        if server.connections == 1:
            await reader.read(1)  # the next request has begun when this connection ends

    async with serving(serve) as server:
        for _ in range(2):
            assert await answered(transport, server.uri) == b"ok"
    assert server.connections == 2


async def test_bytes_that_nobody_asked_for_end_the_connection(transport: Transport) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"0\r\n\r\n")
        writer.write(HEAD + b"content-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong")
        await reader.read()

    async with serving(serve) as server:
        for _ in range(2):
            assert await answered(transport, server.uri) == b"ok"
    assert server.connections == 2


async def test_a_response_before_the_end_of_the_request_costs_the_connection(transport: Transport) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + b"content-length: 2\r\n\r\nok")
        await reader.read()

    async with serving(serve) as server:
        for _ in range(2):
            listener = Recorder()
            exchange = begin(transport, server.uri, listener, b"never ended")
            assert (await listener.end()).data == b"ok"
            exchange.send(b"too late")
    assert server.connections == 2


async def test_abort_closes_the_connection(transport: Transport) -> None:
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        finally:
            gone.set()

    async with serving(serve) as server:
        listener = Recorder()
        exchange = begin(transport, server.uri, listener, b"x")
        while exchange.buffered:
            await asyncio.sleep(0)
        exchange.abort()
        async with asyncio.timeout(20):
            await gone.wait()
    assert listener.told == []


async def test_a_listener_that_pauses_holds_its_peer_back(transport: Transport) -> None:
    size, taken = 64 * 1024 * 1024, 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        await reader.readuntil(b"0\r\n\r\n")
        writer.write(HEAD + b"content-length: %d\r\n\r\n" % size)
        block = b"x" * 1_000_000
        while taken < size:
            writer.write(block[: size - taken])
            taken += len(block[: size - taken])
            await writer.drain()
            stuck.set()

    stuck = asyncio.Event()
    async with serving(serve) as server:
        listener = Recorder()
        exchange = begin(transport, server.uri, listener, b"x", end=True)
        await listener.until(lambda it: it.status == 200)
        exchange.pause_reading()
        read = len(listener.data)
        async with asyncio.timeout(20):
            while True:  # until the server could write nothing more for a while
                stuck.clear()
                try:
                    await asyncio.wait_for(stuck.wait(), 0.2)
                except TimeoutError:
                    break
        assert taken < size // 2 and len(listener.data) == read
        listener.data = b""
        exchange.resume_reading()
        await listener.until(lambda it: it.over or len(it.data) > 1_000_000)
        exchange.abort()


async def test_a_server_that_reads_slowly_holds_the_request_back(transport: Transport) -> None:
    go = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        await reader.readuntil(b"\r\n\r\n")
        total = 0
        while data := await chunk(reader):
            total += len(data)
        answer = str(total).encode()
        writer.write(HEAD + b"content-length: %d\r\n\r\n%b" % (len(answer), answer))

    size = 32 * 1024 * 1024
    async with serving(serve) as server:
        listener = Recorder()
        exchange = begin(transport, server.uri, listener, b"x" * size, end=True)
        while exchange.buffered == size:
            await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
        assert exchange.buffered > size // 4
        go.set()
        await listener.end()
    assert (exchange.buffered, listener.data) == (0, str(size).encode())


# --- whole responses --------------------------------------------------------------------------------------------------------


async def test_a_request_with_a_body_says_how_long_it_is(transport: Transport) -> None:
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for length in (0, 5):
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            await reader.readexactly(length)
            writer.write(b"HTTP/1.1 418 Teapot\r\ncontent-length: 3\r\n\r\nno!")
        await reader.read()

    async with serving(serve) as server:
        got = await transport.request(server.uri, "GET", "discover", {"accept": "x"}, http_version="HTTP/1.1")
        put = await transport.request(server.uri, "PUT", "/y", {}, b"12345", http_version="HTTP/1.1")
        await transport.close()
    assert (
        (got.status, got.body, got.http_version)
        == (418, b"no!", "HTTP/1.1")
        == (put.status, put.body, put.http_version)
    )
    assert heads[0].startswith(b"GET /discover HTTP/1.1\r\n") and b"content-length" not in heads[0]
    assert heads[1].startswith(b"PUT /y HTTP/1.1\r\n") and b"content-length: 5\r\n" in heads[1]


async def test_a_response_that_is_too_large(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.invoker.remote.transport.BODY_BYTES_MAX", 1000)
    async with saying(HEAD + b"content-length: 1001\r\n\r\n" + b"x" * 1001) as uri:
        with pytest.raises(ResponseTooLarge):
            await transport.request(uri, "GET", "", {}, http_version="HTTP/1.1")


async def test_a_server_that_does_not_answer(transport: Transport) -> None:
    async with saying(b"") as uri:
        with pytest.raises(Unreachable, match=r"within 0\.05 s"):
            await transport.request(uri, "GET", "", {}, http_version="HTTP/1.1", timeout_s=0.05)


async def test_a_connection_that_is_not_used_is_closed(make_transport: MakeTransport) -> None:
    transport = make_transport(idle_s=0.05)
    closed = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + b"content-length: 0\r\n\r\n")
        await reader.read()
        closed.set()

    async with serving(serve) as server, asyncio.timeout(20):
        await transport.request(server.uri, "GET", "", {}, http_version="HTTP/1.1")
        await closed.wait()
