"""The connections to one server: reused while they are fresh, bounded in number, one request on each at a time.

What always holds: a request that could have reached the server is never sent again from here, for it may have been accepted.
Whoever asks knows whether that would do harm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from perdure.client.address import Address
from perdure.client.connection import Connection, Response, open_connection
from perdure.client.errors import ConnectionLost, Unreachable

IDLE_S_MAX = 50.0
"""Servers of perdure close idle connections after 60 s: the client gives up first, so that it never writes to a closed one."""


class Pool:
    """Of one event loop at a time: connections of another are left to end with it.

    Units: `connect_timeout_s` is for opening a connection; how long an answer may take is the caller's business.
    """

    def __init__(self, address: Address, *, connections_max: int, connect_timeout_s: float) -> None:
        self.address = address
        self._connections_max = connections_max
        self._connect_timeout_s = connect_timeout_s
        self._idle: list[Connection] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._slots = asyncio.Semaphore(connections_max)

    async def request(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Response:
        """Errors: Unreachable, nothing was sent; ConnectionLost, it may have been accepted."""
        self._bind()
        async with self._slots:
            connection = self._fresh() or await self._open()
            try:
                response = await connection.request(method, path, headers, body)
            except OSError as error:
                raise ConnectionLost(
                    f"the connection to {self.address} ended before {method} {path} was answered ({_why(error)}).",
                    "It may have been accepted. Repeat it with the same idempotency key, or attach to the invocation.",
                ) from error
            finally:
                if not connection.reusable:
                    connection.close()
            if connection.reusable:
                connection.idle_since = asyncio.get_running_loop().time()
                self._idle.append(connection)
            return response

    async def close(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _bind(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            self._idle = []
            self._slots = asyncio.Semaphore(self._connections_max)

    def _fresh(self) -> Connection | None:
        now_s = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if not connection.stale and now_s - connection.idle_since < IDLE_S_MAX:
                return connection
            connection.close()
        return None

    async def _open(self) -> Connection:
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                return await open_connection(self.address)
        except TimeoutError as error:
            why = f"no connection within {self._connect_timeout_s:g} s"
            raise self._unreachable(why) from error
        except OSError as error:
            raise self._unreachable(_why(error)) from error

    def _unreachable(self, why: str) -> Unreachable:
        return Unreachable(
            f"there is no connection to {self.address}: {why}.",
            "Check that a server runs there; `perdure serve` listens on http://127.0.0.1:8080.",
        )


def _why(error: OSError) -> str:
    return str(error) or type(error).__name__
