"""`HttpServer` itself: ports, signals, the end."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import Any

import pytest

from perdure.http.asgi import Receive, Scope, Send, send_reply
from perdure.http.server import CannotListen, HttpServer


class Slow:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go = asyncio.Event()
        self.cancelled = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        await send_reply(send, 200, [], b"slow")


async def ask(host: str, port: int) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return answer


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
async def test_port_0_becomes_a_real_one(host: str) -> None:
    app = Slow()
    app.go.set()
    server = HttpServer(app, host, 0)
    bound, port = await server.start()
    assert port > 0
    assert bound in (host, "127.0.0.1")
    reader, writer = await asyncio.open_connection(bound, port)
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    assert (await reader.readuntil(b"slow")).startswith(b"HTTP/1.1 200 ")
    writer.close()
    await server.stop(0)


async def test_a_taken_port_is_an_error_that_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=rf"PD0511: cannot listen on 127.0.0.1:{port}: ") as error:
            await HttpServer(Slow(), "127.0.0.1", port).start()
        assert error.value.next_step


@pytest.mark.parametrize(
    ("host", "port", "next_step"),
    [
        ("127.0.0.1", 70_000, "Choose a port from 0"),
        ("nowhere.invalid", 0, "Name an address of this machine"),
        ("999.1.1.1", 0, "Name an address of this machine"),
        ("192.0.2.1", 0, "Name an address of this machine"),
    ],
)
async def test_an_address_that_is_none(host: str, port: int, next_step: str) -> None:
    with pytest.raises(CannotListen) as error:
        await HttpServer(Slow(), host, port).start()
    assert error.value.next_step.startswith(next_step)


async def test_replies_do_not_wait_for_acknowledgements(world: Any) -> None:
    """A reply is two writes: with Nagle's algorithm each took 40 ms on a connection that is kept alive."""
    reader, writer = await world.ingress.connect()
    began = asyncio.get_running_loop().time()
    for _ in range(50):
        writer.write(b"GET /restate/health HTTP/1.1\r\nhost: x\r\n\r\n")
        await reader.readuntil(b"}")
    assert asyncio.get_running_loop().time() - began < 50 * 0.03
    writer.close()


async def test_signals_stay_with_the_host_program() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    server = HttpServer(Slow(), "127.0.0.1", 0)
    await server.start()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    await server.stop(0)


async def test_a_stop_lets_replies_go_out_and_takes_no_more() -> None:
    app = Slow()
    server = HttpServer(app, "127.0.0.1", 0)
    address = await server.start()
    idle_reader, idle_writer = await asyncio.open_connection(*address)
    asking = asyncio.ensure_future(ask(*address))
    await app.asked.wait()
    stopping = asyncio.ensure_future(server.stop(10))
    assert await asyncio.wait_for(idle_reader.read(), 10) == b"", "an idle connection is closed at once"
    with pytest.raises(OSError):
        await asyncio.open_connection(*address)
    assert not stopping.done()
    app.go.set()
    answer = await asking
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer
    await asyncio.wait_for(stopping, 10)
    idle_writer.close()


async def test_a_grace_ends() -> None:
    app = Slow()
    server = HttpServer(app, "127.0.0.1", 0)
    address = await server.start()
    asking = asyncio.ensure_future(ask(*address))
    await app.asked.wait()
    await asyncio.wait_for(server.stop(0.05), 5)
    assert app.cancelled
    assert b"500" in (await asking)[:20]


async def test_nothing_is_left_behind() -> None:
    before = asyncio.all_tasks()
    server = HttpServer(Slow(), "127.0.0.1", 0)
    await server.start()
    await server.stop(0)
    await server.stop(0)
    assert asyncio.all_tasks() == before


async def test_a_call_that_waits_is_told_when_the_grace_ends(world: Any) -> None:
    call = asyncio.ensure_future(world.ingress.request("POST", "/Echo/wait"))
    await world.told.first()
    await world.servers[0].stop(0.05)
    answer = await call
    assert (answer.status, answer.json()["source"]) == (503, "ingress")
    assert world.engine.stats()["callers"] == 0
