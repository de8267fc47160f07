"""What a connection and its pool are to each other, and the bounds of both."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from perdure.invoker.remote.open_exchange import OpenExchange

RESPONSE_HEAD_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class Bounds:
    """Units end the names. The defaults are Restate's where it has the setting (docs/semantics.md)."""

    connect_s: float = 10.0
    """Name, TCP, TLS and the peer's first SETTINGS together."""
    ping_interval_s: float = 40.0
    """Without a byte from the peer for this long, while exchanges are open, it is asked whether it is still there."""
    ping_timeout_s: float = 20.0
    idle_s: float = 300.0
    """A connection without exchanges is closed after this."""
    streams_max: int = 128
    """Exchanges on one HTTP/2 connection, or what the peer allows if that is less."""
    requests_max: int = 1_000
    """On one HTTP/2 connection, over its life. hypercorn breaks the streams of a connection at its 1001st request."""
    connections_max: int = 1_000
    """To one origin; further exchanges wait for a free place."""
    stream_window_bytes: int = 512 * 1024
    """Of one response, what may wait here for a listener that does not read."""
    connection_window_bytes: int = 16 * 1024 * 1024


class Connection(Protocol):
    """One that is established. `start` only while there is `room`."""

    per_connection: int
    http_version: str
    closed: asyncio.Future[None]
    """The socket is gone."""

    @property
    def room(self) -> int: ...

    def start(self, exchange: OpenExchange) -> None: ...

    def close(self) -> None:
        """Break what is on it, and let go of it."""
        ...


class Owner(Protocol):
    """The pool, as a connection knows it."""

    def has_room(self) -> None: ...

    def start_again(self, exchange: OpenExchange) -> None: ...

    def gone(self, connection: Connection) -> None: ...
