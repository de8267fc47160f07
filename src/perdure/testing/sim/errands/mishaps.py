"""Handlers to whom something happens: they fail beside a step that runs, after they have asked for something, by a limit, or
give up before anything has begun.

What must hold: what was asked for and what was done counts, once; a step has the time that it was given; who asks for a later
try gets it then; what was given up before it began never begins. Where attempts are watched it is seen that who fails waits for
what runs, up to the abort timeout and no longer, and tells of its first failure.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from random import Random
from typing import Any

from perdure.model.ids import format_invocation_id
from perdure.node.engine import Engine
from perdure.sdk.combinators import gather
from perdure.sdk.context import Context
from perdure.sdk.errors import RetryableError
from perdure.sdk.retry import InvocationRetryPolicy
from perdure.sdk.service import Service
from perdure.sdk.steps import RunOptions
from perdure.testing.sim.errands.errand import Errand, value
from perdure.testing.sim.steps import step
from perdure.testing.sim.world import World

_SOON = InvocationRetryPolicy(initial_interval=timedelta(milliseconds=30))
_ABORT = timedelta(milliseconds=200)
_LONG_MS = 5_000
"""Of a step: longer than any bound of what is late."""
_LATER_S = 0.7


class Mishaps(Errand):
    check = "mishap"

    def __init__(self, world: World, random: Random, *, forgets: bool) -> None:
        super().__init__(world, random, forgets=forgets)
        self._left = random.sample(("trip", "beside", "outlast", "hasty", "later", "given_up", "rest"), 4)
        self._times = random.randint(1, 2)
        self._tripped = False
        self._attempts: dict[str, int] = {}
        """That failed so far, by invocation."""
        self._not_before: dict[str, tuple[int, int]] = {}
        """Per invocation: the process that was told of a later try, and when that is to be. Another one may not know of it."""
        self.service = self._make_service()

    def _make_service(self) -> Service:
        world, times = self.world, self._times
        porter = Service("Porter")

        @porter.handler(invocation_retry_policy=_SOON)
        async def trip(ctx: Context) -> int:
            """Asks for something, and falls before it waits."""
            ctx.service_send(carry, "parcel")
            if self._fails(ctx):
                raise _Mishap("tripped")
            return 1

        @porter.handler()
        async def carry(ctx: Context, token: str) -> None:
            world.entered(ctx.request().id, f"porter {token}")

        @porter.handler(invocation_retry_policy=_SOON)
        async def beside(ctx: Context) -> list[Any]:
            """One step fails while another runs, and a third fails later."""
            slow = step(world, ctx, "slow", "a", 1, 1, ms=300)
            quick = step(world, ctx, "quick", "b", 1, 2, times=times)
            after = step(world, ctx, "after", "c", 1, 3, times=1, ms=50)
            return [await each for each in (slow, quick, after)]

        @porter.handler(invocation_retry_policy=_SOON, abort_timeout=_ABORT)
        async def outlast(ctx: Context) -> list[Any]:
            """A step outlasts the attempt, which has failed."""
            slow = step(world, ctx, "slow", "a", 1, 1, ms=_LONG_MS)
            quick = step(world, ctx, "quick", "b", 1, 2, times=times)
            return [await slow, await quick]

        @porter.handler(invocation_retry_policy=_SOON)
        async def hasty(ctx: Context) -> int:
            """A step that hangs has a limit."""
            invocation_id = ctx.request().id

            async def body() -> int:
                with world.runs(invocation_id, "hasty", "", 1):
                    if world.runs_of(invocation_id, "hasty") == 1:
                        await asyncio.sleep(_LONG_MS / 1000)
                        self.broken("a step took more time than it was given")
                    return 1

            limit = RunOptions[int](timeout=timedelta(milliseconds=100))
            return await ctx.run_typed("hasty", body, limit)

        @porter.handler(invocation_retry_policy=_SOON)
        async def later(ctx: Context) -> int:
            """Says when it wants to be tried again."""
            invocation_id = ctx.request().id
            process, at_ms = self._not_before.get(invocation_id, (0, 0))
            early_ms = at_ms - world.now_ms()
            if world.process and world.process == process and early_ms > 0 and not world.meddled:
                self.broken(f"it was tried again {early_ms} ms before the time that it had asked for")
            if self._fails(ctx):
                self._not_before[invocation_id] = world.process, world.now_ms() + round(_LATER_S * 1000)
                raise RetryableError("later", retry_after=_LATER_S)
            return 1

        @porter.handler(invocation_retry_policy=_SOON)
        async def given_up(ctx: Context) -> int:
            async def body() -> int:
                self.broken("a step began that had been given up")
                return 0

            ctx.run_typed("given up", body).cancel()
            return await step(world, ctx, "next", "", 1, 1)  # type: ignore[no-any-return]

        @porter.handler()
        async def rest(ctx: Context) -> int:
            """Timers soon and late."""
            await gather(*(ctx.sleep(timedelta(seconds=seconds)) for seconds in (0.4, 1.2, 20)))
            return 1

        return porter

    def _fails(self, ctx: Context) -> bool:
        """Whether this attempt is one of those that fail."""
        invocation_id = ctx.request().id
        failed = self._attempts.get(invocation_id, 0)
        if self.world.process:
            self._attempts[invocation_id] = failed + 1
        return failed < self._times

    async def turn(self, engine: Engine) -> bool:
        if not self._left:
            return False
        name = self._left[0]
        outcome = await engine.call(self.request(name, None, idempotency_key=name))
        if value(outcome) != _RESULTS.get(name, 1):
            self.broken(f"{name} ended with {value(outcome)}: {format_invocation_id(outcome.invocation_id)}")
        self._tripped |= name == "trip"
        self._left.pop(0)
        return bool(self._left)

    def judge_end(self, engine: Engine) -> None:
        if self._tripped and len(self.world.entries.get("porter parcel", ())) != 1:
            self.broken("what was asked for before a fall was not done")


_RESULTS = {"beside": [1, 2, 3], "outlast": [1, 2]}


class _Mishap(Exception):
    """What a handler raises that is not meant to end it."""
