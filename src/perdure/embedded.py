"""`Node`: engine, author's side and HTTP assembled for a host program.

    async with perdure.Node(app, data="./data") as node:
        print(await node.client.service_call(greet, "Ann"))

No port is opened and no signal is taken: both belong to the host. `node.asgi` is there to be mounted into the host's own
web application. The node lives on the event loop on which it is started.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

from perdure.model.driver import InputRejected
from perdure.model.errors import PerdureError
from perdure.model.ids import format_invocation_id, parse_awakeable_id, parse_invocation_id
from perdure.model.journal import Failure, Headers, Result
from perdure.model.target import Target
from perdure.node.engine import Engine
from perdure.node.errors import NodeStopped
from perdure.node.recovery import Recovered
from perdure.node.requests import NewInvocation
from perdure.node.settings import EngineSettings
from perdure.sdk.app import App
from perdure.sdk.errors import TerminalError
from perdure.sdk.handler import Handler, handler_of
from perdure.sdk.serde import serde_for
from perdure.sdk.service import Registry

if TYPE_CHECKING:
    from perdure.http.asgi import App as AsgiApp
    from perdure.http.asgi import Receive, Scope, Send

I = TypeVar("I")  # noqa: E741
O = TypeVar("O")  # noqa: E741
T = TypeVar("T")

_MS = timedelta(milliseconds=1)


class Node:
    """An engine in this process, with the handlers of `app`.

    `data` None: in memory, gone with the process. Everything else that can be set is in `settings`, which `data`,
    `partitions` and `durability` override.
    """

    def __init__(
        self,
        app: App | Iterable[Registry] = (),
        *,
        data: str | os.PathLike[str] | None = None,
        partitions: int | None = None,
        durability: Literal["fsync", "os"] | None = None,
        settings: EngineSettings | None = None,
    ) -> None:
        self._app = app if isinstance(app, App) else App(app)
        given = {"data": None if data is None else Path(data), "partitions": partitions, "durability": durability}
        self._settings = dataclasses.replace(
            settings or EngineSettings(),
            **cast(Any, {name: value for name, value in given.items() if value is not None}),
        )
        self._engine: Engine | None = None
        self._ingress: AsgiApp | None = None
        self._admin: AsgiApp | None = None
        self.client = Client(self)

    async def __aenter__(self) -> Node:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Open the data, recover, take requests. Errors: PerdureError when the data cannot be used."""
        self._engine = Engine(self._settings, self._app)
        self._ingress = self._admin = None
        await self._engine.start()

    async def stop(self, *, grace_s: float = 10.0) -> None:
        """End in order; running steps may finish within `grace_s`. Idempotent."""
        if self._engine is not None:
            await self._engine.stop(grace_s=grace_s)

    async def failed(self) -> PerdureError | None:
        """Wait until the node has ended: the error if it failed by itself (a disk error), None after a stop."""
        return await self.engine.failed()

    @property
    def engine(self) -> Engine:
        """Errors: NodeStopped before `start`."""
        if self._engine is None:
            raise NodeStopped("this node has not been started.", "Use `async with Node(...)`, or await `start()`.")
        return self._engine

    @property
    def app(self) -> App:
        return self._app

    @property
    def recovered(self) -> Recovered | None:
        """What the start found of earlier runs."""
        return self.engine.recovered

    @property
    def asgi(self) -> AsgiApp:
        """The ingress as an ASGI application to mount, with the admin API below `/admin`. May be mounted before `start`."""
        return self._answer

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return
        # Here and not above: a program that mounts nothing does not pay for HTTP.
        from perdure.http.admin.app import Admin
        from perdure.http.asgi import raw_path, send_reply
        from perdure.http.ingress.app import Ingress
        from perdure.http.ingress.refusals import unavailable
        from perdure.http.ingress.replies import refusal_reply

        if self._engine is None:
            reply = refusal_reply(unavailable("the node has not been started"))
            await send_reply(send, reply.status, reply.headers, reply.body)
            return
        if self._ingress is None or self._admin is None:
            self._ingress = Ingress(self._engine, body_bytes_max=self._settings.body_bytes_max)
            self._admin = Admin(self._engine)
        if f"{raw_path(scope)}/".startswith("/admin/"):
            below = {**scope, "root_path": f"{scope.get('root_path', '')}/admin"}
            await self._admin(below, receive, send)
        else:
            await self._ingress(scope, receive, send)


@dataclass(frozen=True, slots=True)
class Sent:
    """An invocation that was accepted; `duplicate`: an earlier request with the same idempotency key had made it."""

    invocation_id: str
    duplicate: bool


