"""`ThreadedServer`: a node with its HTTP ports, on an event loop and a thread of its own.

For tests that call a server over HTTP, blocking or not, while it runs in the same process. What always holds: once `start`
has returned, both ports answer; once `stop` has, nothing of it runs any more.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable

from perdure.embedded import Node
from perdure.http.admin.app import Admin
from perdure.http.ingress.app import Ingress
from perdure.http.server import HttpServer
from perdure.node.settings import EngineSettings
from perdure.sdk.app import App
from perdure.sdk.service import Registry


class ThreadedServer:
    """Data in memory, free ports of this machine. Started once, stopped once."""

    def __init__(self, app: App | Iterable[Registry], settings: EngineSettings) -> None:
        self.ingress_url = ""
        self.admin_url = ""
        self._node = Node(app, settings=settings)
        self._thread = threading.Thread(target=self._run, name="perdure-test-server", daemon=True)
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None

    def start(self) -> None:
        """Blocks until the server answers. Errors: those of a node that cannot start."""
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    def stop(self) -> None:
        """Blocks until it has ended. Idempotent."""
        if self._loop is not None and self._stopping is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._failure = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        async with self._node as node:
            ingress = HttpServer(Ingress(node.engine), "127.0.0.1", 0)
            self.ingress_url = node.engine.ingress_url = _url(await ingress.start())
            admin = HttpServer(Admin(node.engine), "127.0.0.1", 0)
            try:
                self.admin_url = _url(await admin.start())
                self._started.set()
                await self._stopping.wait()
            finally:
                # Calls that still wait get an answer at once: a test that leaves does not want theirs.
                await ingress.stop(grace_s=0.0)
                await admin.stop(grace_s=0.0)
                await node.stop(grace_s=1.0)


def _url(address: tuple[str, int]) -> str:
    return f"http://{address[0]}:{address[1]}"
