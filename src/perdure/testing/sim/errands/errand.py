"""`Errand`: somebody outside who does one thing after the other, whatever processes come and go, and knows what must be true.

What always holds: a turn that a process broke off is taken again in the next one, and until somebody is told, an errand
takes both for possible, that what it asked was done and that it was not.
"""

from __future__ import annotations

import abc
import asyncio
import json
from random import Random
from typing import Any

from perdure.client.client import Client
from perdure.client.errors import Refused
from perdure.embedded import InProcess
from perdure.embedded_operations import InProcessOperator
from perdure.log.errors import LogStopped
from perdure.model.journal import Failure
from perdure.model.target import Target
from perdure.node.engine import Engine
from perdure.node.errors import DiskFull, NodeStopped, Overloaded
from perdure.node.requests import NewInvocation, Outcome
from perdure.sdk.service import Registry
from perdure.store.rows import Invocation
from perdure.testing.sim.world import World


class Errand(abc.ABC):
    """Subclasses make the service that they use, take turns, and judge the end. `forgets`: what has ended may be gone soon."""

    check: str
    """Name of the check that its findings go by."""
    service: Registry

    def __init__(self, world: World, random: Random, *, forgets: bool) -> None:
        self.world = world
        self.random = random
        self.forgets = forgets
        self.done = False

    @abc.abstractmethod
    async def turn(self, engine: Engine) -> bool:
        """One thing; False when there is nothing left to do."""

    def judge_end(self, engine: Engine) -> None:  # noqa: B027  not every errand has more to say then
        """After everything has come to its end."""

    async def run(self, engine: Engine) -> None:
        """Go on until everything is done. Errors: NodeStopped, LogStopped when the process ends before."""
        while not self.done:
            await asyncio.sleep(self.random.choice((0.0, 0.01, 0.5, 2.0)) * self.random.random())
            await engine.ready()
            try:
                self.done = not await self.turn(engine)
            except (Overloaded, DiskFull):
                await asyncio.sleep(0.5)
            except Refused as refused:
                match refused.__cause__:
                    case Overloaded() | DiskFull():
                        await asyncio.sleep(0.5)
                    case (NodeStopped() | LogStopped()) as stopped:
                        raise stopped from refused
                    case _:
                        raise

    async def find(self, engine: Engine, invocation_id: bytes) -> Invocation | None:
        """As it is now. Errors: NodeStopped."""
        await engine.ready()
        return engine.find(invocation_id)

    def note(self, text: str) -> None:
        self.world.trace.note(f"{self.service.name}: {text}")

    def broken(self, what: str) -> None:
        self.world.broken(self.check, what)

    def request(
        self, handler: str, arg: Any, *, key: str | None = None, idempotency_key: str | None = None
    ) -> NewInvocation:
        body, content_type = (b"", None) if arg is None else (json.dumps(arg).encode(), "application/json")
        target = Target(self.service.name, key, handler)
        return NewInvocation(target, body, content_type, idempotency_key=idempotency_key)


def client_of(engine: Engine) -> Client:
    """What a host program has: the typed client of a node in its process."""
    return Client(InProcess(lambda: engine), InProcessOperator(lambda: engine))


def value(outcome: Outcome) -> Any:
    """As JSON; a failure is `["failed", code]`."""
    result = outcome.result
    return ["failed", result.code] if isinstance(result, Failure) else json.loads(result or b"null")
