"""Retry policies that come to their end: one kills the invocation, one pauses it until somebody resumes it.

What must hold: nobody gives up before the attempts that were promised; who is killed takes along what it sent; who is paused
stays, and goes on when it is resumed, with its failures counted anew.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from random import Random

from perdure.model.ids import format_invocation_id
from perdure.node.engine import Engine
from perdure.node.errors import InvocationNotFound
from perdure.sdk.context import Context
from perdure.sdk.retry import InvocationRetryPolicy
from perdure.sdk.service import Service
from perdure.store.rows import Status
from perdure.testing.sim.errands.errand import Errand, value
from perdure.testing.sim.steps import step
from perdure.testing.sim.world import World

_KILLED_AFTER = 3
_PAUSED_AFTER = 2
_FIRST = timedelta(milliseconds=30)


class GivingUp(Errand):
    check = "give-up"

    def __init__(self, world: World, random: Random, *, forgets: bool) -> None:
        super().__init__(world, random, forgets=forgets)
        self._turns = [random.choice(("fall", "stumble")) for _ in range(random.randint(1, 3))]
        self._stumbling = b""
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
        async def wait_for_ever(ctx: Context) -> None:
            await ctx.awakeable()[1]

        return frail

    async def turn(self, engine: Engine) -> bool:
        if not self._turns:
            return False
        await (self._fall if self._turns[0] == "fall" else self._stumble)(engine)
        self._turns.pop(0)
        return bool(self._turns)

    async def _fall(self, engine: Engine) -> None:
        key = f"fall {len(self._turns)}"
        outcome = await engine.call(self.request("fall", None, idempotency_key=key))
        runs = self.world.runs_of(format_invocation_id(outcome.invocation_id), "fall")
        self.note(f"{key} gave up after {runs}")
        if value(outcome) != ["failed", 500] or runs < _KILLED_AFTER:
            self.broken(f"{key} ended with {value(outcome)} after {runs} attempts of {_KILLED_AFTER}")

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
