"""`H2Connection`: one HTTP/2 connection without TLS (prior knowledge), for clients that begin with its preface.

A connection of the server starts as HTTP/1.1 (`protocol.py`) and becomes this when its first bytes are the preface; the
same ASGI application answers. `h2` keeps the protocol's state.

What always holds: a request's body is read no faster than the application takes it, and a reply is sent no faster than its
client's windows allow; what one stream does wrong ends that stream, what a connection does wrong ends the connection;
the number of requests on a connection, those that were given up included, is bounded. Its place in the server (connections,
tasks, end) is that of uvicorn's protocols.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any, cast
from urllib.parse import unquote

from h2.config import H2Configuration
from h2.connection import H2Connection as H2State
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import Frame, GoAwayFrame
from uvicorn.server import ServerState

from perdure.http.asgi import URL_BYTES_MAX, App, Message, RawHeaders, send_reply, server_refusal
from perdure.invoker.remote.h2_state import PlainEncoder
from perdure.model.limits import KIB, MIB

STREAMS_MAX = 128
RUNNING_MAX = 4 * STREAMS_MAX
"""Requests on a connection, with those whose client has given up but which still run."""
STREAM_WINDOW_BYTES = 256 * KIB
CONNECTION_WINDOW_BYTES = 4 * MIB
HEAD_BYTES_MAX = 128 * KIB
"""Half of what HTTP/1.1 may have: to decompress this much takes a tenth of a second."""
UNSENT_BYTES_MAX = 64 * KIB
"""Of a reply that is sent in pieces, what may wait here before the application has to wait."""
FLUSH_BYTES = 128 * KIB
UNREAD_BYTES_MAX = 8 * MIB
"""A client that reads nothing, but makes us answer (to pings, settings), is cut off here."""
_DEFAULT_WINDOW = 65_535
_logger = logging.getLogger("perdure.http")


class _State(H2State):
    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[Event]]:
        """h2 would close at once; but a client that opens no further streams still waits for the ones it has."""
        return [], [ConnectionTerminated()]


class H2Connection(asyncio.Protocol):
    def __init__(self, app: App, server_state: ServerState, keep_alive_s: float, common: dict[str, Any]) -> None:
        """`common`: what the scopes of all its requests share (server, client, scheme, root path, …)."""
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._app = app
        self._server_state = server_state
        self._keep_alive_s = keep_alive_s
        self._common = common
        self._loop = asyncio.get_running_loop()
        self._requests: dict[int, _Request] = {}
        self._running = 0
        self._receiving = False
        self._socket_full = False
        self._draining = False
        self._closed = False
        self._idle: asyncio.TimerHandle | None = None
        self._h2 = _State(H2Configuration(client_side=False, header_encoding=None))
        self._h2.encoder = PlainEncoder()
        self._h2.decoder.max_header_list_size = HEAD_BYTES_MAX
        self._h2.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS_MAX,
                SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES,
                SettingCodes.MAX_HEADER_LIST_SIZE: HEAD_BYTES_MAX,
            },
        )

    # --- asyncio ----------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._server_state.connections.add(cast(Any, self))
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(CONNECTION_WINDOW_BYTES - _DEFAULT_WINDOW)
        self._write()
        self._rest()

    def data_received(self, data: bytes) -> None:
        if self._closed:
            return
        self._receiving = True
        try:
            for event in self._h2.receive_data(data):
                self._on_event(event)
        except ProtocolError:
            self._receiving = False
            self._close()  # what h2 has to say of it goes out first
            return
        finally:
            self._receiving = False
        self._write()

    def eof_received(self) -> None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        self._server_state.connections.discard(cast(Any, self))
        if self._idle is not None:
            self._idle.cancel()
        for request in list(self._requests.values()):
            request.client_gone()
        self._requests.clear()

    def pause_writing(self) -> None:
        self._socket_full = True

    def resume_writing(self) -> None:
        self._socket_full = False
        self._send_all()
        self._write()

    def shutdown(self) -> None:
        """No further requests; those under way are finished. (uvicorn's word for it.)"""
        if self._draining or self._closed:
            return
        self._draining = True
        goodbye = GoAwayFrame(stream_id=0, last_stream_id=self._h2.highest_inbound_stream_id)
        self._write()
        self.transport.write(goodbye.serialize())
        if not self._requests:
            self._close()

    # --- receiving --------------------------------------------------------------------------------------------------------

    def _on_event(self, event: Event) -> None:
        match event:
            case RequestReceived():
                self._on_request(event.stream_id or 0, cast(RawHeaders, event.headers or []))
            case DataReceived():
                request = self._requests.get(event.stream_id or 0)
                if request is not None:
                    request.on_data(event.data or b"", event.flow_controlled_length or 0)
                else:
                    self.acknowledge(event.stream_id or 0, event.flow_controlled_length or 0)
            case StreamEnded():
                if request := self._requests.get(event.stream_id or 0):
                    request.on_end()
            case StreamReset():
                if request := self._requests.pop(event.stream_id or 0, None):
                    request.client_gone()
                    self._released()
            case WindowUpdated() if event.stream_id:
                if request := self._requests.get(event.stream_id):
                    self.send(request)
            case ConnectionTerminated():
                self._draining = True
                self._released()
            case _:
                self._send_all()  # the connection's window, or new settings

    def _on_request(self, stream_id: int, headers: RawHeaders) -> None:
        if self._draining:
            self.reset(stream_id, ErrorCodes.REFUSED_STREAM)
            return
        if self._running >= RUNNING_MAX:
            self._h2.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
            self._close()
            return
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        request = self._requests[stream_id] = _Request(self, stream_id, _scope(headers, self._common))
        self._running += 1
        task = self._loop.create_task(request.run(self._app))
        self._server_state.total_requests += 1
        self._server_state.tasks.add(task)
        task.add_done_callback(self._ran)

    def _ran(self, task: asyncio.Task[None]) -> None:
        self._running -= 1
        self._server_state.tasks.discard(task)

    # --- for its requests -------------------------------------------------------------------------------------------------

    @property
    def default_headers(self) -> RawHeaders:
        return self._server_state.default_headers

    def acknowledge(self, stream_id: int, window: int) -> None:
        if window and not self._closed:
            try:
                self._h2.acknowledge_received_data(window, stream_id)
            except ProtocolError:
                pass  # the connection is at its end
            self._write()

    def respond(self, request: _Request, status: int, headers: RawHeaders, *, end: bool) -> None:
        if self._requests.get(request.stream_id) is not request:
            return
        fields = [(b":status", b"%d" % status), *headers]
        try:
            self._h2.send_headers(request.stream_id, fields, end_stream=end)
        except ProtocolError:
            # Reset by the client a moment ago, or headers that HTTP/2 cannot carry; then its compression is out of step.
            _logger.exception("a reply could not be sent")
            self._close()
            return
        if end:
            self._finished(request)
        self._write()

    def send(self, request: _Request) -> None:
        """As much of the reply as the windows and the socket take."""
        pending = 0
        while self._requests.get(request.stream_id) is request and not self._socket_full:
            try:
                room = min(self._h2.local_flow_control_window(request.stream_id), self._h2.max_outbound_frame_size)
                data, end = request.take(room)
                if not data and not end:
                    break
                self._h2.send_data(request.stream_id, data, end_stream=end)
            except ProtocolError:
                break  # reset by the client: the event lies behind the one that is being handled
            if end:
                self._finished(request)
            pending += len(data)
            if pending >= FLUSH_BYTES:
                self._write()
                pending = 0
        self._write()

    def reset(self, stream_id: int, code: ErrorCodes) -> None:
        self._requests.pop(stream_id, None)
        try:
            self._h2.reset_stream(stream_id, code)
        except ProtocolError:
            pass  # the client was first
        self._released()
        self._write()

    # --- inside -----------------------------------------------------------------------------------------------------------

    def _finished(self, request: _Request) -> None:
        if not request.received:
            self.reset(request.stream_id, ErrorCodes.NO_ERROR)  # the rest of the body is not wanted
            return
        del self._requests[request.stream_id]
        self._released()

    def _released(self) -> None:
        if self._requests or self._closed:
            return
        if self._draining:
            self._loop.call_soon(self._close)
        else:
            self._rest()

    def _rest(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = self._loop.call_later(self._keep_alive_s, self.shutdown)

    def _send_all(self) -> None:
        for request in list(self._requests.values()):
            self.send(request)

    def _write(self) -> None:
        if self._receiving or self._closed:
            return
        data = self._h2.data_to_send()
        if data:
            self.transport.write(data)
            if self.transport.get_write_buffer_size() > UNREAD_BYTES_MAX:
                self.transport.abort()

    def _close(self) -> None:
        if not self._closed:
            self.transport.write(self._h2.data_to_send())
            self._closed = True
            self.transport.close()
            for request in list(self._requests.values()):
                request.client_gone()
            self._requests.clear()


class _Request:
    """One stream, as its ASGI application sees it."""

    def __init__(self, connection: H2Connection, stream_id: int, scope: dict[str, Any]) -> None:
        self.stream_id = stream_id
        self.received = False
        """Its body is complete."""
        self._connection = connection
        self._scope = scope
        self._incoming: deque[tuple[bytes, int]] = deque()
        self._end_told = False
        self._gone = False
        self._status = 0
        self._headers: RawHeaders = []
        self._head_sent = False
        self._outgoing: deque[memoryview] = deque()
        self._unsent = 0
        self._complete = False
        """The application has said all of its reply."""
        self._changed = asyncio.Event()
        self._sent = asyncio.Event()

    async def run(self, app: App) -> None:
        try:
            if len(self._scope["raw_path"]) + len(self._scope["query_string"]) > URL_BYTES_MAX:
                await self._refuse(414, f"the path and query are longer than {URL_BYTES_MAX} bytes")
            elif self._scope["method"] == "CONNECT":
                await self._refuse(400, "there is nothing here to connect to")
            else:
                await app(self._scope, self._receive, self._send)
            if not self._complete and not self._gone:
                raise RuntimeError("the application returned without a whole reply")
        except Exception:
            _logger.exception("a request over HTTP/2 could not be answered")
            if self._status:
                self._connection.reset(self.stream_id, ErrorCodes.INTERNAL_ERROR)
            else:
                await self._refuse(500, "internal error")
        finally:
            self._gone = True
            self._let_go()

    # --- the connection's side --------------------------------------------------------------------------------------------

    def on_data(self, data: bytes, window: int) -> None:
        if self._gone or self._complete:
            self._connection.acknowledge(self.stream_id, window)
            return
        self._incoming.append((data, window))
        self._changed.set()

    def on_end(self) -> None:
        self.received = True
        self._changed.set()

    def client_gone(self) -> None:
        self._gone = True
        self._let_go()
        self._changed.set()
        self._sent.set()

    def take(self, count: int) -> tuple[bytes, bool]:
        """The next bytes of the reply, and whether they are the last."""
        if not self._head_sent:
            return b"", False
        taken: list[memoryview] = []
        while self._outgoing and count > 0:
            part = self._outgoing.popleft()
            if len(part) > count:
                self._outgoing.appendleft(part[count:])
                part = part[:count]
            count -= len(part)
            self._unsent -= len(part)
            taken.append(part)
        if self._unsent <= UNSENT_BYTES_MAX:
            self._sent.set()
        return b"".join(taken), self._complete and not self._outgoing

    # --- ASGI -------------------------------------------------------------------------------------------------------------

    async def _receive(self) -> Message:
        while not self._gone and not self._complete:
            if self._incoming:
                parts = [data for data, _ in self._incoming]
                self._let_go()
                self._end_told = self.received
                return {"type": "http.request", "body": b"".join(parts), "more_body": not self.received}
            if self.received and not self._end_told:
                self._end_told = True
                return {"type": "http.request", "body": b"", "more_body": False}
            self._changed.clear()
            await self._changed.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self._gone:
            return
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = [*self._connection.default_headers, *message.get("headers", [])]
            return
        body, self._complete = message.get("body", b""), not message.get("more_body", False)
        if self._scope["method"] == "HEAD":
            body = b""
        if body:
            self._outgoing.append(memoryview(body))
            self._unsent += len(body)
        if not self._head_sent:
            self._head_sent = True
            self._connection.respond(self, self._status, self._headers, end=self._complete and not body)
        self._connection.send(self)
        while self._unsent > (0 if self._complete else UNSENT_BYTES_MAX) and not self._gone:
            self._sent.clear()
            await self._sent.wait()

    async def _refuse(self, status: int, message: str) -> None:
        await send_reply(self._send, *server_refusal(status, message))

    def _let_go(self) -> None:
        """Open the windows again for what was read or is not wanted."""
        window = sum(window for _, window in self._incoming)
        self._incoming.clear()
        self._connection.acknowledge(self.stream_id, window)


def _scope(headers: RawHeaders, common: dict[str, Any]) -> dict[str, Any]:
    pseudo = {name: value for name, value in headers if name.startswith(b":")}
    fields = [(name, value) for name, value in headers if not name.startswith(b":")]
    if b":authority" in pseudo and not any(name == b"host" for name, _ in fields):
        fields.insert(0, (b"host", pseudo[b":authority"]))
    raw_path, _, query = pseudo.get(b":path", b"/").partition(b"?")
    return {
        **common,
        "type": "http",
        "http_version": "2",
        "method": pseudo[b":method"].decode("latin-1"),
        "path": unquote(raw_path.decode("latin-1")),
        "raw_path": raw_path,
        "query_string": query,
        "headers": fields,
    }
