"""HTTP/2 with prior knowledge on the port that also speaks HTTP/1.1: the same answers, its windows, and bad clients."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, Event, ResponseReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes
from hypothesis import given
from hypothesis import strategies as st

from perdure.http import h2 as server_h2
from perdure.http.server import HttpServer
from perdure.invoker.remote.h2_state import PlainEncoder
from perdure.invoker.remote.transport import Transport
from tests.invoker.remote.transport.test_fuzz import frames

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class H2Client:
    """One connection, driven by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.encoder = PlainEncoder()
        self.events: list[Event] = []
        self.closed = False
        self.reads = True
        self._reader, self._writer = reader, writer

    async def begin(self, **settings: int) -> H2Client:
        self.h2.initiate_connection()
        if settings:
            self.h2.update_settings({SettingCodes[name.upper()]: value for name, value in settings.items()})
        await self.flush()
        return self

    async def flush(self) -> None:
        self._writer.write(self.h2.data_to_send())
        await self._writer.drain()

    def send_headers(self, stream: int, method: str, path: str, *more: tuple[str, str], end: bool = True) -> None:
        fields = [(":method", method), (":scheme", "http"), (":authority", "test"), (":path", path), *more]
        self.h2.send_headers(stream, fields, end_stream=end)

    async def until(self, seen: Any) -> None:
        async with asyncio.timeout(20):
            while not seen(self):
                data = await self._reader.read(65_536)
                if not data:
                    self.closed = True
                    assert seen(self), "the server closed the connection"
                    return
                self.events += self.h2.receive_data(data)
                await self.flush()

    async def until_closed(self) -> None:
        await self.until(lambda it: it.closed)

    async def response(self, stream: int) -> tuple[int, bytes]:
        await self.until(lambda it: it.of(StreamEnded, stream))
        return self.status(stream), self.body(stream)

    def of(self, kind: type[Event], stream: int) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind) and event.stream_id == stream]  # type: ignore[attr-defined]

    def status(self, stream: int) -> int:
        return int(dict(self.of(ResponseReceived, stream)[0].headers)[":status"])

    def body(self, stream: int) -> bytes:
        return b"".join(event.data for event in self.of(DataReceived, stream))

    def close(self) -> None:
        self._writer.close()


@pytest.fixture
async def client(world: Any) -> AsyncIterator[H2Client]:
    client = H2Client(*await world.ingress.connect())
    yield client
    client.close()


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    transport = Transport()
    yield transport
    await transport.close()


def uri(world: Any) -> str:
    return f"http://{world.ingress.host}:{world.ingress.port}/"


async def post(transport: Transport, world: Any, path: str, value: object, **headers: str) -> Any:
    named = {"content-type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
    return await transport.request(uri(world), "POST", path, named, json.dumps(value).encode(), http_version="HTTP/2.0")


# --- the same answers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "Echo/say", b'"hi"'),
        ("POST", "Echo/say", b"{no json"),
        ("POST", "Echo/nothing", b""),
        ("POST", "Echo/fail", b"418"),
        ("POST", "Echo/fail", b"799"),
        ("POST", "Counter/k%2F1/key", b""),
        ("POST", "Echo/none", b"1"),
        ("GET", "restate/health", b""),
        ("GET", "nowhere", b""),
        ("OPTIONS", "Echo/say", b""),
    ],
)
async def test_it_answers_as_over_http1(transport: Transport, world: Any, method: str, path: str, body: bytes) -> None:
    headers = {"content-type": "application/json", "origin": "http://here"} if body else {}
    new = await transport.request(uri(world), method, path, headers, body, http_version="HTTP/2.0")
    old = await transport.request(uri(world), method, path, headers, body, http_version="HTTP/1.1")
    own = {"x-restate-id", "date"}
    assert (new.status, new.body, new.http_version) == (old.status, old.body, "HTTP/2.0")
    assert {name: value for name, value in new.headers.items() if name not in own} == {
        name: value for name, value in old.headers.items() if name not in own
    }