class Client:
    """Calls handlers of a node in the same process, typed by the handler.

    What every method may raise: TerminalError, the handler's own answer; NodeError when the node does not take the request
    (nothing is stored then); InputRejected for an argument that does not fit.
    """

    def __init__(self, node: Node) -> None:
        self._node = node

    @overload
    async def service_call(
        self,
        handler: Callable[[Any, I], Awaitable[O]],
        arg: I,
        idempotency_key: str | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> O: ...

    @overload
    async def service_call(
        self,
        handler: Callable[[Any], Awaitable[O]],
        arg: None = ...,
        idempotency_key: str | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> O: ...

    async def service_call(
        self,
        handler: Callable[..., Awaitable[Any]],
        arg: Any = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """Run a handler of a service, and its result. The invocation goes on if the caller is cancelled."""
        return await self._call(handler, None, arg, idempotency_key, headers)

    @overload
    async def object_call(
        self,
        handler: Callable[[Any, I], Awaitable[O]],
        key: str,
        arg: I,
        idempotency_key: str | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> O: ...

    @overload
    async def object_call(
        self,
        handler: Callable[[Any], Awaitable[O]],
        key: str,
        arg: None = ...,
        idempotency_key: str | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> O: ...

    async def object_call(
        self,
        handler: Callable[..., Awaitable[Any]],
        key: str,
        arg: Any = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """Run a handler of the virtual object with this key, and its result."""
        return await self._call(handler, key, arg, idempotency_key, headers)

    async def service_send(
        self,
        handler: Callable[..., Awaitable[Any]],
        arg: Any = None,
        send_delay: timedelta | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Sent:
        """Have a handler of a service run, now or after a delay. Returns once that is durable."""
        return await self._send(handler, None, arg, send_delay, idempotency_key, headers)

    async def object_send(
        self,
        handler: Callable[..., Awaitable[Any]],
        key: str,
        arg: Any = None,
        send_delay: timedelta | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Sent:
        return await self._send(handler, key, arg, send_delay, idempotency_key, headers)

    @overload
    async def attach(self, invocation_id: str) -> Any: ...

    @overload
    async def attach(self, invocation_id: str, type_hint: type[T]) -> T: ...

    async def attach(self, invocation_id: str, type_hint: type[Any] | None = None) -> Any:
        """Wait for the result of an invocation. Errors: BadId; InvocationNotFound, also when its retention is over."""
        outcome = await self._node.engine.attach(parse_invocation_id(invocation_id))
        return self._value(outcome.result, serde_for(Any if type_hint is None else type_hint))

    async def cancel(self, invocation_id: str) -> None:
        """Ask an invocation to end. Errors: BadId, InvocationNotFound, ControlRefused."""
        await self._node.engine.cancel(parse_invocation_id(invocation_id))

    async def resolve_awakeable(self, awakeable_id: str, value: Any = None) -> None:
        """Complete an awakeable; durable on return. One that is completed or gone already is left as it is.

        Errors: BadId.
        """
        await self._complete(awakeable_id, self._encoded(serde_for(type(value)), value))

    async def reject_awakeable(self, awakeable_id: str, message: str, code: int = 500) -> None:
        await self._complete(awakeable_id, Failure(code, message))

    async def _complete(self, awakeable_id: str, result: Result) -> None:
        invocation_id, signal = parse_awakeable_id(awakeable_id)
        await self._node.engine.signal(invocation_id, signal, result)

    async def _call(
        self, function: Callable[..., Any], key: str | None, arg: Any, idempotency_key: str | None, headers: Any
    ) -> Any:
        handler, request = self._request(function, key, arg, idempotency_key, headers)
        outcome = await self._node.engine.call(request)
        return self._value(outcome.result, handler.payloads.output_serde)

    async def _send(
        self,
        function: Callable[..., Any],
        key: str | None,
        arg: Any,
        delay: timedelta | None,
        idempotency_key: str | None,
        headers: dict[str, str] | None,
    ) -> Sent:
        _, request = self._request(function, key, arg, idempotency_key, headers)
        request.delay_ms = 0 if delay is None else max(0, delay // _MS)
        accepted = await self._node.engine.send(request)
        return Sent(format_invocation_id(accepted.invocation_id), accepted.duplicate)

    def _request(
        self,
        function: Callable[..., Any],
        key: str | None,
        arg: Any,
        idempotency_key: str | None,
        headers: dict[str, str] | None,
    ) -> tuple[Handler, NewInvocation]:
        handler = handler_of(function)
        takes_input = handler.payloads.takes_input
        if not takes_input and arg is not None:
            raise InputRejected(f"{handler.service.name}/{handler.name} takes no input")
        return handler, NewInvocation(
            Target(handler.service.name, key, handler.name),
            self._encoded(handler.payloads.input_serde, arg) if takes_input else b"",
            handler.payloads.accept if takes_input else None,
            _pairs(headers),
            idempotency_key,
        )

    def _encoded(self, serde: Any, value: Any) -> bytes:
        data: bytes = serde.serialize(value)
        codec = self._node.app.codec
        return data if codec is None else codec.encode(data)

    def _value(self, result: Result, serde: Any) -> Any:
        if isinstance(result, Failure):
            raise TerminalError(result.message, result.code, result.metadata)
        if result is None:
            return None
        codec = self._node.app.codec
        return serde.deserialize(result if codec is None else codec.decode(result))


def _pairs(headers: dict[str, str] | None) -> Headers:
    return list(headers.items()) if headers else []
