"""Retry policies that come to their end: one kills the invocation, one pauses it until somebody resumes it, two give up steps.

What must hold: nobody gives up before the attempts that were promised, nor makes more of them than processes took down; who is
killed takes along what it sent; who is paused stays, and goes on when it is resumed, with its failures counted anew; steps
side by side are counted each for itself.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from random import Random

from perdure.model.ids import format_invocation_id
from perdure.node.engine import Engine
from perdure.node.errors import InvocationNotFound
from perdure.node.requests import Outcome
from perdure.sdk.context import Context
from perdure.sdk.errors import TerminalError
from perdure.sdk.retry import InvocationRetryPolicy
from perdure.sdk.service import Service
from perdure.store.rows import Status
from perdure.testing.sim.errands.errand import Errand, value
from perdure.testing.sim.steps import step
from perdure.testing.sim.world import World

_KILLED_AFTER = 3
_PAUSED_AFTER = 2
_SLIPS = (2, 5)
_FIRST = timedelta(milliseconds=30)


class GivingUp(Errand):
    check = "give-up"

    def __init__(self, world: World, random: Random, *, forgets: bool) -> None:
        super().__init__(world, random, forgets=forgets)
        self._turns = [random.choice(("fall", "stumble", "slip")) for _ in range(random.randint(1, 3))]
        self._stumbling = b""
        self._began_in: dict[str, int] = {}
        """In which process a turn was first taken."""
        self.service = self._make_service()

    def _make_service(self) -> Service:
        world = self.world
        frail = Service("Frail")

        @frail.handler(
            invocation_retry_policy=InvocationRetryPolicy(
                initial_interval=_FIRST, max_attempts=_KILLED_AFTER, on_max_attempts="kill"
            )
        )
        async def fall(ctx: Context) -> None:
            ctx.service_send(wait_for_ever)
            await step(world, ctx, "fall", "", 1, None, times=1_000_000)

        @frail.handler(
            invocation_retry_policy=InvocationRetryPolicy(
                initial_interval=_FIRST, max_attempts=_PAUSED_AFTER, on_max_attempts="pause"
            )
        )
        async def stumble(ctx: Context, times: int) -> int:
            stumbled: int = await step(world, ctx, "stumble", "", 1, times, times=times)
            return stumbled

        @frail.handler()
        async def slip(ctx: Context) -> list[int]:
            steps = [
                step(world, ctx, f"slip {most}", str(most), 1, None, times=1_000_000, attempts_max=most)
                for most in _SLIPS
            ]
            codes: list[int] = []
            for each in steps:
                try:
                    await each
                except TerminalError as error:
                    codes.append(error.status_code)
            return codes

        @frail.handler()
        async def wait_for_ever(ctx: Context) -> None:
            await ctx.awakeable()[1]

        return frail

    async def turn(self, engine: Engine) -> bool:
        if not self._turns:
            return False
        await getattr(self, f"_{self._turns[0]}")(engine)
        self._turns.pop(0)
        return bool(self._turns)

    async def _fall(self, engine: Engine) -> None:
        key, outcome = await self._call(engine, "fall")
        if value(outcome) != ["failed", 500]:
            self.broken(f"{key} was to give up, and ended with {value(outcome)}")
        self._count(key, outcome, "fall", _KILLED_AFTER)

    async def _slip(self, engine: Engine) -> None:
        key, outcome = await self._call(engine, "slip")
        if value(outcome) != [500] * len(_SLIPS):
            self.broken(f"the steps of {key} were to give up, and it ended with {value(outcome)}")
        for most in _SLIPS:
            self._count(key, outcome, f"slip {most}", most)

    async def _call(self, engine: Engine, handler: str) -> tuple[str, Outcome]:
        key = f"{handler} {len(self._turns)}"
        self._began_in.setdefault(key, self.world.process)
        return key, await engine.call(self.request(handler, None, idempotency_key=key))

    def _count(self, key: str, outcome: Outcome, name: str, promised: int) -> None:
        """A process that dies may take one attempt along, of which nobody knows; who resumes it has all counted anew."""
        runs = self.world.runs_of(format_invocation_id(outcome.invocation_id), name)
        deaths = self.world.process - self._began_in[key]
        self.note(f"{name} of {key} gave up after {runs}")
        if runs < promised or (runs > promised + deaths and not self.world.meddled):
            self.broken(
                f"{name} of {key} gave up after {runs} attempts; {promised} were promised, {deaths} processes died"
            )

    async def _stumble(self, engine: Engine) -> None:
        times = 1 + 2 * len(self._turns)
        if not self._stumbling:
            accepted = await engine.send(self.request("stumble", times, idempotency_key=f"stumble {times}"))
            self._stumbling = accepted.invocation_id
        while True:
            await asyncio.sleep(0.5 * self.random.random())
            row = await self.find(engine, self._stumbling)
            if row is None:
                raise InvocationNotFound()
            if row.status is Status.COMPLETED:
                break
            if row.status is Status.PAUSED:
                self.note(f"resumes stumble {times}")
                await engine.resume(self._stumbling)
        found = value(await engine.attach(self._stumbling))
        if found != times:
            self.broken(f"stumble {times} was to be paused and resumed, and ended with {found}")
        self._stumbling = b""
