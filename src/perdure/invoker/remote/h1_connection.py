"""`H1Connection`: one exchange after the other over HTTP/1.1; the request may go on while the response streams.

What always holds: a connection serves a further exchange only when the last one's request and response were both complete;
whatever the peer does, every exchange ends with one `finish` or `fail`, and no exception leaves a callback.
"""

from __future__ import annotations

import asyncio
from typing import cast

import httptools

from perdure.invoker.remote.connection import RESPONSE_HEAD_BYTES_MAX, Bounds, Connection, Owner
from perdure.invoker.remote.errors import RETRIED, ConnectionBroken, NotTheProtocol, TransportClosed, TransportFailed
from perdure.invoker.remote.head import RequestHead
from perdure.invoker.remote.open_exchange import OpenExchange

CHUNK_BYTES = 64 * 1024
_LAST_CHUNK = b"0\r\n\r\n"


class H1Connection(asyncio.Protocol):
    """Made for `loop.create_connection`."""

    http_version = "HTTP/1.1"
    per_connection = 1

    def __init__(self, owner: Owner, bounds: Bounds, loop: asyncio.AbstractEventLoop) -> None:
        self.closed: asyncio.Future[None] = loop.create_future()
        self._owner = owner
        self._bounds = bounds
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._exchange: OpenExchange | None = None
        self._lost: TransportFailed | None = None
        self._socket_full = False
        self._request_done = False
        self._served = False
        self._used_before = False
        self._idle: asyncio.TimerHandle | None = None
        self._headers: dict[str, str] = {}
        self._response_complete = False
        self._surplus = False
        self._begin_response()

    # --- for the pool -----------------------------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        return int(self._exchange is None and self._lost is None and self._transport is not None)

    def start(self, exchange: OpenExchange) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        self._exchange = exchange
        self._used_before = self._served
        self._served = True
        self._request_done = False
        self._begin_response()
        self._write(_head(exchange.head))
        exchange.begin(self, self.http_version)
        self.flush()

    def close(self) -> None:
        self._break(TransportClosed())

    # --- the carrier of its exchange --------------------------------------------------------------------------------------

    def flush(self) -> None:
        exchange = self._exchange
        if exchange is None or self._request_done:
            return
        chunked = exchange.head.content_length is None
        while not self._socket_full and (data := exchange.take(CHUNK_BYTES)):
            self._write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
        if exchange.everything_sent:
            self._request_done = True
            if chunked:
                self._write(_LAST_CHUNK)

    def acknowledge(self, count: int) -> None:
        pass  # TCP's own window is all there is

    def set_reading(self, reading: bool) -> None:
        if self._transport is not None and not self._transport.is_closing():
            if reading:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def abort(self, *, silent: bool) -> None:
        self._exchange = None
        self._break(ConnectionBroken("the exchange was given up."))

    # --- asyncio ----------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._rest()

    def data_received(self, data: bytes) -> None:
        if self._lost is not None:
            return
        if self._exchange is None:
            self._break(NotTheProtocol("the deployment sent something that nobody had asked for."))
            return
        self._answering = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            what = (
                "a response that is not HTTP/1.1"
                if isinstance(error, httptools.HttpParserError)
                else "another protocol"
            )
            self._break(NotTheProtocol(f"the deployment answers with {what}.", "Check what listens at its address."))
            return
        if not self._head_complete:
            self._head_bytes += len(data)
            if self._head_bytes > RESPONSE_HEAD_BYTES_MAX:
                self._break(NotTheProtocol(f"the response's headers are larger than {RESPONSE_HEAD_BYTES_MAX} bytes."))
        elif self._response_complete:
            self._finish(reusable=self._keep_alive and not self._surplus)

    def eof_received(self) -> None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None and self._head_complete and self._until_eof and self._exchange is not None:
            self._finish(reusable=False)
        why = f": {exc}" if exc else ""
        error = ConnectionBroken(f"the deployment closed the connection{why}.", RETRIED)
        if self._used_before and not self._answering and self._exchange is not None:
            # It was about to be closed while it was idle: that and the request have crossed.
            exchange, self._exchange = self._exchange, None
            if exchange.withdraw(error.what):
                self._owner.start_again(exchange)
        self._break(error)
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        self._socket_full = True

    def resume_writing(self) -> None:
        self._socket_full = False
        self.flush()

    # --- httptools --------------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._surplus = self._response_complete  # another response, which nobody has asked for

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_complete:
            return  # a trailer
        key, text = name.decode("latin-1").lower(), value.decode("utf-8", "replace")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        if self._surplus:
            return
        self._status = self._parser.get_status_code()
        if self._status < 200:
            return
        self._head_complete = True
        self._until_eof = "content-length" not in self._headers and "transfer-encoding" not in self._headers
        if self._exchange is not None:
            self._exchange.http_version = f"HTTP/{self._parser.get_http_version()}"
            self._exchange.respond(self._status, self._headers)

    def on_body(self, body: bytes) -> None:
        if self._exchange is not None and not self._surplus:
            self._exchange.receive(body, len(body))

    def on_message_complete(self) -> None:
        if self._status < 200:
            self._headers = {}  # an informational response: the real one follows
        elif not self._surplus:
            self._response_complete = True
            self._keep_alive = self._parser.should_keep_alive()

    # --- inside -----------------------------------------------------------------------------------------------------------

    def _begin_response(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._status = 0
        self._headers = {}
        self._head_bytes = 0
        self._head_complete = False
        self._until_eof = False
        self._response_complete = False
        self._answering = False
        self._keep_alive = False
        self._surplus = False

    def _finish(self, *, reusable: bool) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        reusable = reusable and self._request_done
        if reusable:
            if self._transport is not None:
                self._transport.resume_reading()
            self._rest()
        else:
            self._break(ConnectionBroken("the connection cannot be used again."))
        exchange.finish()
        if reusable:
            self._owner.has_room()

    def _rest(self) -> None:
        self._idle = self._loop.call_later(
            self._bounds.idle_s, self._break, ConnectionBroken("the connection was not needed any more.")
        )

    def _write(self, data: bytes) -> None:
        if self._transport is not None and self._lost is None:
            self._transport.write(data)

    def _break(self, error: TransportFailed) -> None:
        if self._lost is not None:
            return
        self._lost = error
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self._transport is not None:
            self._transport.abort()
        exchange, self._exchange = self._exchange, None
        self._owner.gone(cast(Connection, self))
        if exchange is not None:
            exchange.fail(error)


def _head(head: RequestHead) -> bytes:
    lines = [f"{head.method} {head.target} HTTP/1.1", f"host: {head.origin.authority}"]
    lines += [f"{name}: {value}" for name, value in head.headers]
    if head.content_length is None:
        lines.append("transfer-encoding: chunked")
    elif head.content_length or head.method not in ("GET", "HEAD"):
        lines.append(f"content-length: {head.content_length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
