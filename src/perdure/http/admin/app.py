"""The admin API: what runs here, and the control of single invocations, as a Starlette application.

Starlette and the routes are loaded by the first request, on a thread: a start should not pay for them, and neither should
the calls that are under way then.
"""

from __future__ import annotations

import asyncio

from perdure.http.asgi import App, Receive, Scope, Send
from perdure.node.engine import Engine


class Admin:
    """ASGI application. `ingress_url`: where calls are taken, for those who ask the admin API for it."""

    def __init__(self, engine: Engine, *, ingress_url: str = "") -> None:
        self.ingress_url = ingress_url
        self._engine = engine
        self._routes: App | None = None
        self._loading: asyncio.Future[App] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close"})
            return
        if self._routes is None:
            self._routes = await self._load()
        await self._routes(scope, receive, send)

    async def _load(self) -> App:
        if self._loading is None or self._loading.cancelled():
            self._loading = asyncio.get_running_loop().run_in_executor(None, self._build)
        return await asyncio.shield(self._loading)

    def _build(self) -> App:
        from perdure.http.admin.routes import application

        return application(self._engine, lambda: self.ingress_url)
