"""State changed from outside: `modify_state` takes its turn among the exclusive handlers of its key.

What must hold: the next exclusive call sees a change that was acknowledged, whether it was made at once or waited for its
turn; one for another version of the state changes nothing; one that nobody acknowledged is there as a whole, or not at all.
"""

from __future__ import annotations

import json
from random import Random

from perdure.model.state_version import state_version
from perdure.node.engine import Engine
from perdure.sdk.context import ObjectContext
from perdure.sdk.object import VirtualObject
from perdure.testing.sim.errands.errand import Errand, value
from perdure.testing.sim.steps import step
from perdure.testing.sim.world import World

KEY = "shelf"


class StateChanges(Errand):
    """Nobody else uses the key, so what it holds is known, up to what was never acknowledged."""

    check = "state"

    def __init__(self, world: World, random: Random, *, forgets: bool) -> None:
        super().__init__(world, random, forgets=forgets)
        self._turns = random.randint(4, 9)
        self._number = 0
        self._possible: list[list[int]] = [[]]
        """What the state may be, as numbers; the empty one: none."""
        self._waited = True
        """Nobody has the key: what was sent has ended."""
        self.service = self._make_service()

    def _make_service(self) -> VirtualObject:
        world = self.world
        shelf = VirtualObject("Shelf")

        @shelf.handler()
        async def put(ctx: ObjectContext, what: list[int]) -> None:
            number, ms = what
            await step(world, ctx, "put", "", 1, None, ms=ms)
            for name in await ctx.state_keys():
                ctx.clear(name)
            ctx.set(str(number), number)

        @shelf.handler()
        async def look(ctx: ObjectContext) -> list[int]:
            return [await ctx.get(name, type_hint=int) or 0 for name in await ctx.state_keys()]

        return shelf

    async def turn(self, engine: Engine) -> bool:
        self._turns -= 1
        if self._turns < 0:
            await self._look(engine)
            return False
        await self.random.choice((self._put, self._change, self._change, self._look, self._change_if))(engine)
        return True

    async def _look(self, engine: Engine) -> None:
        self._waited = False
        found = sorted(value(await engine.call(self.request("look", None, key=KEY))))
        if found not in self._possible:
            self.broken(f"the next exclusive call saw {found}, not one of {self._possible}")
        self._possible, self._waited = [found], True

    async def _put(self, engine: Engine) -> None:
        """By a handler that holds the key for a while: what comes now has to wait."""
        number = self._next(1)
        self._waited = False
        ms = self.random.choice((0, 5, 500))
        await engine.send(self.request("put", [number[0], ms], key=KEY))
        self._possible = [number]

    async def _change(self, engine: Engine) -> None:
        numbers = self._next(self.random.choice((0, 1, 1, 2)))
        done = await engine.modify_state(self.service.name, KEY, _state(numbers))
        self._possible = [numbers]
        await engine.ready()
        if done and self._now(engine) != numbers:
            self.broken(f"the state was changed to {numbers}, and is {self._now(engine)}")
        if not done and self._waited:
            self.broken("nobody holds the key, and the change of its state waits")

    async def _change_if(self, engine: Engine) -> None:
        """For the state as it is, or for another."""
        before = list(self._possible)
        right = self._waited and self.random.random() < 0.5
        numbers = self._next(1)
        version = state_version(engine.state_of(self.service.name, KEY)) if right else "another"
        await engine.modify_state(self.service.name, KEY, _state(numbers), version)
        self._possible = [numbers] if right else before

    def _next(self, count: int) -> list[int]:
        """As many new numbers. Until somebody says so, they may be there or not."""
        numbers = [self._number + at for at in range(1, count + 1)]
        self._number += count
        self._possible.append(numbers)
        self.note(f"{numbers or 'nothing'} may come behind {self._possible}")
        return numbers

    def _now(self, engine: Engine) -> list[int]:
        return sorted(json.loads(data) for data in engine.state_of(self.service.name, KEY).values())

    def judge_end(self, engine: Engine) -> None:
        if self._now(engine) not in self._possible:
            self.broken(f"the state is {self._now(engine)} in the end, not one of {self._possible}")


def _state(numbers: list[int]) -> dict[str, bytes]:
    return {str(number): json.dumps(number).encode() for number in numbers}
