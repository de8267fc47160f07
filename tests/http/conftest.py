"""A real engine behind real sockets, and a client that shows exactly what came back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

import perdure
from perdure.http.admin.app import Admin
from perdure.http.ingress.app import Ingress
from perdure.http.server import HttpServer
from perdure.node.engine import Engine
from perdure.node.phase import Phase
from perdure.node.settings import EngineSettings

echo = perdure.Service("Echo", description="Says it back.", metadata={"team": "a"})
hidden = perdure.Service("Hidden", ingress_private=True)
counter = perdure.VirtualObject("Counter")
signup = perdure.Workflow("Signup")


class Told:
    """What handlers tell the test: ids of awakeables, and that they have started."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.changed = asyncio.Event()

    def tell(self, text: str) -> None:
        self.ids.append(text)
        self.changed.set()

    async def first(self) -> str:
        while not self.ids:
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 10)
        return self.ids[0]


told = Told()


@echo.handler()
async def say(ctx: perdure.Context, words: str) -> str:
    return words


@echo.handler(accept="application/octet-stream", content_type="application/octet-stream")
async def raw(ctx: perdure.Context, data: bytes) -> bytes:
    return data


@echo.handler()
async def nothing(ctx: perdure.Context) -> None:
    return None


@echo.handler()
async def headers(ctx: perdure.Context) -> list[list[str]]:
    return [[name, value] for name, value in ctx.request().headers.items()]


@echo.handler()
async def fail(ctx: perdure.Context, code: int) -> None:
    raise perdure.TerminalError("it cannot be done", status_code=code, metadata={"why": "because"})


@echo.handler()
async def wait(ctx: perdure.Context) -> str:
    name, answer = ctx.awakeable(type_hint=str)
    told.tell(name)
    return await answer


@echo.handler()
async def listen(ctx: perdure.Context) -> str:
    return await ctx.signal("word", type_hint=str)


@echo.handler(ingress_private=True)
async def secret(ctx: perdure.Context) -> None:
    return None


@hidden.handler()
async def say_it(ctx: perdure.Context) -> None:
    return None


@counter.handler()
async def add(ctx: perdure.ObjectContext, number: int) -> int:
    total = (await ctx.get("total", type_hint=int) or 0) + number
    ctx.set("total", total)
    return total


@counter.handler(kind="shared")
async def key(ctx: perdure.ObjectSharedContext) -> str:
    return ctx.key()


@signup.main()
async def run(ctx: perdure.WorkflowContext, name: str) -> str:
    return f"welcome {name}"


APP = perdure.app([echo, hidden, counter, signup])


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


async def read_answer(reader: asyncio.StreamReader, *, method: str = "GET") -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        assert name == name.lower()
        assert name not in headers, f"{name} is there twice"
        headers[name] = value
    length = 0 if method == "HEAD" else int(headers["content-length"])
    return Answer(int(first.split(" ")[1]), headers, await reader.readexactly(length))


class Client:
    """A connection per request, unless `connect` is used."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self.host, self.port)

    async def request(
        self, method: str, target: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        reader, writer = await self.connect()
        try:
            writer.write(request_bytes(method, target, body, headers))
            return await asyncio.wait_for(read_answer(reader, method=method), 20)
        finally:
            writer.close()

    async def get(self, target: str, **headers: str) -> Answer:
        return await self.request("GET", target, None, headers)

    async def post(self, target: str, value: object, **headers: str) -> Answer:
        """Post JSON; `_` in names of headers stands for `-`."""
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return await self.request(
            "POST", target, json.dumps(value).encode(), {"content-type": "application/json", **named}
        )


def request_bytes(method: str, target: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "host: test"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body is not None:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b"")


@dataclass
class World:
    engine: Engine
    ingress: Client
    admin: Client
    servers: list[HttpServer]
    told: Told

    def stored(self) -> int:
        """How many invocations were ever stored, and how many records."""
        return self.engine.stats()["applied_lsn"]

    async def start(self) -> None:
        await self.engine.start()
        await self.engine.log.sync()  # what a start writes by itself is no request's

    async def close(self) -> None:
        if self.engine.phase is Phase.READY:
            await self.engine.stop(grace_s=0)
        for server in self.servers:
            await server.stop(1)


async def new(settings: EngineSettings | None = None, **ingress: Any) -> World:
    told.ids.clear()
    told.changed = asyncio.Event()
    engine = Engine(settings or EngineSettings(), APP)
    servers = [
        HttpServer(Ingress(engine, **ingress), "127.0.0.1", 0),
        HttpServer(Admin(engine, ingress_url="http://here/"), "127.0.0.1", 0),
    ]
    clients = [Client(*await server.start()) for server in servers]
    return World(engine, clients[0], clients[1], servers, told)


@pytest.fixture
def new_world() -> Callable[..., Any]:
    """Make a world, which the test closes itself."""
    return new


@pytest.fixture
async def make_world() -> AsyncIterator[Callable[..., Any]]:
    """Make a world whose engine is not started yet; keyword arguments are those of the ingress."""
    made: list[World] = []

    async def make(settings: EngineSettings | None = None, **ingress: Any) -> World:
        made.append(await new(settings, **ingress))
        return made[-1]

    yield make
    for world in made:
        await world.close()


@pytest.fixture
async def world(make_world: Any) -> World:
    """A running one, with bodies of at most 100,000 bytes."""
    made: World = await make_world(EngineSettings(body_bytes_max=100_000), body_bytes_max=100_000)
    await made.start()
    return made
