"""Deployments elsewhere as records alone: put, changed and removed, over several processes. Nobody is ever sent there.

What must hold: what was acknowledged stands as it was said, in the tables and in what the engine answers by, after any number
of starts; what nobody acknowledged is there as a whole, or not at all.
"""

from __future__ import annotations

from random import Random

from perdure.model.deployment import Deployment
from perdure.model.records import PutDeployment
from perdure.node.engine import Engine
from perdure.sdk.service import Service
from perdure.testing.sim.errands.errand import Errand
from perdure.testing.sim.world import World

_HOME = 0
"""The partition whose tables hold them."""
_IDS = ("dp_1", "dp_2", "dp_3")


class Addresses(Errand):
    check = "deployment"

    def __init__(self, world: World, random: Random, *, forgets: bool) -> None:
        super().__init__(world, random, forgets=forgets)
        self._turns = random.randint(5, 12)
        self._number = 0
        self._possible: dict[str, set[str | None]] = {each: {None} for each in _IDS}
        """The header that each may have; None: it is not there."""
        self.service = Service("Directory")

    async def turn(self, engine: Engine) -> bool:
        await engine.ready()
        self._look(engine)
        chosen = self.random.choice(_IDS)
        there = chosen in self._found(engine)
        if not there:
            await self._put(engine, chosen)
        elif self.random.random() < 0.6:
            await self._change(engine, chosen)
        else:
            self._possible[chosen].add(None)
            await engine.deployments.remove(chosen)
            self._possible[chosen] = {None}
        await engine.ready()
        self._look(engine)
        self._turns -= 1
        return self._turns > 0

    async def _put(self, engine: Engine, chosen: str) -> None:
        said = self._say(chosen)
        row = Deployment(id=chosen, uri=f"http://{chosen}.test/", additional_headers={"said": said})
        await engine.applied(PutDeployment(_HOME, engine.now_ms(), row))
        self._possible[chosen] = {said}

    async def _change(self, engine: Engine, chosen: str) -> None:
        said = self._say(chosen)
        await engine.deployments.update(chosen, additional_headers={"said": said})
        self._possible[chosen] = {said}

    def _say(self, chosen: str) -> str:
        """Something new. Until somebody says so, it may be there or not."""
        self._number += 1
        said = f"word {self._number}"
        self._possible[chosen].add(said)
        self.note(f"says {said} of {chosen}")
        return said

    def _found(self, engine: Engine) -> dict[str, str]:
        return {each.id: each.additional_headers["said"] for each in engine.registry.deployments() if each.id in _IDS}

    def _look(self, engine: Engine) -> None:
        found = self._found(engine)
        stored = engine.store.tables[_HOME].deployments()
        if {each: stored[each].additional_headers["said"] for each in _IDS if each in stored} != found:
            self.broken(f"answers go by {found}, and {sorted(stored)} are stored")
        for each, possible in self._possible.items():
            if found.get(each) not in possible:
                self.broken(f"{each} says {found.get(each)}, not one of {possible}")
            self._possible[each] = {found.get(each)}

    def judge_end(self, engine: Engine) -> None:
        self._look(engine)
