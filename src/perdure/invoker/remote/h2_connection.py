"""`H2Connection`: many exchanges over one HTTP/2 connection. `h2` keeps the protocol's state; this file moves the bytes.

What always holds: a stream sends only into windows that are open, frame by frame, in turn with the other streams; a
response's window opens again only when its listener has taken the data; whatever the peer does, every exchange ends with
one `finish`, `fail` or `withdraw`, and no exception leaves a callback.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import cast

from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from hyperframe.frame import SettingsFrame

from perdure.invoker.remote.connection import Bounds, Connection, Owner
from perdure.invoker.remote.errors import (
    RETRIED,
    ConnectionBroken,
    NotTheProtocol,
    TransportClosed,
    TransportFailed,
    UnfitRequest,
)
from perdure.invoker.remote.h2_state import ClientState, code_name, list_size, request_fields, response_head
from perdure.invoker.remote.open_exchange import OpenExchange

FLUSH_BYTES = 128 * 1024
"""Handed to the socket at once, so that it can say in between that it is full."""
UNREAD_BYTES_MAX = 8 * 1024 * 1024
"""A peer that reads nothing, but makes us answer (to pings, settings), is cut off here."""
FAREWELL_S = 5.0
"""How long a closed connection may take to send what was written before."""
_DEFAULT_WINDOW = 65_535
_TYPE_AT = 3
"""Of a frame, where its type stands."""


class H2Connection(asyncio.Protocol):
    """Made for `loop.create_connection`; `settled` is done when the peer's settings are known."""

    http_version = "HTTP/2.0"

    def __init__(self, owner: Owner, bounds: Bounds, loop: asyncio.AbstractEventLoop) -> None:
        self.per_connection = bounds.streams_max
        self.settled: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._owner = owner
        self._bounds = bounds
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._h2 = ClientState(bounds.stream_window_bytes)
        self._streams: dict[int, _Stream] = {}
        self._ready: deque[_Stream] = deque()
        self._receiving = False
        self._socket_full = False
        self._draining = False
        self._lost: TransportFailed | None = None
        self._unacknowledged = 0
        self._read_at = loop.time()
        self._reads = 0
        self._greeting = b""
        self._ping: asyncio.TimerHandle | None = None
        self._asked = False
        self._idle: asyncio.TimerHandle | None = None
        self._abort: asyncio.TimerHandle | None = None

    # --- for the pool -----------------------------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        if self._draining or not self.settled.done():
            return 0
        allowed = min(self._bounds.streams_max, self._h2.remote_settings.max_concurrent_streams)
        return max(0, allowed - len(self._streams))

    def start(self, exchange: OpenExchange) -> None:
        fields = request_fields(exchange.head)
        size, most = list_size(fields), self._h2.remote_settings.max_header_list_size
        if most is not None and size > most:
            # It would end the connection, with all that others have on it.
            what = f"the request's headers have {size} bytes, and the deployment takes {most} bytes."
            exchange.fail(
                UnfitRequest(what, "Use a shorter key or fewer headers, or let the deployment's server take more.")
            )
            return
        stream_id = self._h2.get_next_available_stream_id()
        stream = _Stream(self, stream_id, exchange)
        stream.reads = self._reads
        stream.local_done = exchange.everything_sent
        try:
            self._h2.send_headers(stream_id, fields, end_stream=stream.local_done)
        except ProtocolError as error:
            self._drain()  # the header compression may be out of step now
            exchange.fail(UnfitRequest(f"the request cannot be sent: {error}.", "Check the deployment's headers."))
            return
        if stream_id > 2 * (self._bounds.requests_max - 1):
            self._draining = True
        self._streams[stream_id] = stream
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self._ping is None:
            self._ask_in(self._bounds.ping_interval_s)
        exchange.begin(stream, self.http_version)
        self.flush(stream)
        self._write()

    def close(self) -> None:
        self._break(TransportClosed())

    # --- for its streams --------------------------------------------------------------------------------------------------

    def flush(self, stream: _Stream) -> None:
        if not stream.queued and not stream.local_done and stream.exchange.wants_to_send:
            stream.queued = True
            self._ready.append(stream)
        if not self._receiving:
            self._send()

    def acknowledge(self, stream: _Stream, count: int) -> None:
        stream.unacknowledged += count
        if stream.unacknowledged < self._bounds.stream_window_bytes // 2 or stream.stream_id not in self._streams:
            return
        try:
            self._h2.increment_flow_control_window(stream.unacknowledged, stream.stream_id)
        except ProtocolError:
            return  # its end or reset has been read, and will be told next
        stream.unacknowledged = 0
        self._write()

    def abort(self, stream: _Stream, *, silent: bool) -> None:
        if self._streams.get(stream.stream_id) is stream:
            if silent:
                self._draining = True
            self._reset(stream)
            self._release(stream)
            self._write()

    # --- asyncio ----------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(self._bounds.connection_window_bytes - _DEFAULT_WINDOW)
        self._write()

    def data_received(self, data: bytes) -> None:
        if self._lost is not None:
            return
        self._reads += 1
        self._read_at = self._loop.time()
        if self._asked:
            self._asked = False
            self._ask_in(self._bounds.ping_interval_s)
        self._receiving = True
        try:
            self._check_greeting(data)
            for event in self._h2.receive_data(data):
                self._on_event(event)
        except ProtocolError as error:
            self._break(
                NotTheProtocol(
                    f"the deployment does not speak HTTP/2: {error}.",
                    "Serve it with HTTP/2, or register it for HTTP/1.1.",
                )
            )
        finally:
            self._receiving = False
        self._send()

    def eof_received(self) -> None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        why = f": {exc}" if exc else ""
        error = ConnectionBroken(f"the deployment closed the connection{why}.", RETRIED)
        self._withdraw_crossed(error.what)
        self._break(error)
        if self._abort is not None:
            self._abort.cancel()
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        self._socket_full = True

    def resume_writing(self) -> None:
        self._socket_full = False
        self._send()

    def _check_greeting(self, data: bytes) -> None:
        """A peer's first frame is its settings. h2 would wait for as many bytes as other bytes happen to announce."""
        if len(self._greeting) < _TYPE_AT + 1:
            self._greeting += data[: _TYPE_AT + 1]
            if len(self._greeting) > _TYPE_AT and self._greeting[_TYPE_AT] != SettingsFrame.type:
                raise ProtocolError("its first bytes are no settings")

    # --- receiving --------------------------------------------------------------------------------------------------------

    def _on_event(self, event: Event) -> None:
        match event:
            case DataReceived():
                self._on_data(event)
            case ResponseReceived():
                if stream := self._streams.get(event.stream_id):
                    status, headers = response_head(event.headers or [])
                    stream.exchange.respond(status, headers)
            case StreamEnded():
                if stream := self._streams.get(event.stream_id):
                    self._on_ended(stream)
            case StreamReset():
                if stream := self._streams.get(event.stream_id):
                    self._on_reset(stream, event.error_code)
            case WindowUpdated():
                if event.stream_id == 0:
                    self._flush_all()
                elif stream := self._streams.get(event.stream_id or 0):
                    self.flush(stream)
            case RemoteSettingsChanged():
                if not self.settled.done():
                    self.settled.set_result(None)
                    self._rest()
                self._flush_all()
                self._owner.has_room()
            case ConnectionTerminated():
                self._on_goaway(event.last_stream_id or 0, event.error_code)
            case _:
                pass  # informational responses, trailers, pings, priorities: nothing to do

    def _on_data(self, event: DataReceived) -> None:
        window = event.flow_controlled_length or 0
        self._unacknowledged += window
        if self._unacknowledged >= self._bounds.connection_window_bytes // 4:
            # At once, whoever reads slowly: his own stream's window holds him back, the others go on.
            self._h2.increment_flow_control_window(self._unacknowledged)
            self._unacknowledged = 0
        if stream := self._streams.get(event.stream_id):
            stream.exchange.receive(event.data or b"", window)

    def _on_ended(self, stream: _Stream) -> None:
        exchange = stream.exchange
        if not stream.local_done:
            self._complete(stream)
        self._release(stream)
        exchange.finish()

    def _on_reset(self, stream: _Stream, code: int | None) -> None:
        exchange = stream.exchange
        self._release(stream)
        if code == ErrorCodes.REFUSED_STREAM:
            self._withdraw(exchange, "the deployment refused the stream.")
        else:
            exchange.fail(ConnectionBroken(f"the deployment reset the stream ({code_name(code)}).", RETRIED))

    def _on_goaway(self, last_stream_id: int, code: int | None) -> None:
        self._draining = True
        above = [stream for stream_id, stream in self._streams.items() if stream_id > last_stream_id]
        for stream in above:
            self._release(stream)
        for stream in above:
            self._withdraw(stream.exchange, f"the deployment closes the connection ({code_name(code)}).")
        if not self._streams:
            self._drain()

    def _withdraw_crossed(self, reason: str) -> None:
        """A peer that closed a connection which had been idle, and said nothing since, has not seen what began meanwhile."""
        crossed = [stream for stream in self._streams.values() if stream.reads == self._reads and stream.stream_id > 1]
        for stream in crossed:
            del self._streams[stream.stream_id]
        self._draining = True
        for stream in crossed:
            self._withdraw(stream.exchange, reason)

    def _withdraw(self, exchange: OpenExchange, reason: str) -> None:
        if exchange.withdraw(reason):
            self._owner.start_again(exchange)

    # --- sending ----------------------------------------------------------------------------------------------------------

    def _send(self) -> None:
        """One frame of each stream in turn, as long as the windows and the socket take them."""
        pending = 0
        while self._ready and not self._socket_full and self._lost is None:
            stream = self._ready.popleft()
            stream.queued = False
            if self._streams.get(stream.stream_id) is not stream or stream.local_done:
                continue
            sent = self._send_frame(stream)
            if sent and stream.exchange.wants_to_send and not stream.local_done:
                stream.queued = True
                self._ready.append(stream)
            pending += sent
            if pending >= FLUSH_BYTES:
                self._write()
                pending = 0
        self._write()

    def _send_frame(self, stream: _Stream) -> int:
        exchange = stream.exchange
        try:
            room = min(self._h2.local_flow_control_window(stream.stream_id), self._h2.max_outbound_frame_size)
            data = exchange.take(room)
            if not data and not exchange.everything_sent:
                return 0  # a window update of the stream or of the connection comes back to it
            stream.local_done = exchange.everything_sent
            self._h2.send_data(stream.stream_id, data, end_stream=stream.local_done)
        except ProtocolError:
            return 0  # reset by the peer: the event lies behind the one that is being handled
        return len(data)

    def _write(self) -> None:
        if self._receiving or self._transport is None or self._lost is not None:
            return
        data = self._h2.data_to_send()
        if data:
            self._transport.write(data)
            if self._transport.get_write_buffer_size() > UNREAD_BYTES_MAX:
                self._break(ConnectionBroken("the deployment sends, but does not read.", RETRIED), unread=True)

    def _flush_all(self) -> None:
        for stream in self._streams.values():
            self.flush(stream)

    def _complete(self, stream: _Stream) -> None:
        """The response is there: end the request too, whatever of it the peer did not want."""
        try:
            if stream.exchange.buffered:
                self._h2.reset_stream(stream.stream_id, ErrorCodes.NO_ERROR)
            else:
                self._h2.end_stream(stream.stream_id)
        except ProtocolError:
            pass  # the peer has reset it

    def _reset(self, stream: _Stream) -> None:
        try:
            self._h2.reset_stream(stream.stream_id, ErrorCodes.CANCEL)
        except ProtocolError:
            pass  # the peer has reset it before

    # --- its life ---------------------------------------------------------------------------------------------------------

    def _release(self, stream: _Stream) -> None:
        del self._streams[stream.stream_id]
        if self._draining:
            if not self._streams:
                self._loop.call_soon(self._drain)
            return
        if not self._streams:
            self._rest()
        self._owner.has_room()

    def _rest(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = self._loop.call_later(self._bounds.idle_s, self._drain)

    def _drain(self) -> None:
        """No new streams; close when there are none."""
        self._draining = True
        if not self._streams:
            self._break(ConnectionBroken("the connection was not needed any more."))

    def _ask(self) -> None:
        """Of a peer that has been silent for long while exchanges are open: whether it is still there."""
        self._ping = None
        if not self._streams:
            return
        left = self._read_at + self._bounds.ping_interval_s - self._loop.time()
        if left > 0:
            self._ask_in(left)
            return
        self._asked = True
        self._h2.ping(b"perdure?")
        self._write()
        self._ping = self._loop.call_later(self._bounds.ping_timeout_s, self._no_answer)

    def _ask_in(self, seconds: float) -> None:
        if self._ping is not None:
            self._ping.cancel()
        self._ping = self._loop.call_later(seconds, self._ask)

    def _no_answer(self) -> None:
        waited = f"{self._bounds.ping_timeout_s:g} s"
        self._break(ConnectionBroken(f"the deployment did not answer a ping for {waited}.", RETRIED), unread=True)

    def _break(self, error: TransportFailed, *, unread: bool = False) -> None:
        """The end of the connection: everything on it ends. `unread`: the peer would not see a farewell."""
        if self._lost is not None:
            return
        if self._transport is not None and not self._transport.is_closing():
            if unread:
                self._transport.abort()
            else:
                self._part(self._transport)
        self._lost = error
        self._draining = True
        for timer in (self._ping, self._idle):
            if timer is not None:
                timer.cancel()
        streams, self._streams = list(self._streams.values()), {}
        self._ready.clear()
        self._owner.gone(cast(Connection, self))
        if not self.settled.done():
            self.settled.set_exception(error)
        for stream in streams:
            stream.exchange.fail(error)

    def _part(self, transport: asyncio.Transport) -> None:
        try:
            self._h2.close_connection()
        except ProtocolError:
            pass  # h2 has already written why it gives up
        transport.write(self._h2.data_to_send())
        transport.close()
        self._abort = self._loop.call_later(FAREWELL_S, transport.abort)


class _Stream:
    """The `Carrier` of one exchange."""

    __slots__ = (
        "connection",
        "exchange",
        "local_done",
        "queued",
        "reads",
        "stream_id",
        "unacknowledged",
    )

    def __init__(self, connection: H2Connection, stream_id: int, exchange: OpenExchange) -> None:
        self.connection = connection
        self.stream_id = stream_id
        self.exchange = exchange
        self.local_done = False
        self.queued = False
        self.unacknowledged = 0
        self.reads = 0
        """What the connection had read when it began, in pieces."""

    def flush(self) -> None:
        self.connection.flush(self)

    def acknowledge(self, count: int) -> None:
        self.connection.acknowledge(self, count)

    def set_reading(self, reading: bool) -> None:
        pass  # what is not acknowledged holds the peer back

    def abort(self, *, silent: bool) -> None:
        self.connection.abort(self, silent=silent)
