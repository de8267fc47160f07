"""Restart as new: a finished invocation is run again, from its input or from somewhere in its journal.

What must hold: each restart that was acknowledged is one more run, and no other runs there are; what the copied part of the
journal had is kept (results of steps and calls, what was drawn), and what comes behind it is done again by the copy itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from perdure.model import journal as j
from perdure.model.ids import format_invocation_id
from perdure.node.engine import Engine
from perdure.node.errors import ControlRefused, InvocationNotFound
from perdure.sdk.context import ObjectContext
from perdure.sdk.object import VirtualObject
from perdure.testing.sim.errands.errand import Errand, value
from perdure.testing.sim.steps import step
from perdure.testing.sim.world import World


@dataclass(slots=True)
class Run:
    """One invocation of the family. `results` None: not known yet; `kept`: of the steps and calls in its prefix."""

    invocation_id: bytes
    kept: list[str]
    results: list[str] | None = None

    @property
    def name(self) -> str:
        return format_invocation_id(self.invocation_id)


class Restarts(Errand):
    """The plan of a run is a list of kinds; its results are the names of those who did each step and each call."""

    check = "restart"

    def __init__(self, world: World, random: Random, *, forgets: bool) -> None:
        super().__init__(world, random, forgets=forgets)
        self._plan = ["step", *(random.choice(("step", "call", "sleep", "set")) for _ in range(random.randint(1, 4)))]
        self._turns = random.randint(2, 5)
        self._runs: list[Run] = []
        self._unsure = 0
        """Restarts that a process took down: each may be a run or not."""
        self._ran: set[str] = set()
        self.service = self._make_service()

    def _make_service(self) -> VirtualObject:
        world, ran = self.world, self._ran
        restarted = VirtualObject("Restarted")

        @restarted.handler()
        async def tell(ctx: ObjectContext, plan: list[str]) -> list[str]:
            me = ctx.request().id
            if world.process:
                ran.add(me)
            drawn = str(ctx.uuid())
            if await step(world, ctx, "draw", "", 1, drawn) != drawn:
                world.broken("replay", f"{me} does not draw what the journal that was copied for it has")
            told: list[str] = []
            for index, kind in enumerate(plan, 2):
                match kind:
                    case "step":
                        told.append(await step(world, ctx, f"step {index}", "", index, me, ms=index))
                    case "call":
                        told.append(await ctx.object_call(whoami, f"{ctx.key()} {index}"))
                    case "sleep":
                        await ctx.sleep(0.01 * index)
                    case _:
                        ctx.set("told", index)
            return told

        @restarted.handler()
        async def whoami(ctx: ObjectContext) -> str:
            me: str = await step(world, ctx, "whoami", "", 1, ctx.request().id)
            return me

        return restarted

    async def turn(self, engine: Engine) -> bool:
        if not self._runs:
            outcome = await engine.call(self.request("tell", self._plan, key="tale", idempotency_key="first"))
            self._runs.append(Run(outcome.invocation_id, [], value(outcome)))
            self._judge(self._runs[0])
            return True
        for run in self._runs:
            if run.results is None:
                return await self._wait_for(engine, run)
        if len(self._runs) + self._unsure > self._turns:
            return False
        return await self._restart(engine, self.random.choice(self._runs))

    async def _restart(self, engine: Engine, run: Run) -> bool:
        try:
            row, journal = engine.describe(run.invocation_id)
        except InvocationNotFound:
            return self._gone(run)
        from_index = self.random.choice((0, self.random.randrange(max(1, row.journal_length - 1))))
        assert run.results is not None
        copied = journal.entries[1 : from_index + 1]
        kept = run.results[: sum(1 for entry in copied if _tells(entry))]
        self.note(f"restarts {run.name} from {from_index}, which keeps {len(kept)}")
        self._unsure += 1
        try:
            new_id = await engine.restart(run.invocation_id, from_index=from_index)
        except (InvocationNotFound, ControlRefused):
            self._unsure -= 1
            return self._gone(run)
        self._unsure -= 1
        self._runs.append(Run(new_id, kept))
        return True

    def _gone(self, run: Run) -> bool:
        if not self.forgets:
            self.broken(f"{run.name} has ended and is kept, and cannot be restarted")
        return False

    async def _wait_for(self, engine: Engine, run: Run) -> bool:
        try:
            run.results = value(await engine.attach(run.invocation_id))
        except InvocationNotFound:
            return self._gone(run)
        self._judge(run)
        return True

    def _judge(self, run: Run) -> None:
        """What was kept is kept, and the rest was done by the run itself."""
        results = run.results
        steps = [kind for kind in self._plan if kind in ("step", "call")]
        if not isinstance(results, list) or len(results) != len(steps) or results[: len(run.kept)] != run.kept:
            self.broken(f"{run.name} returned {results}, and its prefix had {run.kept} of {steps}")
            return
        before: set[Any] = {told for other in self._runs if other is not run for told in other.results or ()}
        for kind, told in list(zip(steps, results, strict=True))[len(run.kept) :]:
            if (told != run.name) if kind == "step" else told in before:
                self.broken(f"a {kind} of {run.name} behind its prefix was done by {told}")

    def judge_end(self, engine: Engine) -> None:
        known = {run.name for run in self._runs}
        if not known <= self._ran:
            self.broken(f"restarted and acknowledged, but never run: {sorted(known - self._ran)}")
        if len(self._ran - known) > self._unsure:
            self.broken(f"{len(self._ran)} runs of {len(known)} that were asked for, {self._unsure} of them unsure")


def _tells(entry: Any) -> bool:
    """Whether a command is one of those whose answers a run returns."""
    return type(entry) is j.Call or (type(entry) is j.Run and entry.name.startswith("step"))
