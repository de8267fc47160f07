"""A real engine against a deployment that says exactly what a test tells it, over real HTTP/2."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from h2.events import RequestReceived

from perdure.model import journal as j
from perdure.model.deployment import Deployment
from perdure.model.ids import format_ulid
from perdure.model.records import PutDeployment
from perdure.model.retry import RetryPolicy
from perdure.model.service import HandlerSpec, ServiceSpec
from perdure.model.target import HandlerKind, ServiceKind
from perdure.node.engine import Engine
from perdure.node.requests import Outcome
from perdure.node.settings import EngineSettings
from perdure.partition.invariants import check_partition
from perdure.store.rows import Invocation, Status
from perdure.wire import messages as m
from perdure.wire.commands import encode_command
from perdure.wire.framing import Frame, FrameDecoder, encode_frame
from perdure.wire.protobuf import decode, encode
from tests.invoker.remote.deployed import request
from tests.invoker.remote.transport.peer import Peer, PeerConnection, listening

PATIENCE_S = 20
END = encode_frame(m.Type.END, b"")


def control(kind: m.Type, message: Any, flags: int = 0) -> bytes:
    return encode_frame(kind, encode(message), flags)


def commands(*entries: j.Command, version: int = 6) -> bytes:
    return b"".join(encode_command(entry, version) for entry in entries)


def output(value: bytes = b'"done"') -> bytes:
    return commands(j.Output(value)) + END


def handler(name: str, kind: HandlerKind, **fields: Any) -> HandlerSpec:
    return HandlerSpec(name=name, kind=kind, **fields)


SERVICES = [
    ServiceSpec(name="Plain", kind=ServiceKind.SERVICE, handlers={"h": handler("h", HandlerKind.PLAIN)}),
    ServiceSpec(
        name="Object",
        kind=ServiceKind.VIRTUAL_OBJECT,
        handlers={
            "h": handler("h", HandlerKind.EXCLUSIVE),
            "shared": handler("shared", HandlerKind.SHARED),
        },
    ),
    ServiceSpec(
        name="Flow",
        kind=ServiceKind.WORKFLOW,
        handlers={"run": handler("run", HandlerKind.RUN), "shared": handler("shared", HandlerKind.SHARED)},
    ),
]


class Stream:
    """One attempt, as the deployment sees it."""

    def __init__(self, connection: PeerConnection, event: RequestReceived) -> None:
        self._connection = connection
        self.id = event.stream_id or 0
        self.headers = {str(name): str(value) for name, value in event.headers or ()}

    def frames(self) -> list[Frame]:
        return list(FrameDecoder().feed(self._connection.body(self.id)))

    async def start(self) -> m.Start:
        """Its Start, once all known entries are there."""
        await self.until(lambda: self.frames() and len(self.frames()) > self._start().known_entries)
        return self._start()

    def _start(self) -> m.Start:
        return decode(m.Start, self.frames()[0].payload)

    async def notified(self, count: int) -> list[Frame]:
        """The first `count` frames behind the known entries."""
        known = (await self.start()).known_entries + 1
        await self.until(lambda: len(self.frames()) >= known + count)
        return self.frames()[known : known + count]

    async def until(self, seen: Callable[[], object]) -> None:
        await self._connection.until(lambda _: bool(seen()))

    async def ended(self) -> None:
        await self._connection.ended(self.id)

    async def reset(self) -> None:
        await self._connection.reset(self.id)

    def accept(self, data: bytes = b"", *, version: int = 6, end: bool = False) -> None:
        content_type = f"application/vnd.restate.invocation.v{version}"
        self._connection.respond(self.id, ("content-type", content_type), data=data, end=end)

    def answer(self, status: str, *headers: tuple[str, str], end: bool = True) -> None:
        self._connection.h2.send_headers(self.id, [(":status", status), *headers], end_stream=end)
        self._connection.flush()

    def say(self, data: bytes, *, end: bool = False) -> None:
        for position in range(0, max(1, len(data)), 16_000):
            last = position + 16_000 >= len(data)
            self._connection.h2.send_data(self.id, data[position : position + 16_000], end_stream=end and last)
        self._connection.flush()


class Scripted:
    def __init__(self, engine: Engine, peer: Peer) -> None:
        self.engine = engine
        self.peer = peer
        self._seen: Counter[int] = Counter()
        self._registered = 0

    async def register(self, **fields: Any) -> Deployment:
        self._registered += 1
        deployment = Deployment(
            **{
                "id": format_ulid("dp", bytes(15) + bytes([self._registered])),
                "uri": self.peer.uri,
                "max_protocol_version": 7,
                "created_at_ms": self._registered,
                "services": SERVICES,
                "revisions": {service.name: self._registered for service in SERVICES},
            }
            | fields
        )
        await self.engine.applied(PutDeployment(0, self.engine.now_ms(), deployment))
        return deployment

    async def stream(self, connection: int = 0) -> Stream:
        """The next attempt that comes on this connection, counted in the order in which they were made."""
        taken = await self.peer.connection(connection)
        event = await taken.event(RequestReceived, self._seen[connection])
        self._seen[connection] += 1
        return Stream(taken, event)

    async def send(self, handler: str = "Plain/h", argument: object = "in", *, key: str | None = None) -> bytes:
        return (await self.engine.send(request(handler, argument, key))).invocation_id

    async def attach(self, invocation_id: bytes) -> Outcome:
        return await self.engine.attach(invocation_id)

    def row(self, invocation_id: bytes) -> Invocation:
        return self.engine.describe(invocation_id)[0]

    def journal(self, invocation_id: bytes) -> list[j.Entry]:
        return self.engine.describe(invocation_id)[1].entries

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0.002)

    async def failed(self, invocation_id: bytes) -> str:
        """The code of its first failure, once it has failed."""
        await self.until(lambda: self.row(invocation_id).last_error)
        error = self.row(invocation_id).last_error
        assert error is not None
        return error.doc_code

    async def until_status(self, invocation_id: bytes, status: Status) -> Invocation:
        await self.until(lambda: self.row(invocation_id).status is status)
        return self.row(invocation_id)


@asynccontextmanager
async def scripted(*, register: dict[str, Any] | None = None, **settings: Any) -> AsyncIterator[Scripted]:
    policy = RetryPolicy(initial_interval_ms=2, factor=1.0, max_attempts=5)
    defaults: dict[str, Any] = {"default_retry": policy, "dev": True, "loop_stall_ms": 0}
    async with listening() as peer:
        engine = Engine(EngineSettings(**defaults | settings), None)
        await engine.start()
        try:
            this = Scripted(engine, peer)
            await this.register(**register or {})
            yield this
            for tables in engine.store.tables:
                check_partition(tables, range(1, tables.meta.next_seq))
        finally:
            await engine.stop(grace_s=0)
