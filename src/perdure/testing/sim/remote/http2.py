"""A small HTTP/2 server for an ASGI application, as a worker has one: many requests on one connection, both ways at once.

What always holds: what it sends keeps to the windows of its peer; a request that it has not taken when it said goodbye gets
no answer, for its peer is to ask elsewhere. It knows nothing of what the application does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, cast
from urllib.parse import unquote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame

Message = MutableMapping[str, Any]
Application = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


class ServerConnection(asyncio.Protocol):
    """`failed` hears of an application that raises."""

    def __init__(
        self,
        application: Application,
        loop: asyncio.AbstractEventLoop,
        failed: Callable[[BaseException], None],
        *,
        streams_max: int,
        window_bytes: int,
    ) -> None:
        self.refuses = False
        """The next request is refused before it is looked at."""
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self.h2.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: streams_max,
                SettingCodes.INITIAL_WINDOW_SIZE: window_bytes,
            },
        )
        self.lost = False
        self.full = False
        self._application = application
        self._loop = loop
        self._failed = failed
        self._streams: dict[int, _Stream] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_taken: int | None = None
        """Of a connection that takes no more: the last request that it has taken."""

    def say_goodbye(self) -> None:
        """Take no new requests; those that were taken are finished. h2 would end the connection at once."""
        if self._last_taken is None and not self.lost:
            frame = GoAwayFrame(0)
            self._last_taken = frame.last_stream_id = self.h2.highest_inbound_stream_id
            self.flush()
            self._transport.write(frame.serialize())
            self._close_when_done()

    # --- asyncio ----------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.h2.initiate_connection()
        self.flush()

    def data_received(self, data: bytes) -> None:
        try:
            for event in self.h2.receive_data(data):
                self._on_event(event)
        except ProtocolError as error:
            self._failed(error)
            self._transport.abort()
            return
        self.flush()
        for stream in list(self._streams.values()):
            stream.changed.set()  # perhaps a window has opened

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        for stream in list(self._streams.values()):
            stream.leave()

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        for stream in list(self._streams.values()):
            stream.changed.set()

    def flush(self) -> None:
        if not self.lost:
            self._transport.write(self.h2.data_to_send())

    # --- requests ---------------------------------------------------------------------------------------------------------

    def _on_event(self, event: object) -> None:
        match event:
            case RequestReceived():
                self._begin(event.stream_id or 0, event.headers or [])
            case DataReceived():
                self.h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
                if stream := self._streams.get(event.stream_id or 0):
                    stream.take(event.data or b"")
            case StreamEnded():
                if stream := self._streams.get(event.stream_id or 0):
                    stream.take(None)
            case StreamReset():
                if stream := self._streams.get(event.stream_id or 0):
                    stream.leave()
            case ConnectionTerminated():
                self.connection_lost(None)
            case _:
                pass

    def _begin(self, stream_id: int, fields: Iterable[tuple[bytes, bytes]]) -> None:
        if self._last_taken is not None and stream_id > self._last_taken:
            return
        if self.refuses:
            self.refuses = False
            self._reset(stream_id, ErrorCodes.REFUSED_STREAM)
            return
        head = {bytes(name): bytes(value) for name, value in fields}
        scope = {
            "type": "http",
            "http_version": "2",
            "method": head[b":method"].decode(),
            "path": unquote(head[b":path"].decode()),
            "headers": [(name, value) for name, value in head.items() if not name.startswith(b":")],
        }
        stream = self._streams[stream_id] = _Stream(self, stream_id)
        task = self._loop.create_task(self._serve(stream, scope))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, stream: _Stream, scope: Message) -> None:
        try:
            await self._application(scope, stream.receive, stream.send)
        except Exception as error:
            self._failed(error)
        finally:
            del self._streams[stream.stream_id]
            if not (stream.gone or self.lost):
                self._reset(stream.stream_id, ErrorCodes.INTERNAL_ERROR)
                self.flush()
            self._close_when_done()

    def _reset(self, stream_id: int, code: ErrorCodes) -> None:
        with contextlib.suppress(ProtocolError):  # its peer has reset it before
            self.h2.reset_stream(stream_id, code)

    def _close_when_done(self) -> None:
        if self._last_taken is not None and not self._streams and not self.lost:
            self._transport.close()


class _Stream:
    """One request: what ASGI calls `receive` and `send`."""

    def __init__(self, connection: ServerConnection, stream_id: int) -> None:
        self.stream_id = stream_id
        self.gone = False
        """It was reset, lost, or its response is complete."""
        self.changed = asyncio.Event()
        self._connection = connection
        self._body: deque[bytes | None] = deque()

    def take(self, data: bytes | None) -> None:
        self._body.append(data)
        self.changed.set()

    def leave(self) -> None:
        self.gone = True
        self.changed.set()

    async def receive(self) -> Message:
        while True:
            if self.gone:
                return {"type": "http.disconnect"}
            if self._body:
                data = self._body.popleft()
                return {"type": "http.request", "body": data or b"", "more_body": data is not None}
            await self._change()

    async def send(self, message: Message) -> None:
        h2 = self._connection.h2
        if self.gone:
            return
        if message["type"] == "http.response.start":
            h2.send_headers(self.stream_id, [(b":status", str(message["status"]).encode()), *message["headers"]])
        else:
            await self._send_data(memoryview(message.get("body", b"")))
            if not (self.gone or message.get("more_body")):
                h2.end_stream(self.stream_id)
                self.leave()
        self._connection.flush()

    async def _send_data(self, data: memoryview) -> None:
        connection = self._connection
        while data and not self.gone:
            h2 = connection.h2
            room = min(h2.local_flow_control_window(self.stream_id), h2.max_outbound_frame_size, len(data))
            if room <= 0 or connection.full:
                await self._change()
                continue
            h2.send_data(self.stream_id, bytes(data[:room]))
            connection.flush()
            data = data[room:]

    async def _change(self) -> None:
        self.changed.clear()
        await self.changed.wait()
