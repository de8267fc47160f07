"""One worker: a process elsewhere that serves an app as a deployment on a loop of its own, dies, freezes and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from perdure.endpoint.asgi import Deployment
from perdure.testing.sim.remote.guest_loop import GuestLoop
from perdure.testing.sim.remote.http2 import ServerConnection
from perdure.testing.sim.remote.network import Listener, Network
from perdure.testing.sim.virtual_time import SimExecutor, SimLoop

if TYPE_CHECKING:
    from perdure.sdk.app import App

FIRST_PORT = 9080


class Worker:
    """What always holds: while it is dead nothing of it runs, and nobody listens for it.

    `back_at_s`: when it lives, or goes on, again. Units: seconds of virtual time.
    """

    def __init__(
        self,
        number: int,
        port: int,
        app: App,
        network: Network,
        random: Random,
        failed: Callable[[BaseException], None],
    ) -> None:
        self.name = f"worker {number}"
        self.port = port
        self.loop: GuestLoop | None = None
        self.frozen = self.stopping = False
        self.back_at_s = 0.0
        self._app = app
        self._network = network
        self._random = random
        self._failed = failed
        self._deployment: Deployment | None = None
        self._connections: list[ServerConnection] = []

    def start(self, host: SimLoop) -> None:
        random = Random(self._random.random())
        self.loop = loop = GuestLoop(random, host.time())
        loop.set_exception_handler(self._report)
        self._deployment = deployment = Deployment(self._app, SimExecutor(loop, random))
        streams_max, window_bytes = random.choice((1, 3, 100)), random.choice((500, 65_535))

        def accept() -> ServerConnection:
            connection = ServerConnection(
                deployment, loop, self._failed, streams_max=streams_max, window_bytes=window_bytes
            )
            self._connections = [each for each in self._connections if not each.lost] + [connection]
            return connection

        self._network.listen(self.port, Listener(loop, accept))
        loop.move_to(host)

    def _report(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._failed(context.get("exception") or RuntimeError(context["message"]))

    def move_to(self, host: SimLoop | None) -> None:
        if self.loop is not None:
            self.loop.move_to(host)

    def kill(self, *, silent: bool) -> None:
        loop, self.loop = self.loop, None
        if loop is None:
            return
        self.frozen = self.stopping = False
        self._connections.clear()
        self._network.refuse(self.port, loop)
        self._network.perish(loop, silent=silent)
        loop.set_exception_handler(lambda *_: None)
        loop.bury()

    def freeze(self) -> None:
        if self.loop is not None:
            self.frozen = True
            self.loop.freeze()

    def thaw(self) -> None:
        if self.loop is not None:
            self.frozen = False
            self.loop.thaw()

    def stop(self) -> None:
        """In order: attempts under way leave at their next wait, and connections say goodbye. Killed some time later."""
        if self.loop is not None and self._deployment is not None:
            self.stopping = True
            self._network.refuse(self.port, self.loop)
            self.loop.call_soon(self._stop, self._deployment)

    def _stop(self, deployment: Deployment) -> None:
        deployment.suspend()
        self.say_goodbye()

    def say_goodbye(self) -> None:
        """To whoever is connected: new requests need a new connection."""
        for connection in self._connections:
            connection.say_goodbye()

    def refuse_one(self) -> None:
        for connection in self._connections:
            connection.refuses = True