async def test_what_the_application_sees(transport: Transport) -> None:
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body", "body": b""})

    server = HttpServer(app, "127.0.0.1", 0)
    host, port = await server.start()
    response = await transport.request(f"http://{host}:{port}/", "PUT", "a%20b/%2F?c=d&e", {"x-a": "1"})
    await server.stop(1)
    (scope,) = scopes
    assert (scope["method"], scope["path"], scope["raw_path"]) == ("PUT", "/a b//", b"/a%20b/%2F")
    assert (scope["query_string"], scope["http_version"], scope["scheme"]) == (b"c=d&e", "2", "http")
    assert scope["headers"] == [(b"host", f"{host}:{port}".encode()), (b"x-a", b"1")]
    assert (scope["type"], scope["root_path"], scope["server"]) == ("http", "", (host, port))
    assert response.status == 200 and "connection" not in response.headers and "date" in response.headers


async def test_many_calls_share_a_connection(transport: Transport, world: Any) -> None:
    answers = await asyncio.gather(*(post(transport, world, "Counter/k/add", 1) for _ in range(50)))
    assert sorted(int(answer.body) for answer in answers) == list(range(1, 51))


async def test_a_preface_in_pieces(client: H2Client) -> None:
    client.h2.initiate_connection()
    data = client.h2.data_to_send()
    for at in range(30):
        client._writer.write(data[at : at + 1])
        await client._writer.drain()
        await asyncio.sleep(0)
    client._writer.write(data[30:])
    client.send_headers(1, "GET", "/restate/health")
    await client.flush()
    assert (await client.response(1))[0] == 200


async def test_a_request_of_http1_may_begin_like_a_preface(world: Any) -> None:
    reader, writer = await world.ingress.connect()
    for part in (b"P", b"UT /nowhere HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"):
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0)
    assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    writer.close()


