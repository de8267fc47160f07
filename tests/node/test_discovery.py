"""Discovery of deployments: the official SDK's over both versions of HTTP, and what stands in the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import restate

from perdure.invoker.remote.transport import Transport
from perdure.node import discovery
from perdure.node.discovery import CannotStream, NotDiscovered, SpeaksHttp1, discover
from perdure.wire.discovery import MEDIA_TYPES, BadManifest

from ..invoker.remote.transport.peer import saying
from ..invoker.remote.transport.servers import hypercorn

MANIFEST = {"protocolMode": "BIDI_STREAM", "minProtocolVersion": 5, "maxProtocolVersion": 7, "services": []}


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    transport = Transport()
    yield transport
    await transport.close()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "PAUSES_S", (0.001,) * len(discovery.PAUSES_S))


class Scripted:
    """An ASGI app that answers with these statuses, one after the other (the last for ever), then with a manifest."""

    def __init__(self, *statuses: int, content_type: str = MEDIA_TYPES[3]) -> None:
        self.statuses = list(statuses)
        self.content_type = content_type
        self.asked: list[tuple[str, str, dict[str, str]]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.asked.append((scope["method"], scope["path"], headers))
        status = self.statuses.pop(0) if self.statuses else 200
        body = json.dumps(MANIFEST) if status == 200 else f"status {status}"
        fields = [(b"content-type", self.content_type.encode())]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": body.encode()})


@pytest.mark.parametrize(
    ("use_http_11", "http_version", "mode"),
    [(False, "HTTP/2.0", "BIDI_STREAM"), (True, "HTTP/1.1", "REQUEST_RESPONSE")],
)
async def test_the_official_sdk(transport: Transport, use_http_11: bool, http_version: str, mode: str) -> None:
    greeter = restate.Service("Greeter")

    @greeter.handler()
    async def greet(ctx: restate.Context, name: str) -> str:
        return name

    async with hypercorn(restate.app([greeter])) as uri:
        found = await discover(transport, uri, additional_headers={}, use_http_11=use_http_11)
    assert [service.name for service in found.services] == ["Greeter"]
    assert (found.http_version, found.protocol_mode) == (http_version, mode)
    assert found.bidirectional is (mode == "BIDI_STREAM")
    assert (found.min_protocol_version, found.max_protocol_version) == (5, 7)
    assert found.sdk_version is not None and found.sdk_version.startswith("restate-sdk-python/")


async def test_what_is_asked(transport: Transport) -> None:
    app = Scripted()
    async with hypercorn(app) as uri:
        await discover(transport, f"{uri}mounted/", additional_headers={"Authorization": "secret"})
    [(method, path, headers)] = app.asked
    assert (method, path) == ("GET", "/mounted/discover")
    assert headers["accept"] == ", ".join(MEDIA_TYPES)
    assert headers["authorization"] == "secret"


@pytest.mark.parametrize("status", sorted(discovery.RETRIED_STATUSES))
async def test_what_may_pass_is_tried_again(transport: Transport, status: int) -> None:
    app = Scripted(status, status)
    async with hypercorn(app) as uri:
        await discover(transport, uri, additional_headers={})
    assert len(app.asked) == 3


async def test_it_is_not_tried_for_ever(transport: Transport) -> None:
    app = Scripted(*[503] * 100)
    async with hypercorn(app) as uri:
        with pytest.raises(NotDiscovered, match="got status code '503': status 503"):
            await discover(transport, uri, additional_headers={})
    assert len(app.asked) == 5


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 415])
async def test_what_does_not_pass_is_not(transport: Transport, status: int) -> None:
    app = Scripted(status)
    async with hypercorn(app) as uri:
        with pytest.raises(NotDiscovered, match=f"status {status}") as refused:
            await discover(transport, uri, additional_headers={})
    assert len(app.asked) == 1 and (refused.value.code, refused.value.status) == ("META0003", 500)


async def test_a_deployment_that_is_just_starting_is_found(
    transport: Transport, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    monkeypatch.setattr(discovery, "PAUSES_S", (0.05,) * 100)
    address = f"http://127.0.0.1:{unused_tcp_port}/"
    asking = asyncio.create_task(discover(transport, address, additional_headers={}, use_http_11=True))
    body = json.dumps(MANIFEST).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (MEDIA_TYPES[0].encode(), len(body))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + body)
        writer.close()

    await asyncio.sleep(0)
    server = await asyncio.start_server(serve, "127.0.0.1", unused_tcp_port)
    assert (await asking).sdk_version is None
    server.close()


async def test_nobody_there(transport: Transport) -> None:
    async with saying(b"") as uri:
        pass
    with pytest.raises(NotDiscovered, match="cannot be reached") as refused:
        await discover(transport, uri, additional_headers={})
    assert refused.value.code == "META0003"


async def test_a_server_of_http1(transport: Transport) -> None:
    async with saying(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n") as uri:
        with pytest.raises(SpeaksHttp1, match="--use-http1") as refused:
            await discover(transport, uri, additional_headers={})
        assert refused.value.code == "META0014"


async def test_something_else_than_http(transport: Transport) -> None:
    async with saying(b"SSH-2.0-OpenSSH_9.2p1\r\n") as uri:
        with pytest.raises(NotDiscovered):
            await discover(transport, uri, additional_headers={}, use_http_11=True)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_streaming_both_ways_takes_http_1_1(transport: Transport, version: str) -> None:
    body = json.dumps(MANIFEST).encode()
    answer = f"HTTP/{version} 200 OK\r\ncontent-type: {MEDIA_TYPES[3]}\r\ncontent-length: {len(body)}\r\n\r\n"
    async with saying(answer.encode() + body, then_close=True) as uri:
        if version == "1.1":
            found = await discover(transport, uri, additional_headers={}, use_http_11=True)
            assert (found.http_version, found.bidirectional) == ("HTTP/1.1", True)
        else:
            with pytest.raises(CannotStream) as refused:
                await discover(transport, uri, additional_headers={}, use_http_11=True)
            assert refused.value.code == "META0015"


async def test_another_web_server(transport: Transport) -> None:
    async with hypercorn(Scripted(content_type="text/html")) as uri:
        with pytest.raises(BadManifest, match="'text/html'"):
            await discover(transport, uri, additional_headers={})
