"""`PostgresServer`: the PostgreSQL wire on a port, in the event loop that is running already."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets

from perdure.http.query.postgres import protocol as p
from perdure.http.query.postgres.catalog import Catalog
from perdure.http.query.postgres.connection import Connection
from perdure.http.query.queries import Queries
from perdure.http.server import CannotListen, next_step_after

CONNECTIONS_MAX = 64
STARTUP_WITHIN_S = 10.0
_logger = logging.getLogger("perdure.postgres")


class PostgresServer:
    """Serve at `host`:`port` (0: any free port)."""

    def __init__(self, queries: Queries, host: str, port: int) -> None:
        self._queries = queries
        self._host = host
        self._port = port
        self._catalog: Catalog | None = None
        self._server: asyncio.Server | None = None
        self._connections: dict[int, tuple[int, Connection]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_process = 0

    async def start(self) -> tuple[str, int]:
        """Open the port. Returns the address that it has. Errors: CannotListen."""
        try:
            self._server = await asyncio.start_server(self._accept, self._host, self._port)
        except OSError as error:
            raise CannotListen(
                f"cannot listen on {self._host}:{self._port}: {error.strerror or error}.", next_step_after(error)
            ) from error
        self._host, self._port = self._server.sockets[0].getsockname()[:2]
        return self._host, self._port

    async def stop(self) -> None:
        """Close all connections; statements under way are stopped. Idempotent."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            pass  # the client has gone
        except p.ProtocolViolation as why:
            writer.write(p.error("FATAL", "08P01", str(why)))
        except asyncio.CancelledError:
            writer.write(p.error("FATAL", "57P01", "the server stops"))
        except Exception:
            _logger.exception("a connection failed")
            writer.write(p.error("FATAL", "XX000", "the server failed; its log says more"))
        finally:
            self._tasks.discard(task)
            with contextlib.suppress(ConnectionError):
                writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(STARTUP_WITHIN_S):
            begun = await self._begin(reader, writer)
        if begun is None:
            return
        if len(self._connections) >= CONNECTIONS_MAX:
            writer.write(p.error("FATAL", "53300", f"there are {CONNECTIONS_MAX} connections already"))
            return
        self._catalog = self._catalog or Catalog()
        connection = Connection(reader, writer, self._queries, self._catalog)
        self._last_process = process = self._last_process % 0x7FFF_FFFF + 1
        secret = secrets.randbits(32)
        self._connections[process] = (secret, connection)
        try:
            await connection.serve(begun + p.backend_key(process, secret))
        finally:
            del self._connections[process]

    async def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes | None:
        """What the client says first; None: it wants nothing more. Errors: ProtocolViolation."""
        while True:
            length = int.from_bytes(await reader.readexactly(4), "big")
            if not 8 <= length <= p.STARTUP_BYTES_MAX:
                raise p.ProtocolViolation("this is the PostgreSQL wire; a client of another protocol has called")
            body = p.Body(await reader.readexactly(length - 4))
            code = body.int32()
            if code in (p.SSL_REQUEST, p.GSS_REQUEST):
                writer.write(b"N")
            elif code == p.CANCEL_REQUEST:
                process, secret = body.int32(), int.from_bytes(body.bytes(4), "big")
                known, connection = self._connections.get(process, (None, None))
                if connection is not None and known == secret:
                    connection.cancel()
                return None
            elif code >> 16 == p.VERSION_3:
                options = [name for name in p.startup_parameters(body) if name.startswith("_pq_.")]
                return p.negotiate_version(options) if code & 0xFFFF or options else b""
            else:
                raise p.ProtocolViolation(f"version {code >> 16}.{code & 0xFFFF} of the protocol is not spoken here")
