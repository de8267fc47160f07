"""One HTTP/1.1 connection: uvicorn's httptools protocol, with what it leaves open closed.

What always holds: whatever is not HTTP is answered with a JSON 400 and the connection is closed; a head is bounded (431),
and so is what is read of a body that nobody wants any more; a reply that is under way is never mixed with another.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
import msgspec
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from perdure.model.limits import BODY_BYTES_MAX, KIB

HEAD_BYTES_MAX = 256 * KIB
"""Request line and headers."""
URL_BYTES_MAX = 65_535
"""Path and query: what the parser can count."""
UNWANTED_BYTES_MAX = 2 * BODY_BYTES_MAX
"""How much of a body is read and thrown away, so that its sender gets to see the reply, before the connection is cut."""

# Restate's statuses and those of terminal errors go beyond the ones that uvicorn has lines for.
for _status in range(600, 1000):
    httptools_impl.STATUS_LINE.setdefault(_status, b"HTTP/1.1 %d \r\n" % _status)


_VERSIONS = ("1.1", "1.0")


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
        self._in_head = False
        self._head_bytes = 0
        self._unwanted_bytes = 0
        self._upgrading = False
        self._broken = False
        self._running: RequestResponseCycle | None = None

    def data_received(self, data: bytes) -> None:
        if self._broken:
            return
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
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0
        self._unwanted_bytes = 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self.parser.get_http_version() not in _VERSIONS or self.parser.get_method() == b"CONNECT":
            raise NotHttp
        if self.parser.should_upgrade():
            self._upgrading = True
            return
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        if not self._upgrading:
            super().on_message_complete()

    def on_body(self, body: bytes) -> None:
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
        body = msgspec.json.encode({"code": status, "message": message, "source": "ingress"})
        head = (
            b"content-type: application/json\r\nx-restate-error-source: ingress\r\n"
            b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        )
        self.transport.write(httptools_impl.STATUS_LINE[status] + head + body)
        self._close()

    def _close(self) -> None:
        self._broken = True
        self.transport.close()
