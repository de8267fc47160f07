"""An operator at work on a family: an invocation that waits, what it called and sent, and what waits behind it.

What must hold: an intervention that was acknowledged has been made. Who is killed or cancelled is over with 409 for
everybody, takes along those it may not leave behind, gives its key to the next and changes no more; what is paused stays until
it is resumed, and then hears what it was told meanwhile; who is to be tried now is tried now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any

from perdure.model.ids import format_invocation_id, parse_invocation_id
from perdure.node.engine import Engine
from perdure.node.errors import ControlRefused, InvocationNotFound
from perdure.sdk.context import ObjectContext
from perdure.sdk.object import VirtualObject
from perdure.sdk.retry import InvocationRetryPolicy
from perdure.store.rows import Invocation, Status
from perdure.testing.sim.errands.errand import Errand, value
from perdure.testing.sim.steps import step
from perdure.testing.sim.world import World

OVER = ["failed", 409]
_DELAY_S = 1_000
_ACTS = {
    "signal": (("kill",), ("cancel",), ("pause", "cancel"), ("pause", "tell", "resume"), ("tell",), ("pause", "kill")),
    "sleep": (("kill",), ("cancel",), ("pause", "resume", "cancel"), ("pause", "cancel"), ("pause", "kill")),
    "step": (("kill",), ("cancel",), ("nudge", "kill"), ("pause", "kill"), ("pause", "resume", "kill")),
    "retry": (
        ("kill",),
        ("resume", "kill"),
        ("cancel",),
        ("pause", "cancel"),
        ("pause", "resume", "kill"),
        ("pause", "kill"),
    ),
}
_PATIENT = InvocationRetryPolicy(max_interval=timedelta(seconds=10), max_attempts=1_000)
_HASTY = InvocationRetryPolicy(
    initial_interval=timedelta(milliseconds=20), max_interval=timedelta(milliseconds=100), max_attempts=100_000
)
"""By what the invocation waits for: what is done to it, the last of which ends it."""

_PLAN = ("send", "act", "see", "again", "clean")


@dataclass(slots=True)
class Family:
    """One invocation and who depends on it. `asked`: the next act was begun, and may have been done."""

    key: str
    waits: str
    acts: list[str]
    parent: bytes = b""
    behind: bytes = b""
    later: bytes = b""
    children: dict[str, str] = field(default_factory=dict[str, str])
    """Ids that the parent gave away, by what they are."""
    ends: list[Any] = field(default_factory=list[Any])
    """What it comes to."""
    killed: bool = False
    asked: bool = False
    paused: bool = False


class Interventions(Errand):
    check = "intervene"

    def __init__(self, world: World, random: Random, *, forgets: bool) -> None:
        super().__init__(world, random, forgets=forgets)
        self._left = [self._family(number) for number in range(random.randint(2, 4))]
        self._known = {family.key: family for family in self._left}
        self._plan = list(_PLAN)
        self.service = self._make_service()

    def _family(self, number: int) -> Family:
        waits = self.random.choice(tuple(_ACTS))
        acts = list(self.random.choice(_ACTS[waits]))
        ends = [number] if acts[-1] in ("tell", "resume") else OVER
        return Family(f"ward {number}", waits, acts, ends=ends, killed=acts[-1] == "kill")

    def _make_service(self) -> VirtualObject:
        world, known, random = self.world, self._known, self.random
        ward = VirtualObject("Ward")

        @ward.handler(invocation_retry_policy=self.random.choice((_PATIENT, _HASTY)))
        async def lie(ctx: ObjectContext, waits: str) -> list[int]:
            called = ctx.object_call(stay, f"{ctx.key()} called")
            sent = ctx.object_send(stay, f"{ctx.key()} sent")
            held = ctx.object_send(up, ctx.key())
            children = {"called": await called.invocation_id(), "sent": await sent.invocation_id()}
            children["held"] = await held.invocation_id()
            if world.process:
                known[ctx.key()].children.update(children)
            await step(world, ctx, "lie down", "", 1, None)
            match waits:
                case "signal":
                    told = await ctx.signal("go", type_hint=int)
                    await called.cancel_invocation()
                    return [told]
                case "sleep":
                    await ctx.sleep(_DELAY_S)
                case "step":
                    await step(world, ctx, "toss", "", 2, None, ms=1_000 * _DELAY_S)
                case _:
                    await step(world, ctx, "turn", "", 2, None, times=1_000_000)
            return []

        @ward.handler()
        async def stay(ctx: ObjectContext) -> None:
            await step(world, ctx, "sigh", "", 1, None, ms=random.choice((0, 30_000)))
            if not ctx.key().endswith("below"):
                await ctx.object_call(stay, f"{ctx.key()} below")
            await ctx.awakeable()[1]

        @ward.handler()
        async def up(ctx: ObjectContext) -> str:
            return ctx.key()

        return ward

    async def turn(self, engine: Engine) -> bool:
        if not self._left:
            return False
        family, what = self._left[0], self._plan[0]
        self.note(f"{what} {family.key}, which waits for a {family.waits}, {family.acts}")
        if not await getattr(self, f"_{what}")(engine, family):
            return True
        self._plan.pop(0)
        if not self._plan:
            self._plan = list(_PLAN)
            self._left.pop(0)
        return bool(self._left)

    async def _send(self, engine: Engine, family: Family) -> bool:
        """The parent, one behind it on its key, and one that is to come much later."""
        family.parent = (
            await engine.send(self.request("lie", family.waits, key=family.key, idempotency_key="parent"))
        ).invocation_id
        family.behind = (
            await engine.send(self.request("up", None, key=family.key, idempotency_key="behind"))
        ).invocation_id
        later = self.request("up", None, key=f"{family.key} later", idempotency_key="later")
        later.delay_ms = _DELAY_S * 1000
        family.later = (await engine.send(later)).invocation_id
        await self._refused(engine.send_signal(family.later, "go", b"1"), f"a signal for what comes after {family.key}")
        return True

    async def _refused(self, asked: Awaitable[object], what: str) -> None:
        try:
            await asked
        except (ControlRefused, InvocationNotFound):
            return
        self.broken(f"{what} is acknowledged")

    async def _act(self, engine: Engine, family: Family) -> bool:
        """One thing at a time, while others wait for the end outside. False: there is more to do."""
        row = await self.find(engine, family.parent)
        if not family.acts:
            return True
        if family.paused and row is not None and row.status is not Status.PAUSED and not self.world.meddled:
            self.broken(f"{family.key} was paused, and is {row.status.name}")
        if row is None or len(family.children) < 3 or not self._is_due(family, row):
            await asyncio.sleep(0.1)
            return False
        waiting = [asyncio.ensure_future(engine.attach(family.parent)) for _ in range(2)]
        try:
            await asyncio.sleep(self.random.choice((0.0, 0.3, 3.0)) * self.random.random())
            await self._ask(engine, family, family.acts[0])
            family.acts.pop(0)
            if family.acts:
                return False
            answers = [value(each) for each in await asyncio.gather(*waiting)]
            if answers != [family.ends] * 2:
                self.broken(f"those who wait for {family.key} hear {answers}, not {family.ends}")
        finally:
            for each in waiting:
                each.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        return True

    def _is_due(self, family: Family, row: Invocation) -> bool:
        """What is to be resumed stands still, unless that was done already, or by somebody else."""
        stands = row.status is Status.PAUSED or row.retry_at_ms > 0
        return family.acts[0] != "resume" or stands or family.asked or self.world.meddled

    async def _ask(self, engine: Engine, family: Family, act: str) -> None:
        self.note(f"{act} {family.key}")
        asked, family.asked = family.asked, True
        if not asked and not self.world.meddled:
            await self._refused(engine.purge(family.parent), f"a purge of {family.key}, which lives,")
            await self._refused(engine.restart(family.parent), f"a restart of {family.key}, which lives,")
        if act != "tell":
            family.paused = False
        try:
            await self._do(engine, act, family)
        except ControlRefused as refused:
            if not asked and not self.world.meddled:
                self.broken(f"{act} of {family.key}, which lives, is refused: {refused}")
        family.asked = False
        await engine.ready()
        self.world.look_over()

    async def _do(self, engine: Engine, act: str, family: Family) -> None:
        row = await self.find(engine, family.parent)
        epoch = 0 if row is None else row.epoch
        match act:
            case "kill":
                await engine.kill(family.parent)
                await self._expect(engine, family, act, lambda row: row.status is Status.COMPLETED)
            case "cancel":
                await engine.cancel(family.parent)
            case "pause":
                await engine.pause(family.parent)
                family.paused = True
                await self._expect(engine, family, act, lambda row: row.status is Status.PAUSED)
            case "nudge":
                runs = row is not None and row.status is Status.INVOKED and not row.retry_at_ms
                if await engine.resume(family.parent) and runs and not self.world.meddled:
                    self.broken(f"{family.key} runs, and is resumed")
            case "resume":
                if await engine.resume(family.parent):
                    await self._expect(engine, family, act, lambda row: row.epoch > epoch)
            case _:
                await engine.send_signal(family.parent, "go", str(family.ends[0]).encode())

    async def _expect(self, engine: Engine, family: Family, act: str, holds: Callable[[Invocation], bool]) -> None:
        row = await self.find(engine, family.parent)
        if not self.world.meddled and row is not None and not holds(row):
            self.broken(f"{act} of {family.key} was acknowledged, and it is {row.status.name} at {row.epoch}")

    async def _see(self, engine: Engine, family: Family) -> bool:
        """Its key goes on, and those it called are over; when it was killed, all that it sent as well."""
        if value(await engine.attach(family.behind)) != family.key:
            self.broken(f"what waited behind {family.key} did not come to its end")
        if family.ends is OVER:
            await self._hear(engine, family, "called")
        if family.killed:
            await self._hear(engine, family, "sent")
        return True

    async def _hear(self, engine: Engine, family: Family, child: str) -> None:
        try:
            outcome = value(await engine.attach(parse_invocation_id(family.children[child])))
        except InvocationNotFound:
            return  # it had not started, or its retention is over
        if outcome != OVER:
            self.broken(f"what {family.key} {child} ended with {outcome}")

    async def _again(self, engine: Engine, family: Family) -> bool:
        """What has ended cannot be changed any more."""
        for act in ("kill", "cancel", "pause", "resume"):
            await self._refused(getattr(engine, act)(family.parent), f"{act} of {family.key}, which has ended,")
        try:
            outcome = await engine.attach(family.parent)
        except InvocationNotFound:
            if not self.forgets:
                self.broken(f"{family.key} is forgotten within its retention")
            return True
        if value(outcome) != family.ends:
            self.broken(f"{family.key} ended with {family.ends}, and now has {value(outcome)}")
        return True

    async def _clean(self, engine: Engine, family: Family) -> bool:
        """What nobody takes along is ended by hand, in its place or before its time, and has never run."""
        end_later = self.random.choice((engine.kill, engine.cancel))
        for end, child in ((end_later, family.later), (engine.kill, parse_invocation_id(family.children["sent"]))):
            try:
                await end(child)
            except (ControlRefused, InvocationNotFound):
                continue
            row = await self.find(engine, child)
            if row is not None and row.status is not Status.COMPLETED:
                self.broken(f"{format_invocation_id(child)} was killed and is {row.status.name}")
        await self._hear(engine, family, "sent")
        try:
            if self.random.random() < 0.5 and value(await engine.attach(family.later)):
                self.broken(f"what was to come later than {family.key} came")
        except InvocationNotFound:
            pass
        return True