@pytest.mark.slow
async def test_curl(world: Any) -> None:
    program = shutil.which("curl")
    if program is None:
        pytest.skip("curl is not installed")
    # One request: curl 7.88 cannot use such a connection a second time, whatever the server.
    command = (
        program,
        "-sS",
        "--http2-prior-knowledge",
        "-w",
        "%{http_version}",
        "-H",
        "content-type: application/json",
    )
    process = await asyncio.create_subprocess_exec(
        *command, "--data-binary", "@-", f"{uri(world)}Echo/say",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    body = json.dumps("x" * 90_000)
    out, _ = await process.communicate(body.encode())
    assert out.decode() == f"{body}2"


# --- bodies, windows, replies in pieces -------------------------------------------------------------------------------------


async def serving(app: Any) -> tuple[HttpServer, H2Client]:
    server = HttpServer(app, "127.0.0.1", 0)
    return server, H2Client(*await asyncio.open_connection(*await server.start()))


async def test_a_body_is_read_no_faster_than_the_application_takes_it() -> None:
    go, bodies = asyncio.Event(), b""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal bodies
        await go.wait()
        more = True
        while more:
            message = await receive()
            bodies += message["body"]
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d" % len(bodies)})

    server, client = await serving(app)
    await client.begin()
    await client.until(lambda it: it.h2.remote_settings.initial_window_size == server_h2.STREAM_WINDOW_BYTES)
    client.send_headers(1, "POST", "/", end=False)
    total = sent = 0
    while sent < 600_000:
        room = min(client.h2.local_flow_control_window(1), client.h2.max_outbound_frame_size, 600_000 - sent)
        if room:
            client.h2.send_data(1, b"x" * room)
            sent += room
            continue
        await client.flush()
        if not go.is_set():
            assert sent == server_h2.STREAM_WINDOW_BYTES
            go.set()
        total = sent
        await client.until(lambda it: it.h2.local_flow_control_window(1) > 0)
    client.h2.end_stream(1)
    await client.flush()
    assert (await client.response(1), total > 0) == ((200, b"600000"), True)
    client.close()
    await server.stop(1)


async def test_a_reply_waits_for_the_windows_of_its_client() -> None:
    pieces = [bytes((n,)) * 30_000 for n in range(10)]
    said = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal said
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            said += 1
        await send({"type": "http.response.body", "body": b"end"})

    server, client = await serving(app)
    await client.begin(initial_window_size=1000)
    client.send_headers(1, "GET", "/slow")
    await client.flush()
    await client.until(lambda it: len(it.body(1)) == 1000)
    assert said <= 3
    while not client.of(StreamEnded, 1):
        client.h2.increment_flow_control_window(50_000, 1)
        client.h2.increment_flow_control_window(50_000)
        await client.flush()
        before = len(client.body(1))
        await client.until(lambda it, before=before: it.of(StreamEnded, 1) or len(it.body(1)) > before)
    assert client.body(1) == b"".join(pieces) + b"end"
    client.close()
    await server.stop(1)


async def test_a_reply_before_the_end_of_the_body_asks_for_no_more(world: Any, client: H2Client) -> None:
    await client.begin()
    client.send_headers(1, "POST", "/nowhere", end=False)
    await client.flush()
    await client.until(lambda it: it.of(StreamReset, 1))
    assert client.status(1) == 400 and client.of(StreamReset, 1)[0].error_code == ErrorCodes.NO_ERROR
    client.send_headers(3, "GET", "/restate/health")
    await client.flush()
    assert (await client.response(3))[0] == 200


async def test_head_has_no_body(client: H2Client) -> None:
    await client.begin()
    client.send_headers(1, "HEAD", "/nowhere")
    await client.flush()
    assert await client.response(1) == (400, b"")


async def test_a_client_that_gives_up_is_noticed_and_the_call_goes_on(world: Any, client: H2Client) -> None:
    await client.begin()
    client.send_headers(1, "POST", "/Echo/wait")
    await client.flush()
    name = await world.told.first()
    client.h2.reset_stream(1, ErrorCodes.CANCEL)
    client.send_headers(
        3, "POST", f"/restate/awakeables/{name}/resolve", ("content-type", "application/json"), end=False
    )
    client.h2.send_data(3, b'"yes"', end_stream=True)
    await client.flush()
    assert (await client.response(3))[0] == 202


async def test_an_application_learns_that_its_client_is_gone_once_the_body_is_read() -> None:
    seen: list[str] = []
    read, gone = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(3):
            seen.append((await receive())["type"])
            read.set()
        gone.set()

    server, client = await serving(app)
    await client.begin()
    client.send_headers(1, "POST", "/")
    await client.flush()
    async with asyncio.timeout(20):
        await read.wait()
        client.h2.reset_stream(1, ErrorCodes.CANCEL)
        await client.flush()
        await gone.wait()
    assert seen == ["http.request", "http.disconnect", "http.disconnect"]
    client.close()
    await server.stop(1)


# --- bad clients ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense" * 10,
        b"\0\0\4\0\0\0\0\0\1data",
        b"\0\0\0\4\0\0\0\0\0" + b"\0\0\4\1\4\0\0\0\1\xff\xff\xff\xff",
        b"\0\0\0\4\0\0\0\0\0" + b"\0\0\1\1\5\0\0\0\2\x82",
    ],
)
async def test_garbage_closes_the_connection_and_nothing_else(world: Any, sent: bytes) -> None:
    before = world.stored()
    reader, writer = await world.ingress.connect()
    writer.write(PREFACE + sent)
    writer.write_eof()
    async with asyncio.timeout(20):
        await reader.read()
    writer.close()
    assert world.stored() == before
    assert (await world.ingress.post("/Echo/say", "on")).json() == "on"


@given(st.lists(frames(), max_size=12).map(b"".join), st.booleans())
def test_whatever_follows_the_preface_the_server_goes_on(sent: bytes, settings_first: bool) -> None:
    asyncio.run(survived(PREFACE + (b"\0\0\0\4\0\0\0\0\0" if settings_first else b"") + sent))


async def survived(sent: bytes) -> None:
    unhandled: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(str(context)))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 1000})

    server = HttpServer(app, "127.0.0.1", 0)
    host, port = await server.start()
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(sent)
    writer.write_eof()
    transport = Transport()
    response = await transport.request(f"http://{host}:{port}/", "POST", "", {}, b"body")
    await transport.close()
    try:
        async with asyncio.timeout(20):
            await reader.read()
    except ConnectionError:
        pass
    writer.close()
    await server.stop(1)
    assert (response.status, len(response.body), unhandled) == (200, 1000, [])


