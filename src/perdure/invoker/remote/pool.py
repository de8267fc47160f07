"""`Pool`: the connections to one origin, and the exchanges that wait for a place on one.

What always holds: an exchange starts on the first connection with room; while some wait, connections are being made, up to
the bound; when none can be made, those that wait fail. An exchange that no peer has processed goes to the front again.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import Literal, TypeAlias, cast

from perdure.invoker.remote.connection import Bounds, Connection
from perdure.invoker.remote.errors import (
    ConnectionBroken,
    NotTheProtocol,
    TransportClosed,
    TransportFailed,
    Unreachable,
)
from perdure.invoker.remote.h1_connection import H1Connection
from perdure.invoker.remote.h2_connection import H2Connection
from perdure.invoker.remote.head import Origin
from perdure.invoker.remote.open_exchange import OpenExchange

Protocols: TypeAlias = tuple[Literal["h2", "http/1.1"], ...]
"""What may be spoken, best first. Without TLS it is one: HTTP/2 with prior knowledge, or HTTP/1.1."""

CONNECTING_MAX = 16
"""Connections being made at once, where each can carry only one exchange."""


class Pool:
    def __init__(
        self,
        origin: Origin,
        protocols: Protocols,
        bounds: Bounds,
        tls: Callable[[Protocols], ssl.SSLContext],
        emptied: Callable[[], None],
    ) -> None:
        self._origin = origin
        self._protocols = protocols
        self._bounds = bounds
        self._tls = tls
        self._emptied = emptied
        self._loop = asyncio.get_running_loop()
        self._connections: list[Connection] = []
        self._waiting: deque[OpenExchange] = deque()
        self._making: set[asyncio.Task[None]] = set()
        self._per_connection = bounds.streams_max if protocols == ("h2",) else 1
        self._closed = False

    def start(self, exchange: OpenExchange) -> None:
        self._waiting.append(exchange)
        self._dispatch()

    async def close(self) -> None:
        self._closed = True
        for task in self._making:
            task.cancel()
        self._fail_waiting(TransportClosed())
        connections = list(self._connections)
        for connection in connections:
            connection.close()
        await asyncio.gather(*self._making, return_exceptions=True)
        if connections:
            await asyncio.wait([connection.closed for connection in connections], timeout=self._bounds.connect_s)

    # --- for its connections ----------------------------------------------------------------------------------------------

    def has_room(self) -> None:
        if self._waiting:
            self._loop.call_soon(self._dispatch)

    def start_again(self, exchange: OpenExchange) -> None:
        if self._closed:
            exchange.fail(TransportClosed())
            return
        self._waiting.appendleft(exchange)
        self._loop.call_soon(self._dispatch)

    def gone(self, connection: Connection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)
        self._loop.call_soon(self._dispatch)

    # --- inside -----------------------------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        while self._waiting:
            exchange = self._waiting[0]
            if exchange.over:
                self._waiting.popleft()
                continue
            connection = next((connection for connection in self._connections if connection.room), None)
            if connection is None:
                break
            self._waiting.popleft()
            connection.start(exchange)
        self._connect_more()
        if not self._waiting and not self._connections and not self._making:
            self._emptied()

    def _connect_more(self) -> None:
        at_once = 1 if self._per_connection > 1 else CONNECTING_MAX
        wanted = min(-(-len(self._waiting) // self._per_connection), at_once)
        room = self._bounds.connections_max - len(self._connections)
        for _ in range(min(wanted, room) - len(self._making)):
            task = self._loop.create_task(self._connect())
            self._making.add(task)
            task.add_done_callback(self._made)

    def _made(self, task: asyncio.Task[None]) -> None:
        self._making.discard(task)
        if not task.cancelled():
            task.result()
        self._dispatch()

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(self._bounds.connect_s):
                connection = await self._established()
        except TimeoutError:
            self._fail_waiting(self._unreachable(f"no connection within {self._bounds.connect_s:g} s"))
        except OSError as error:
            self._fail_waiting(self._unreachable(str(error)))
        except TransportFailed as error:
            self._fail_waiting(error)
        else:
            self._per_connection = connection.per_connection
            self._connections.append(connection)
            if not connection.room:
                self._fail_waiting(ConnectionBroken("the deployment allows no request on a new connection."))

    async def _established(self) -> Connection:
        connection: H2Connection | H1Connection
        if self._origin.secure:
            connection = await self._secure()
        elif self._protocols == ("h2",):
            connection = H2Connection(self, self._bounds, self._loop)
            await self._loop.create_connection(lambda: connection, self._origin.host, self._origin.port)
        else:
            connection = H1Connection(self, self._bounds, self._loop)
            await self._loop.create_connection(lambda: connection, self._origin.host, self._origin.port)
        if isinstance(connection, H2Connection):
            try:
                await connection.settled
            except BaseException:
                connection.close()
                raise
        return cast(Connection, connection)

    async def _secure(self) -> H2Connection | H1Connection:
        chosen = _ByAlpn(self, self._bounds, self._loop, self._protocols)
        transport, _ = await self._loop.create_connection(
            lambda: chosen,
            self._origin.host,
            self._origin.port,
            ssl=self._tls(self._protocols),
            server_hostname=self._origin.host,
        )
        if chosen.connection is None:
            transport.close()
            raise NotTheProtocol(f"{self._origin} agreed to no version of HTTP that is allowed for it.")
        return chosen.connection

    def _fail_waiting(self, error: TransportFailed) -> None:
        waiting, self._waiting = self._waiting, deque()
        for exchange in waiting:
            exchange.fail(error)

    def _unreachable(self, why: str) -> Unreachable:
        return Unreachable(
            f"{self._origin} cannot be reached: {why}.", "See that the deployment runs and listens there."
        )


class _ByAlpn(asyncio.Protocol):
    """Gives way to the connection of the version that was agreed on, before anything is read."""

    def __init__(self, pool: Pool, bounds: Bounds, loop: asyncio.AbstractEventLoop, protocols: Protocols) -> None:
        self.connection: H2Connection | H1Connection | None = None
        self._pool = pool
        self._bounds = bounds
        self._loop = loop
        self._protocols = protocols

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        agreed = transport.get_extra_info("ssl_object").selected_alpn_protocol() or "http/1.1"
        if agreed not in self._protocols:
            return
        make = H2Connection if agreed == "h2" else H1Connection
        self.connection = make(self._pool, self._bounds, self._loop)
        transport.set_protocol(self.connection)
        self.connection.connection_made(transport)
