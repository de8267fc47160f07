"""`HttpServer`: an ASGI application on a port, in the event loop that is running already.

What always holds: once `start` has returned the port takes connections and its number is known, also for port 0; signals
stay with the host program; `stop` takes no new connections, lets replies go out for as long as the grace lasts, and leaves
no task and no socket behind. What it serves is not its business.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING, ClassVar

from perdure.http.asgi import App
from perdure.model.errors import PerdureError

if TYPE_CHECKING:
    from perdure.http.uvicorn_server import EmbeddedServer

KEEP_ALIVE_S = 60
"""How long an idle connection is kept: longer than usual pools keep theirs, so that the client closes first."""


class CannotListen(PerdureError):
    """The address of a listener is taken, not this machine's, or not allowed."""

    code: ClassVar[str] = "PD0511"


class HttpServer:
    """Serve `app` at `host`:`port` (0: any free port). Errors: CannotListen."""

    def __init__(self, app: App, host: str, port: int, *, keep_alive_s: int = KEEP_ALIVE_S) -> None:
        self._app = app
        self._host = host
        self._port = port
        self._keep_alive_s = keep_alive_s
        self._server: EmbeddedServer | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> tuple[str, int]:
        """Open the port. Returns the address that it has."""
        # Here and not above: it takes some 50 ms, which a process that serves nothing should not pay.
        from perdure.http.uvicorn_server import EmbeddedServer

        listener = self._listen()
        self._server = EmbeddedServer(self._app, self._keep_alive_s)
        self._serving = asyncio.ensure_future(self._server.serve(sockets=[listener]))
        opened = asyncio.ensure_future(self._server.opened.wait())
        await asyncio.wait((opened, self._serving), return_when=asyncio.FIRST_COMPLETED)
        if self._serving.done():
            opened.cancel()
            self._serving.result()
        self._host, self._port = listener.getsockname()[:2]
        return self._host, self._port

    async def stop(self, grace_s: float = 10.0) -> None:
        """Stop taking requests and wait for replies under way, for at most `grace_s`. Idempotent."""
        if self._server is None or self._serving is None:
            return
        self._server.ask_to_stop(grace_s)
        await self._serving

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Connections inherit it. Without, a reply in two writes waits 40 ms for the client's delayed acknowledgement.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            listener.setblocking(False)
            listener.bind((self._host, self._port))
        except (OSError, OverflowError) as error:
            listener.close()
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise CannotListen(f"cannot listen on {self._host}:{self._port}: {why}.", next_step_after(error)) from error
        return listener


def next_step_after(error: OSError | OverflowError) -> str:
    """What helps when a listener could not be opened."""
    if isinstance(error, socket.gaierror) or getattr(error, "errno", None) == errno.EADDRNOTAVAIL:
        return "Name an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all that it has."
    if isinstance(error, PermissionError):
        return "Choose a port from 1024 on, or run as a user who may take this one."
    if isinstance(error, OverflowError):
        return "Choose a port from 0 (any free one) to 65535."
    return "Stop what uses that address, or choose another one."
