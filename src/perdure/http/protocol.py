"""One connection: uvicorn's httptools protocol for HTTP/1.1, with what it leaves open closed; HTTP/2 goes to `h2.py`.

What always holds: whatever is not HTTP is answered with a JSON 400 and the connection is closed; a head is bounded (431),
and so is what is read of a body that nobody wants any more; a reply that is under way is never mixed with another.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from perdure.http.asgi import URL_BYTES_MAX, App, Direct, server_refusal
from perdure.http.direct import BODY_BYTES_MAX as DIRECT_BODY_BYTES_MAX
from perdure.http.direct import Exchange, State
from perdure.model.limits import BODY_BYTES_MAX, KIB

HEAD_BYTES_MAX = 256 * KIB
"""Request line and headers."""
UNWANTED_BYTES_MAX = 2 * BODY_BYTES_MAX
"""How much of a body is read and thrown away, so that its sender gets to see the reply, before the connection is cut."""

# Restate's statuses and those of terminal errors go beyond the ones that uvicorn has lines for.
for _status in range(600, 1000):
    httptools_impl.STATUS_LINE.setdefault(_status, b"HTTP/1.1 %d \r\n" % _status)


_VERSIONS = ("1.1", "1.0")
_H2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""The first bytes of a client that speaks HTTP/2 without having asked; no request of HTTP/1.1 begins so."""
_LENGTH_DIGITS_MAX = 8


class NotHttp(Exception):
    """Seen from inside the parser, which turns it into its own kind of error."""


class Connection(HttpToolsProtocol):
    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config=config, server_state=server_state, app_state=app_state, _loop=_loop)
        self.access_log = False
        self.url = b""
        self._first: bytes | None = b""
        """What has come while it may still be HTTP/2's preface; None: it is not."""
        self._in_head = False
        self._head_bytes = 0
        self._unwanted_bytes = 0
        self._upgrading = False
        self._broken = False
        self._running: RequestResponseCycle | Exchange | None = None
        self._direct: Direct | None = getattr(config.app, "direct", None)
        self._state = server_state if isinstance(server_state, State) else State()
        self._length: bytes | None = None
        """Content-Length of the request that is being read, as it was sent; None: chunked, or no body."""
        self._body: bytes | None = None
        """What has come of a small request that is read whole before anything is done with it."""

    def data_received(self, data: bytes) -> None:
        if self._broken:
            return
        if self._first is not None:
            data = self._first + data
            if _H2_PREFACE.startswith(data[: len(_H2_PREFACE)]):
                self._first = data
                if len(data) >= len(_H2_PREFACE):
                    self._speak_h2(data)
                return
            self._first = None
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except httptools.HttpParserError:
            if len(self.url) > URL_BYTES_MAX:
                self._refuse(414, f"the path and query are longer than {URL_BYTES_MAX} bytes")
            else:
                self._refuse(400, "what was sent is not a request of HTTP/1.1")
            return
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refuse(431, f"the request line and headers are larger than {HEAD_BYTES_MAX} bytes")

    def _speak_h2(self, data: bytes) -> None:
        from perdure.http.h2 import H2Connection  # most servers are never asked in HTTP/2

        self.connections.discard(self)
        common = {
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": self.root_path,
            "state": self.app_state.copy(),
        }
        connection = H2Connection(cast(App, self.app), self.server_state, self.timeout_keep_alive, common)
        self.transport.set_protocol(connection)
        connection.connection_made(self.transport)
        connection.data_received(data)

    def _feed(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                # Offered (as Java's client and `curl --http2` do) and not taken. The parser takes what follows for another
                # protocol, even a body: so the request is read again by a new one, as if nothing had been offered.
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
                self._upgrading = False
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def _head_without_upgrade(self) -> bytes:
        head = [self.parser.get_method(), b" ", self.url, b" HTTP/", self.parser.get_http_version().encode(), b"\r\n"]
        for name, value in self.headers:
            if name == b"connection":
                value = b"close" if b"close" in value.lower() else b"keep-alive"
            if name not in (b"upgrade", b"http2-settings"):
                head += [name, b": ", value, b"\r\n"]
        return b"".join([*head, b"\r\n"])

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._length = None
        self._in_head = True
        self._head_bytes = 0
        self._unwanted_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self.headers.append((name, value))
        if name == b"content-length":
            self._length = value
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self.parser.get_http_version() not in _VERSIONS or self.parser.get_method() == b"CONNECT":
            raise NotHttp
        if self.parser.should_upgrade():
            self._upgrading = True
            return
        if self._direct is not None and self._is_small():
            self._body = b""
            return
        self._begin_cycle()

    def _is_small(self) -> bool:
        """A POST whose body may be waited for, on a connection where nothing else is under way."""
        length = self._length
        return (
            length is not None
            and len(length) <= _LENGTH_DIGITS_MAX
            and int(length) <= DIRECT_BODY_BYTES_MAX
            and not self.expect_100_continue
            and (self.cycle is None or self.cycle.response_complete)
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
        )

    def _begin_cycle(self) -> None:
        """What uvicorn does with a request whose head is complete."""
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, expect
        self.scope["headers"] = headers
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        if self._upgrading:
            return
        if self._body is None:
            super().on_message_complete()
            return
        body, self._body = self._body, None
        assert self._direct is not None
        exchange = Exchange(
            self.transport, self.server_state.default_headers, self.parser.should_keep_alive(), self._exchanged
        )
        before, self.cycle = self.cycle, exchange  # type: ignore[assignment]
        self._state.exchanges.add(exchange)
        if self._direct(self.url, self.headers, body, exchange.answer):
            self._running = exchange
        else:
            self._state.exchanges.discard(exchange)
            self.cycle = before
            self._begin_cycle()
            self.cycle.body += body
            super().on_message_complete()

    def _exchanged(self, exchange: Exchange) -> None:
        self._state.exchanges.discard(exchange)
        self._state.exchanged.set()
        self.on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(self.cycle, Exchange):
            self._state.exchanges.discard(self.cycle)
            self._state.exchanged.set()
        super().connection_lost(exc)

    def on_body(self, body: bytes) -> None:
        if self._body is not None:
            self._body += body
            return
        if not self.cycle.response_complete:
            super().on_body(body)
            return
        self._unwanted_bytes += len(body)
        if self._unwanted_bytes > UNWANTED_BYTES_MAX:
            self._close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _refuse(self, status: int, message: str) -> None:
        """Answer a request that cannot be read, after the replies to those before it, and close the connection."""
        self._broken = True
        last = self.cycle
        if last is not None and last.more_body:
            if last.response_complete:
                self._close()  # it has its reply already
                return
            last.disconnected = True
            last.message_event.set()
            if self.pipeline and self.pipeline[0][0] is last:
                self.pipeline.popleft()
        before = self.pipeline[0][0] if self.pipeline else self._running
        if before is not None and not before.disconnected and not before.response_complete:
            before.keep_alive = False
            return
        _, headers, body = server_refusal(status, message)
        headers += [(b"connection", b"close"), (b"content-length", b"%d" % len(body))]
        head = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(b"%b%b\r\n%b" % (httptools_impl.STATUS_LINE[status], head, body))
        self._close()

    def _close(self) -> None:
        self._broken = True
        self.transport.close()
