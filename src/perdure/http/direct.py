"""Requests that are answered without a coroutine: read whole, begun in one call, answered in one write.

A call costs the server as much in tasks, events and messages between protocol and application as in the engine. So a
`Connection` first offers a small request, once it is complete, to the application's `direct`; what that does not take goes
the way of every ASGI request.

What always holds: at most one exchange is under way on a connection; replies leave in the order of the requests; whether a
request was taken makes no difference to what its client sees.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable

from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from perdure.http.asgi import STOPPING_MESSAGE, RawHeaders, server_refusal
from perdure.model.limits import KIB

BODY_BYTES_MAX = 64 * KIB
"""A larger body is read piece by piece, as the application asks for it."""

_BAD_NAME = re.compile(rb'[\x00-\x1f\x7f()<>@,;:\[\]={} \t\\"]')
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_LINES_MAX = 1024
_PER_REPLY = frozenset((b"x-restate-id", b"idempotency-expires"))
"""Different in every reply: not worth remembering."""
_logger = logging.getLogger("perdure.http")

STOPPING = server_refusal(503, STOPPING_MESSAGE, (b"retry-after", b"1"))
"""For who still waits when the grace of a stop is over."""

_lines: dict[tuple[bytes, bytes], bytes] = {}
"""Header lines that were checked before: most replies carry the same ones."""


class Event:
    """Stands where uvicorn's cycle has an `asyncio.Event`: nobody waits for it here."""

    __slots__ = ()

    def set(self) -> None:
        pass


_EVENT = Event()


class Exchange:
    """One request that was taken, until its reply has been written. In the connection it stands for uvicorn's cycle."""

    __slots__ = ("_default_headers", "_done", "_transport", "disconnected", "keep_alive", "response_complete")

    message_event = _EVENT
    more_body = False

    def __init__(
        self,
        transport: asyncio.Transport,
        default_headers: list[tuple[bytes, bytes]],
        keep_alive: bool,
        done: Callable[[Exchange], None],
    ) -> None:
        self._transport = transport
        self._default_headers = default_headers
        self._done = done
        self.keep_alive = keep_alive
        self.disconnected = False
        self.response_complete = False

    def answer(self, status: int, headers: RawHeaders, body: bytes) -> None:
        if self.response_complete:
            return
        self.response_complete = True
        if not self.disconnected:
            try:
                lines = [_line(header) for header in headers]
            except ValueError:
                _logger.exception("a reply could not be sent")
                status, lines, body = 500, [], b""
            end = (
                b"content-length: %d\r\n\r\n" if self.keep_alive else b"content-length: %d\r\nconnection: close\r\n\r\n"
            )
            default = [_line(header) for header in self._default_headers]
            self._transport.write(b"".join((STATUS_LINE[status], *default, *lines, end % len(body), body)))
            if not self.keep_alive:
                self._transport.close()
        self._done(self)


class State(ServerState):
    """A server's state, with the exchanges under way; `exchanged` is set whenever one has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.exchanges: set[Exchange] = set()
        self.exchanged = asyncio.Event()


def _line(header: tuple[bytes, bytes]) -> bytes:
    line = _lines.get(header)
    if line is None:
        name, value = header
        if _BAD_NAME.search(name) or _BAD_VALUE.search(value):
            raise ValueError(f"a reply has a header that HTTP cannot carry: {name!r}")
        line = b"%b: %b\r\n" % header
        if name not in _PER_REPLY:
            if len(_lines) >= _LINES_MAX:
                _lines.clear()
            _lines[header] = line
    return line
