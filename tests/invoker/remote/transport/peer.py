"""A server built on `h2` that does what a test tells it, and a listener that notes what it was told."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar, cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RequestReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes, Settings

from perdure.invoker.remote.errors import TransportFailed

E = TypeVar("E", bound=Event)


class Recorder:
    """A `Listener`."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.data = b""
        self.ended = False
        self.error: TransportFailed | None = None
        self.told: list[str] = []
        self._changed = asyncio.Event()

    @property
    def over(self) -> bool:
        return self.ended or self.error is not None

    def on_response(self, status: int, headers: Mapping[str, str]) -> None:
        self.status, self.headers = status, headers
        self._note("response")

    def on_data(self, data: bytes) -> None:
        self.data += data
        self._note("data")

    def on_end(self) -> None:
        self.ended = True
        self._note("end")

    def on_broken(self, error: TransportFailed) -> None:
        self.error = error
        self._note("broken")

    def _note(self, what: str) -> None:
        self.told.append(what)
        self._changed.set()

    async def until(self, seen: Callable[[Recorder], bool]) -> Recorder:
        async with asyncio.timeout(20):
            while not seen(self):
                self._changed.clear()
                await self._changed.wait()
        return self

    async def end(self) -> Recorder:
        await self.until(lambda self: self.over)
        assert self.error is None, self.error
        return self

    async def broken(self) -> TransportFailed:
        await self.until(lambda self: self.over)
        assert self.error is not None
        return self.error


class PeerConnection(asyncio.Protocol):
    """One connection that the peer has accepted; `h2` is its state, to be used at will, then `flush`."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.local_settings = Settings(client=False, initial_values=dict(peer.settings))
        self.events: list[Event] = []
        self.lost = False
        self.deaf = False
        self._changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._peer.connections.append(self)
        self._peer.changed.set()
        if self._peer.greets:
            self.h2.initiate_connection()
            self.flush()

    def data_received(self, data: bytes) -> None:
        if self.deaf or not self._peer.greets:
            return
        events = self.h2.receive_data(data)
        self.events += events
        for event in events:
            if isinstance(event, DataReceived) and self._peer.takes_data:
                self.h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
        self.flush()
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._changed.set()

    def flush(self) -> None:
        self.transport.write(self.h2.data_to_send())

    # --- what a test does -------------------------------------------------------------------------------------------------

    def respond(self, stream_id: int, *fields: tuple[str, str], data: bytes = b"", end: bool = True) -> None:
        self.h2.send_headers(stream_id, [(":status", "200"), *fields])
        if data or end:
            self.h2.send_data(stream_id, data, end_stream=end)
        self.flush()

    def body(self, stream_id: int) -> bytes:
        return b"".join(
            event.data or b""
            for event in self.events
            if isinstance(event, DataReceived) and event.stream_id == stream_id
        )

    async def until(self, seen: Callable[[PeerConnection], bool]) -> None:
        async with asyncio.timeout(20):
            while not seen(self):
                self._changed.clear()
                await self._changed.wait()

    async def event(self, kind: type[E], number: int = 0) -> E:
        """The `number`th event of its kind, once it is there."""
        await self.until(lambda self: len(self.all(kind)) > number)
        return self.all(kind)[number]

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    async def request(self, number: int = 0) -> int:
        """Its stream."""
        return (await self.event(RequestReceived, number)).stream_id or 0

    async def ended(self, stream_id: int) -> None:
        await self.until(lambda self: any(event.stream_id == stream_id for event in self.all(StreamEnded)))

    async def reset(self, stream_id: int) -> None:
        await self.until(lambda self: any(event.stream_id == stream_id for event in self.all(StreamReset)))


class Peer:
    def __init__(self, settings: Mapping[SettingCodes, int], *, takes_data: bool, greets: bool) -> None:
        self.settings = settings
        self.takes_data = takes_data
        self.greets = greets
        self.connections: list[PeerConnection] = []
        self.changed = asyncio.Event()
        self.port = 0

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def connection(self, number: int = 0) -> PeerConnection:
        async with asyncio.timeout(20):
            while len(self.connections) <= number:
                self.changed.clear()
                await self.changed.wait()
        return self.connections[number]


@asynccontextmanager
async def listening(
    settings: Mapping[SettingCodes, int] | None = None,
    *,
    takes_data: bool = True,
    greets: bool = True,
    port: int = 0,
    receive_buffer_bytes: int | None = None,
) -> AsyncIterator[Peer]:
    """`greets` False: it takes connections and says nothing. `takes_data` False: windows stay as they are."""
    peer = Peer(settings or {}, takes_data=takes_data, greets=greets)
    listener = socket.create_server(("127.0.0.1", port))
    if receive_buffer_bytes is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    server = await asyncio.get_running_loop().create_server(lambda: PeerConnection(peer), sock=listener)
    peer.port = listener.getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
        for connection in peer.connections:
            connection.transport.abort()
        await asyncio.sleep(0)


@asynccontextmanager
async def saying(answer: bytes, *, then_close: bool = False) -> AsyncIterator[str]:
    """A server that answers the first bytes of each connection with these, whatever was asked. Gives its address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        if then_close:
            writer.close()
        else:
            writers.append(writer)

    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        for writer in writers:
            writer.close()
