"""`Node`: engine, author's side and HTTP assembled for a host program.

    async with perdure.Node(app, data="./data") as node:
        print(await node.client.service_call(greet, "Ann"))

No port is opened and no signal is taken: both belong to the host. `node.asgi` is there to be mounted into the host's own
web application. The node lives on the event loop on which it is started.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, cast

from perdure.client.blocking import LoopRunner
from perdure.client.client import Client
from perdure.client.errors import CallFailed
from perdure.client.sync import SyncClient
from perdure.client.transport import Existing, Invoke, Receipt
from perdure.embedded_operations import InProcessOperator, answers
from perdure.model.errors import PerdureError
from perdure.model.ids import format_invocation_id, parse_awakeable_id, parse_invocation_id
from perdure.model.journal import Failure, Result
from perdure.node.engine import Engine
from perdure.node.errors import NodeStopped
from perdure.node.recovery import Recovered
from perdure.node.requests import NewInvocation, Outcome
from perdure.node.settings import EngineSettings
from perdure.sdk.app import App
from perdure.sdk.service import Registry

if TYPE_CHECKING:
    from perdure.http.asgi import App as AsgiApp
    from perdure.http.asgi import Receive, Scope, Send


class Node:
    """An engine in this process, with the handlers of `app`.

    `data` None: in memory, gone with the process. `ingress_url`: where the outside reaches `asgi`, for
    `ctx.awakeable_url`. Everything else that can be set is in `settings`, which the other arguments override.
    """

    def __init__(
        self,
        app: App | Iterable[Registry] = (),
        *,
        data: str | os.PathLike[str] | None = None,
        partitions: int | None = None,
        durability: Literal["fsync", "os"] | None = None,
        ingress_url: str | None = None,
        settings: EngineSettings | None = None,
    ) -> None:
        self._app = app if isinstance(app, App) else App(app)
        given = {
            "data": None if data is None else Path(data),
            "partitions": partitions,
            "durability": durability,
            "ingress_url": ingress_url,
        }
        self._settings = dataclasses.replace(
            settings or EngineSettings(),
            **cast(Any, {name: value for name, value in given.items() if value is not None}),
        )
        self._engine: Engine | None = None
        self._ingress: AsgiApp | None = None
        self._admin: AsgiApp | None = None
        self.client = NodeClient(self)

    async def __aenter__(self) -> Node:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Open the data, recover, take requests. Errors: PerdureError when the data cannot be used."""
        if "multiprocessing" in sys.modules:
            _refuse_in_worker()
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
        """The handlers that run here."""
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


class NodeClient(Client):
    """Calls handlers of a node in this process, from the node's event loop; `sync` from other threads."""

    def __init__(self, node: Node) -> None:
        super().__init__(InProcess(lambda: node.engine), InProcessOperator(lambda: node.engine), node.app.codec)
        self._node = node

    @cached_property
    def sync(self) -> SyncClient:
        """The same client for code that is not asynchronous. Errors: WrongThread on the node's own thread."""
        return SyncClient(self, LoopRunner(lambda: self._node.engine.loop))


class ProgramWithoutGuard(PerdureError):
    """A worker process imports the program, and the program starts a node while it is imported."""

    code = "PD0411"


def _refuse_in_worker() -> None:
    from perdure.env.processes import in_worker

    if in_worker():
        raise ProgramWithoutGuard(
            "a worker process for a step imported this program, which would start a second node.",
            'Put what starts the node below `if __name__ == "__main__":`.',
        )


class InProcess:
    """Carries a client's requests to the engine of the same process (`perdure.client.transport.Transport`)."""

    def __init__(self, engine: Callable[[], Engine]) -> None:
        self._engine = engine

    async def call(self, invoke: Invoke) -> bytes:
        with answers():
            return _value(await self._engine().call(_request(invoke)))

    async def send(self, invoke: Invoke) -> Receipt:
        with answers():
            accepted = await self._engine().send(_request(invoke))
        return Receipt(format_invocation_id(accepted.invocation_id), accepted.duplicate)

    async def attach(self, existing: Existing) -> bytes:
        with answers():
            return _value(await self._engine().attach(self._id_of(existing)))

    async def output(self, existing: Existing) -> bytes | None:
        with answers():
            outcome = await self._engine().output(self._id_of(existing))
        return None if outcome is None else _value(outcome)

    async def complete(self, awakeable_id: str, value: Result) -> None:
        invocation_id, number = parse_awakeable_id(awakeable_id)
        with answers():
            await self._engine().signal(invocation_id, number, value)

    async def close(self) -> None:
        """The node's life is its own."""

    def _id_of(self, existing: Existing) -> bytes:
        if existing.target is None:
            return parse_invocation_id(existing.invocation_id)
        return self._engine().derived_id(existing.target, existing.idempotency_key)


def _request(invoke: Invoke) -> NewInvocation:
    return NewInvocation(
        invoke.target, invoke.body, invoke.content_type, invoke.headers, invoke.idempotency_key, invoke.delay_ms
    )


def _value(outcome: Outcome) -> bytes:
    result = outcome.result
    if isinstance(result, Failure):
        raise CallFailed(result.message, result.code, result.metadata)
    return result or b""
