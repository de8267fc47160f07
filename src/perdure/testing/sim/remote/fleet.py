"""The workers of a simulation, their registration, and what happens to them and to the network while a process lives.

They outlive the processes of the engine. Each address is a deployment of its own: the second one, if there is one, has the
other version of the code, and is registered by a later process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from random import Random
from typing import Any
from unittest.mock import patch

from perdure.endpoint import asgi, discovery
from perdure.invoker.remote import attempt, opening
from perdure.log.errors import LogStopped
from perdure.model.ids import format_invocation_id
from perdure.node.deployments import Deployments
from perdure.node.discovery import DiscoveryError
from perdure.node.engine import Engine
from perdure.node.errors import DiskFull, NodeStopped, Overloaded
from perdure.node.phase import Phase
from perdure.sdk.app import App
from perdure.store.rows import Invocation
from perdure.testing.sim.remote.machine import SimMachine
from perdure.testing.sim.remote.network import Network
from perdure.testing.sim.remote.worker import FIRST_PORT, Worker
from perdure.testing.sim.steps import EPOCH_HEADER
from perdure.testing.sim.virtual_time import BEGAN_MS, SimLoop
from perdure.testing.sim.world import World

_TROUBLES_MAX = 30
"""In the life of one process."""
_TROUBLES_OF_THE_LAST_MAX = 5
_TROUBLES = ("kill", "kill", "freeze", "freeze", "stop", "cut", "slow", "reset", "goodbye", "refuse")


class Fleet:
    def __init__(
        self, world: World, random: Random, make_app: Callable[[int, Callable[[], int], dict[str, Any]], App]
    ) -> None:
        """`make_app(version, now_ms, settings)`."""
        self._world = world
        self._random = random
        self._note = world.trace.note
        self._host: SimLoop | None = None
        self._now_s = 0.0
        self._network = Network(Random(random.random()), self._note)
        self._workers: list[Worker] = []
        self._every_s = random.choice((0.0, 0.3, 2.0))
        """Between two troubles; 0: there are none."""
        versions = random.choice(((1,), (1,), (1, 2)))
        for number, version in enumerate(versions):
            app = make_app(version, self.wall_ms, _settings(random))
            for _ in range(random.choice((1, 2))):
                port = FIRST_PORT + number
                worker = Worker(len(self._workers), port, app, self._network, Random(random.random()), self._failed)
                self._workers.append(worker)
        self._protocols = 5, random.choice((5, 6, 7, 7))
        """Versions of the service protocol that workers speak, the lowest and the highest."""
        self._ports = [FIRST_PORT + number for number in range(len(versions))]

    def wall_ms(self) -> int:
        """The clock of each worker."""
        if self._host is not None:
            self._now_s = self._host.time()
        return BEGAN_MS + round(self._now_s * 1000)

    def patches(self, stack: ExitStack) -> None:
        """What of the product is changed: workers repeat themselves, and hear which attempt it is that they run."""
        stack.enter_context(patch.object(asgi, "Machine", SimMachine))
        stack.enter_context(patch.object(discovery, "PROTOCOL_VERSIONS", self._protocols))

        def request_headers(row: Invocation, version: int) -> dict[str, str]:
            self._world.attempt_began(format_invocation_id(row.id), row.epoch)
            return {**opening.request_headers(row, version), EPOCH_HEADER: str(row.epoch)}

        stack.enter_context(patch.object(attempt, "request_headers", request_headers))

    # --- for a process ----------------------------------------------------------------------------------------------------

    def attach(self, host: SimLoop, *, final: bool) -> None:
        """A process of the engine begins. `final`: the last one; everybody is well then, and little happens."""
        if final:
            self._network.calm()
            for worker in self._workers:
                worker.back_at_s = 0.0
        self._join(host)
        self._plan(_TROUBLES_OF_THE_LAST_MAX if final else _TROUBLES_MAX, host)

    def _join(self, host: SimLoop) -> None:
        self._host = host
        host.connect = lambda make, port: self._network.connect(host, make, port)
        for worker in self._workers:
            worker.move_to(host)
            if worker.loop is None or worker.frozen or worker.stopping:
                self._come_back_later(worker)

    def detach(self, host: SimLoop, *, silent: bool) -> None:
        """It has ended. `silent`: with its machine."""
        self.wall_ms()
        self._host = None
        for worker in self._workers:
            worker.move_to(None)
        self._network.perish(host, silent=silent)

    def live_alone(self, now_s: float) -> float:
        """For as long as there is no engine. Returns the time at which there is one again."""
        host = SimLoop(self._random, now_s)
        self._world.trace.now_s = host.time
        self._join(host)
        host.call_later(self._random.choice((0.0, 0.1, 3.0)) * self._random.random(), host.stop)
        host.run_forever()
        self.detach(host, silent=False)
        host.close()
        return host.time()

    async def register(self, engine: Engine, process: int) -> None:
        """What this process is to know is registered, or the engine has come to its end."""
        for number, port in enumerate(self._ports):
            if number and process < 2:
                continue
            while engine.phase is Phase.READY:
                try:
                    await Deployments.register(engine.deployments, f"http://worker:{port}/")
                    break
                except (DiscoveryError, DiskFull, Overloaded) as error:
                    self._note(f"not registered: {error.what}")
                    await asyncio.sleep(0.5)
                except (NodeStopped, LogStopped):
                    return

    def close(self) -> None:
        for worker in self._workers:
            worker.kill(silent=True)

    # --- what happens -----------------------------------------------------------------------------------------------------

    def _plan(self, left: int, host: SimLoop) -> None:
        if left and self._every_s:
            host.call_later(self._every_s * (0.1 + self._random.random()), self._happen, left, host)

    def _happen(self, left: int, host: SimLoop) -> None:
        if host is self._host:
            self._do(self._random.choice(_TROUBLES), self._random.choice(self._workers), host)
            self._plan(left - 1, host)

    def _do(self, what: str, worker: Worker, host: SimLoop) -> None:
        random = self._random
        if worker.loop is None:
            return
        self._note(f"{what} {worker.name}")
        for_s = random.choice((0.05, 1.0, 5.0, 90.0)) * random.random()
        match what:
            case "kill":
                worker.kill(silent=random.random() < 0.3)
            case "freeze":
                worker.freeze()
            case "stop":
                worker.stop()
                for_s += 1.0
            case "cut":
                self._network.cut(worker.port, host.time() + for_s)
                return
            case "slow":
                self._network.slow(worker.port, host.time() + for_s)
                return
            case "reset":
                self._network.reset_one()
                return
            case "goodbye":
                worker.loop.call_soon(worker.say_goodbye)
                return
            case _:
                worker.refuse_one()
                return
        worker.back_at_s = host.time() + for_s
        self._come_back_later(worker)

    def _come_back_later(self, worker: Worker) -> None:
        host = self._host
        assert host is not None
        host.call_at(max(host.time(), worker.back_at_s), self._come_back, worker, host)

    def _come_back(self, worker: Worker, host: SimLoop) -> None:
        if host is not self._host or worker.back_at_s > host.time():
            return
        if worker.stopping:
            worker.kill(silent=False)
        if worker.loop is None:
            self._note(f"{worker.name} starts")
            worker.start(host)
        elif worker.frozen:
            self._note(f"{worker.name} goes on")
            worker.thaw()

    def _failed(self, error: BaseException) -> None:
        self._world.broken("worker", f"a worker met what it should not: {error!r}")


def _settings(random: Random) -> dict[str, Any]:
    """Of the app of a deployment."""
    one_way = random.random() < 0.2
    return {
        "protocol": "request_response" if one_way else None,
        "enable_lazy_state": random.choice((None, None, True)),
    }
