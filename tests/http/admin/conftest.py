"""Engines behind real sockets, and services of the official Python SDK on hypercorn, as deployments for them."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import restate
from hypercorn.asyncio import serve
from hypercorn.config import Config

from perdure.http.admin.app import Admin
from perdure.http.ingress.app import Ingress
from perdure.http.server import HttpServer
from perdure.node.engine import Engine
from perdure.node.settings import EngineSettings


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Api:
    """One HTTP server, asked over a connection per request."""

    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    async def ask(
        self, method: str, target: str, value: object = None, headers: dict[str, str | None] | None = None
    ) -> Answer:
        """`value` is sent as JSON; bytes as they are. A header of None is not sent."""
        named: dict[str, str | None] = dict(headers or {})
        body = b""
        if value is not None:
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            named = {"content-type": "application/json", **named}
        lines = [f"{method} {target} HTTP/1.1", "host: test", "connection: close", f"content-length: {len(body)}"]
        lines += [f"{name}: {text}" for name, text in named.items() if text is not None]
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
            raw = await asyncio.wait_for(reader.read(), 30)
        finally:
            writer.close()
        head, _, rest = raw.partition(b"\r\n\r\n")
        first, *others = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(": ") for line in others)
        return Answer(int(first.split(" ")[1]), {name.lower(): text for name, _, text in pairs}, rest)

    async def get(self, target: str) -> Answer:
        return await self.ask("GET", target)

    async def post(self, target: str, value: object) -> Answer:
        return await self.ask("POST", target, value)

    async def patch(self, target: str, value: object = None) -> Answer:
        return await self.ask("PATCH", target, value)


@dataclass
class Server:
    engine: Engine
    ingress: Api
    admin: Api
    listeners: list[HttpServer]
    stopped: bool = False

    async def register(self, uri: str, **options: object) -> Any:
        answer = await self.admin.post("/deployments", {"uri": uri, **options})
        assert answer.status in (200, 201), answer.body
        return answer.json()

    async def stop(self) -> None:
        if not self.stopped:
            self.stopped = True
            await self.engine.stop(grace_s=1)
            for listener in self.listeners:
                await listener.stop(1)


async def start(data: Path | None = None, app: Any = None, settings: EngineSettings | None = None) -> Server:
    engine = Engine(settings or EngineSettings(data=data), app)
    admin = Admin(engine, ingress_url="http://here/")
    listeners = [HttpServer(Ingress(engine), "127.0.0.1", 0), HttpServer(admin, "127.0.0.1", 0)]
    apis = [Api(*await listener.start()) for listener in listeners]
    await engine.start()
    return Server(engine, apis[0], apis[1], listeners)


@pytest.fixture
async def start_server(deploy: Any) -> AsyncIterator[Callable[..., Any]]:
    """Start a server: `data`, `app` or `settings`. It is stopped at the end, before the deployments are."""
    started: list[Server] = []

    async def one(**arguments: Any) -> Server:
        started.append(await start(**arguments))
        return started[-1]

    yield one
    for server in started:
        await server.stop()


@pytest.fixture
async def server(start_server: Any) -> Server:
    """One without an app, in memory."""
    made: Server = await start_server()
    return made


@dataclass
class Deployed:
    """A deployment that runs. Another app may be put in the place of the one it serves."""

    uri: str
    app: Any
    requests: list[dict[str, str]] = field(default_factory=list)
    """The headers of each request that came."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self.requests.append({name.decode(): value.decode() for name, value in scope["headers"]})
        await self.app(scope, receive, send)


@pytest.fixture
async def deploy() -> AsyncIterator[Callable[..., Any]]:
    """Serve an app of the official SDK on a free port, as HTTP/2 and HTTP/1.1."""
    end = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    async def one(*services: Any) -> Deployed:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        deployed = Deployed(f"http://127.0.0.1:{listener.getsockname()[1]}", restate.app(list(services)))
        config = Config()
        config.bind = [f"fd://{listener.detach()}"]
        config.graceful_timeout = 0.2
        tasks.append(asyncio.ensure_future(serve(deployed, config, shutdown_trigger=end.wait)))
        return deployed

    yield one
    end.set()
    await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
