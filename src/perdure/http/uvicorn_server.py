"""uvicorn made fit for living in somebody else's loop: no signals, no polling, an end that can be waited for."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator

import uvicorn

from perdure.http.asgi import App
from perdure.http.direct import STOPPING, State
from perdure.http.protocol import Connection

BACKLOG = 2048
_DATE_S = 1.0
_LAST_REPLIES_S = 1.0


class EmbeddedServer(uvicorn.Server):
    def __init__(self, app: App, keep_alive_s: int) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=Connection,
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                log_level="warning",
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=keep_alive_s,
                backlog=BACKLOG,
            )
        )
        self.server_state = self._state = State()
        self.opened = asyncio.Event()
        self._stopping = asyncio.Event()
        self._grace_s = 0.0

    def ask_to_stop(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._stopping.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # They belong to the host program; uvicorn would take them over.
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.on_tick(0)
        await super().startup(sockets)
        self.opened.set()

    async def main_loop(self) -> None:
        while not self._stopping.is_set():
            await self.on_tick(0)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _DATE_S)

    @property
    def _busy(self) -> bool:
        return bool(self.server_state.tasks or self._state.exchanges)

    async def _until_one_is_out(self, timeout_s: float) -> None:
        self._state.exchanged.clear()
        exchanged = asyncio.ensure_future(self._state.exchanged.wait())
        waiting = (*self.server_state.tasks, exchanged)
        await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        exchanged.cancel()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        deadline = loop.time() + self._grace_s
        # A connection may still have pipelined requests: their tasks appear as those before them end.
        while self._busy and (left := deadline - loop.time()) > 0:
            await self._until_one_is_out(left)
        for exchange in list(self._state.exchanges):
            exchange.answer(*STOPPING)
        if self.server_state.tasks:
            for task in self.server_state.tasks:
                task.cancel()
            await asyncio.wait(tuple(self.server_state.tasks), timeout=_LAST_REPLIES_S)
        for connection in list(self.server_state.connections):
            connection.transport.close()
        await asyncio.sleep(0)
