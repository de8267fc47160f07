"""An app as a Restate deployment: the ASGI application that a Restate server discovers and invokes.

It answers `GET …/discover`, `POST …/invoke/SERVICE/HANDLER` and `GET …/health` under any prefix. Requests of a server are
checked by the app's identity keys, if it has any.
"""

from __future__ import annotations

import json
from typing import Any

from perdure.endpoint.aws_lambda import is_running_on_lambda, zstd_available
from perdure.endpoint.discovery import MEDIA_TYPE, NotExpressible, ProtocolMode, accepted_version, manifest
from perdure.endpoint.driver import CAPABILITIES
from perdure.endpoint.exchange import Exchange, Message, Receive, Send
from perdure.endpoint.machine import Identity, Machine, MachineError
from perdure.env.executor import Executor, ThreadExecutor
from perdure.model.service import HandlerSpec
from perdure.model.version import VERSION
from perdure.sdk.app import App
from perdure.sdk.errors import CapabilityError, RegistrationError

_SERVER = (b"x-restate-server", f"perdure/{VERSION}".encode())
_MODES: dict[str, ProtocolMode] = {"bidi": "BIDI_STREAM", "request_response": "REQUEST_RESPONSE"}


class Deployment:
    """See the module; called as ASGI servers do."""

    def __init__(self, app: App, executor: Executor | None = None) -> None:
        """`executor`: where steps run that are no coroutines; None: on threads of its own.

        Errors: CapabilityError, RegistrationError.
        """
        _refuse_what_is_missing(app)
        self._app = app
        self._handlers: dict[tuple[str, str], HandlerSpec] = {
            (service.name, handler.name): handler for service in app.services() for handler in service.handlers.values()
        }
        try:
            self._identity = Identity(app.identity_keys)
        except ValueError as error:
            raise RegistrationError(
                f"An identity key is none: {error}.", "Use publickeyv1_... as the server shows it."
            ) from error
        self._executor = executor or ThreadExecutor()
        self._exchanges: dict[Exchange, None] = {}
        """In the order in which they began."""
        self._stopping = False

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})

    async def _http(self, scope: Message, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        parts = path.split("/")
        if parts[-1] == "health":
            await _answer(send, 200, b'{"status":"ok"}', "application/json")
            return
        refused = self._identity.refuses(headers.items(), path)
        if refused is not None:
            await _answer(send, 401, f"not a server that this app is for: {refused}".encode())
            return
        if parts[-1] == "discover":
            await self._discover(scope, headers, send)
        elif len(parts) >= 3 and parts[-3] == "invoke":
            await self._invoke(parts[-2], parts[-1], headers, receive, send)
        else:
            await _answer(send, 404, b"not a path of a deployment")

    async def _discover(self, scope: Message, headers: dict[str, str], send: Send) -> None:
        accept = headers.get("accept", "")
        version = accepted_version(accept)
        if version is None:
            await _answer(send, 415, f"no form of the manifest that is known here: {accept}".encode())
            return
        mode = _MODES[self._app.protocol or ("request_response" if scope["http_version"] == "1.1" else "bidi")]
        try:
            described = manifest(self._app.services(), mode, version)
        except NotExpressible as error:
            await _answer(send, 500, str(error).encode())
            return
        if version >= 4 and is_running_on_lambda() and zstd_available():
            described["lambdaCompression"] = "zstd"
        await _answer(send, 200, json.dumps(described).encode(), MEDIA_TYPE.format(version))

    async def _invoke(self, service: str, name: str, headers: dict[str, str], receive: Receive, send: Send) -> None:
        handler = self._handlers.get((service, name))
        if handler is None:
            await _answer(send, 404, f"there is no handler {service}/{name}".encode())
            return
        try:
            machine = Machine(headers.items(), compare_payloads=self._app.codec is None)
        except MachineError as error:
            await _answer(send, 415, str(error).encode())
            return
        exchange = Exchange(self._app, service, handler, headers, machine, self._executor, receive, send)
        self._exchanges[exchange] = None
        if self._stopping:
            exchange.suspend()
        try:
            await exchange.run([_SERVER])
        finally:
            self._exchanges.pop(exchange, None)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            event = (await receive())["type"]
            if event == "lifespan.shutdown":
                self.close()
            await send({"type": f"{event}.complete"})
            if event == "lifespan.shutdown":
                return

    def suspend(self) -> None:
        """The process is asked to stop: attempts under way leave as soon as their running steps have finished."""
        self._stopping = True
        for exchange in list(self._exchanges):
            exchange.suspend()

    def close(self) -> None:
        self._executor.shutdown(wait=False)


def _refuse_what_is_missing(app: App) -> None:
    for service in app.registered():
        for handler in service.handlers.values():
            missing = sorted(handler.requires - CAPABILITIES)
            if missing:
                raise CapabilityError(
                    f"{service.name}/{handler.name} needs {', '.join(missing)}, which a Restate server does not have.",
                    "Serve it with `perdure serve`, or write it without.",
                )


async def _answer(send: Send, status: int, body: bytes, content_type: str = "text/plain") -> None:
    headers: list[Any] = [(b"content-type", content_type.encode()), _SERVER]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