async def test_heads_are_bounded(client: H2Client) -> None:
    await client.begin()
    client.send_headers(1, "GET", "/" + "x" * 70_000)
    await client.flush()
    assert (await client.response(1))[0] == 414
    client.send_headers(3, "GET", "/?" + "x" * 70_000)
    await client.flush()
    assert (await client.response(3))[0] == 414
    client.send_headers(5, "GET", "/restate/health", *((f"x-{n}", "v" * 8000) for n in range(30)))
    await client.flush()
    await client.until_closed()


async def test_connect_leads_nowhere(client: H2Client) -> None:
    await client.begin()
    client.h2.send_headers(1, [(":method", "CONNECT"), (":authority", "a:80")])
    await client.flush()
    await client.until(lambda it: it.of(ResponseReceived, 1))
    assert client.status(1) == 400


async def test_streams_that_are_opened_and_reset_without_end_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_h2, "RUNNING_MAX", 20)
    never = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await never.wait()

    server, client = await serving(app)
    await client.begin()
    for stream in range(1, 80, 2):
        client.send_headers(stream, "GET", "/")
        client.h2.reset_stream(stream, ErrorCodes.CANCEL)
    await client.flush()
    await client.until_closed()
    (goodbye,) = [event for event in client.events if isinstance(event, ConnectionTerminated)]
    assert goodbye.error_code == ErrorCodes.ENHANCE_YOUR_CALM
    client.close()
    never.set()
    await server.stop(1)


async def test_an_application_that_fails() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/late":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
        if scope["path"] != "/silent":
            raise RuntimeError("a bug")

    server, client = await serving(app)
    await client.begin()
    for stream, path in ((1, "/early"), (3, "/silent"), (5, "/late")):
        client.send_headers(stream, "GET", path)
    await client.flush()
    assert (await client.response(1))[0] == 500
    assert (await client.response(3))[0] == 500
    await client.until(lambda it: it.of(StreamReset, 5))
    client.close()
    await server.stop(1)


async def test_a_head_that_cannot_be_sent_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b":path", b"/")]})
        await send({"type": "http.response.body"})

    server, client = await serving(app)
    await client.begin()
    client.send_headers(1, "GET", "/")
    await client.flush()
    await client.until_closed()
    client.close()
    await server.stop(1)
    assert [record.message for record in caplog.records] == ["a reply could not be sent"]


# --- the end ----------------------------------------------------------------------------------------------------------------


async def test_an_idle_connection_is_closed() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    server = HttpServer(app, "127.0.0.1", 0, keep_alive_s=cast(int, 0.1))
    client = H2Client(*await asyncio.open_connection(*await server.start()))
    await client.begin()
    await client.until_closed()
    assert any(isinstance(event, ConnectionTerminated) for event in client.events)
    client.close()
    await server.stop(1)


async def test_a_stop_lets_replies_go_out_and_takes_no_more() -> None:
    go, began = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        began.set()
        await go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    server, client = await serving(app)
    await client.begin()
    client.send_headers(1, "GET", "/")
    await client.flush()
    async with asyncio.timeout(20):
        await began.wait()
    stopping = asyncio.ensure_future(server.stop(10))
    data = await client._reader.read(65_536)
    while b"\0\0\x08\x07" not in data:  # h2 takes the goodbye for the end, so it is looked for in the bytes
        data += await client._reader.read(65_536)
    go.set()
    while b"done" not in data:
        data += await client._reader.read(65_536)
    assert await client._reader.read() == b""
    await stopping
    client.close()


async def test_a_stop_tells_those_who_still_wait(world: Any, transport: Transport) -> None:
    waiting = asyncio.ensure_future(transport.request(uri(world), "POST", "Echo/wait", {}))
    await world.told.first()
    await world.servers[0].stop(0.05)
    answer = await waiting
    assert (answer.status, json.loads(answer.body)["code"]) == (503, 503)
