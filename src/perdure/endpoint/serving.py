"""A deployment on a socket of its own: HTTP/2 without TLS, both directions at once, and HTTP/1.1.

Hypercorn serves it, because a Restate server speaks HTTP/2 to its deployments without asking (prior knowledge).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable
from typing import Any

from perdure.endpoint.asgi import Deployment
from perdure.sdk.errors import ServiceProtocolNeeded

STOP_WITHIN_S = 30.0
"""How long running steps may take to finish once the process is asked to stop."""
REQUESTS_PER_CONNECTION = 1_000_000
STREAMS_PER_CONNECTION = 1024

_log = logging.getLogger("perdure.endpoint")


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0: any free one. Errors: OSError."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    return socket.create_server((host, port), family=family)


def run(deployment: Deployment, listening: socket.socket) -> None:
    """`serve` on an event loop of its own: uvloop's, where there is one."""
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ModuleNotFoundError):  # not on Windows
        import uvloop

        loop_factory = uvloop.Loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(serve(deployment, listening))


async def serve(deployment: Deployment, listening: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT; then running steps finish, and what waits goes on elsewhere.

    Errors: ServiceProtocolNeeded (PD0419) where Hypercorn is not installed.
    """
    try:
        from hypercorn.asyncio import serve as serve_asgi
        from hypercorn.config import Config
    except ModuleNotFoundError as error:
        raise ServiceProtocolNeeded(
            "An endpoint is served over HTTP/2 by Hypercorn, which is not installed.",
            "Run `pip install 'perdure[restate]'`.",
        ) from error
    config = Config()
    config.bind = [f"fd://{listening.fileno()}"]
    config.keep_alive_max_requests = REQUESTS_PER_CONNECTION
    config.h2_max_concurrent_streams = STREAMS_PER_CONNECTION
    config.graceful_timeout = STOP_WITHIN_S
    config.errorlog = None
    config.server_names = []

    asyncio.get_running_loop().set_exception_handler(_report)

    async def stop() -> None:
        await _asked_to_stop()
        _log.info("stopping: running steps finish, what waits goes on elsewhere")
        deployment.suspend()

    await serve_asgi(deployment, config, shutdown_trigger=stop)  # type: ignore[arg-type]


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Hypercorn stumbles over connections that break in the middle of a request; the server opens another one."""
    if context.get("message") == "Unhandled exception in client_connected_cb":
        _log.info("a connection broke: %r", context.get("exception"))
    else:
        loop.default_exception_handler(context)


async def _asked_to_stop() -> None:
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    await asked.wait()
