"""A handler that takes its process down, again and again.

What must hold: it is tried again after each death, and when the process has died under it as often as is allowed, without
anything gained, it is paused, no sooner and no later. What gains a step each time is never suspected.
"""

from __future__ import annotations

import asyncio
from functools import partial
from random import Random

from perdure.node.engine import Engine
from perdure.sdk.context import Context
from perdure.sdk.service import Service
from perdure.store.rows import Status
from perdure.testing.sim.errands.errand import Errand, value
from perdure.testing.sim.steps import step
from perdure.testing.sim.world import World


class Deaths(Errand):
    """Only when no process dies by anything else, so that the deaths can be counted."""

    check = "deaths"

    def __init__(self, world: World, random: Random, *, forgets: bool) -> None:
        super().__init__(world, random, forgets=forgets)
        self._gains = random.random() < 0.5
        self._steps = 4 if self._gains else 1
        self._deaths = 0
        self._paused = False
        self._trodden: set[int] = set()
        self._treading = b""
        self.service = self._make_service()

    def _make_service(self) -> Service:
        world = self.world
        mine = Service("Mine")

        @mine.handler()
        async def tread(ctx: Context, steps: int) -> int:
            for number in range(1, steps + 1):
                act = partial(self._tread, number)
                await step(world, ctx, f"tread {number}", "", number, None, act=act)
            return steps

        return mine

    def _tread(self, number: int) -> None:
        """Each place is deadly: once, where something is gained by the next; always, until it was seen to be paused."""
        if self.world.process and not self._paused and not (self._gains and number in self._trodden):
            self._trodden.add(number)
            self._deaths += 1
            self.world.kill()

    async def turn(self, engine: Engine) -> bool:
        if not self.world.last_processes:
            await asyncio.sleep(1.0)
            return True
        if not self._treading:
            request = self.request("tread", self._steps, idempotency_key="tread")
            self._treading = engine.derived_id(request.target, "tread")
            await engine.send(request)
        row = await self.find(engine, self._treading)
        if row is None or row.status not in (Status.COMPLETED, Status.PAUSED):
            await asyncio.sleep(0.5)
            return True
        died_max = engine.settings.interruptions_max
        if row.status is Status.PAUSED and not self._paused:
            self._paused = True
            if self._gains or self._deaths != died_max + 1:
                self.broken(
                    f"it is paused after {self._deaths} deaths; {died_max + 1} in a row without gain are allowed"
                )
            await engine.resume(self._treading)
            return True
        if not self._gains and not self._paused:
            self.broken(f"it goes on after {self._deaths} deaths, and {died_max + 1} are allowed")
        if value(await engine.attach(self._treading)) != self._steps:
            self.broken("it did not come to its end")
        return False
