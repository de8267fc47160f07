"""Values at their limit and beyond it: requests, steps, state, results, messages, changes from outside, and a long journal.

What must hold: what is just small enough goes all the way, and is the same after any number of starts; what is larger is
refused by its code, nothing of it is stored, and the handler stays as it is until somebody decides.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from perdure.node.engine import Engine
from perdure.node.errors import BadRequest, TooLarge
from perdure.node.requests import NewInvocation
from perdure.sdk.context import ObjectContext
from perdure.sdk.object import VirtualObject
from perdure.sdk.retry import InvocationRetryPolicy
from perdure.store.rows import Status
from perdure.testing.sim.errands.errand import Errand, value
from perdure.testing.sim.world import World

BODY_BYTES_MAX = 5_500
"""Of a value, in a simulation."""
JOURNAL_ENTRIES_MAX = 200
_QUOTES = 2
"""That JSON puts around a text."""
_KINDS = ("step", "keep", "answer", "pass_on")
_OVERHEAD_BYTES = 1_000
"""Of a journal without anything large in it."""


class Sizes(Errand):
    check = "size"

    def __init__(self, world: World, random: Random, *, forgets: bool) -> None:
        super().__init__(world, random, forgets=forgets)
        wanted = [(kind, over) for kind in _KINDS for over in (0, 1)]
        self._turns: list[tuple[str, int]] = random.sample([*wanted, ("ramble", 1), ("ask", 0), ("change", 0)], 6)
        self._killing = False
        self.service = self._make_service()

    def _make_service(self) -> VirtualObject:
        scale = VirtualObject("Scale")
        once = InvocationRetryPolicy(max_attempts=1, on_max_attempts="pause")

        @scale.handler(invocation_retry_policy=once)
        async def step(ctx: ObjectContext, length: int) -> int:
            async def body() -> str:
                return "x" * length

            return len(await ctx.run_typed("weigh", body))

        @scale.handler(invocation_retry_policy=once)
        async def keep(ctx: ObjectContext, length: int) -> int:
            ctx.set("kept", "x" * length)
            await ctx.sleep(0.01)
            return len(await ctx.get("kept", type_hint=str) or "")

        @scale.handler(invocation_retry_policy=once)
        async def answer(ctx: ObjectContext, length: int) -> str:
            await ctx.sleep(0.01)
            return "x" * length

        @scale.handler(invocation_retry_policy=once)
        async def pass_on(ctx: ObjectContext, length: int) -> int:
            return await ctx.object_call(weigh, f"{ctx.key()} below", "x" * length)

        @scale.handler()
        async def weigh(ctx: ObjectContext, what: str) -> int:
            return len(what)

        @scale.handler(invocation_retry_policy=once)
        async def ramble(ctx: ObjectContext, length: int) -> None:
            for number in range(JOURNAL_ENTRIES_MAX):
                ctx.set("number", number)
                if number % 50 == 0:
                    await ctx.sleep(0.01)

        return scale

    async def turn(self, engine: Engine) -> bool:
        kind, over = self._turns[0]
        if kind == "ask":
            await self._ask(engine)
        elif kind == "change":
            await self._change(engine)
        elif over:
            await self._too_much(engine, kind)
        else:
            await self._just_enough(engine, kind)
        self._turns.pop(0)
        return bool(self._turns)

    def _asked(self, kind: str, over: int) -> tuple[str, NewInvocation]:
        key = f"{kind} {over}"
        return key, self.request(kind, BODY_BYTES_MAX - _QUOTES + over, key=key, idempotency_key=key)

    async def _just_enough(self, engine: Engine, kind: str) -> None:
        key, request = self._asked(kind, 0)
        found = value(await engine.call(request))
        length = BODY_BYTES_MAX - _QUOTES
        if (len(found) if isinstance(found, str) else found) != length:
            self.broken(f"{key} is just small enough, and ended with {str(found)[:100]}")
        if kind == "keep":
            await self._judge_state(engine, key, BODY_BYTES_MAX)

    async def _judge_state(self, engine: Engine, key: str, wanted: int) -> None:
        await engine.ready()
        held = len(engine.state_of(self.service.name, key).get("kept", b""))
        if held != wanted:
            self.broken(f"{key} has {held} bytes of state, not {wanted}")

    async def _too_much(self, engine: Engine, kind: str) -> None:
        key, request = self._asked(kind, 1)
        accepted = await engine.send(request)
        while True:
            await asyncio.sleep(0.5 * self.random.random())
            row = await self.find(engine, accepted.invocation_id)
            ended = row is None or row.status is Status.COMPLETED
            if self._killing and ended:
                break
            if row is None or ended:
                self.broken(f"{key} is too much, and ended: {row and str(row.result)[:100]}")
                break
            if row.status is not Status.PAUSED:
                continue
            if row.last_error is None:  # by an operator
                await engine.resume(accepted.invocation_id)
                continue
            why = "the most it can" if kind == "ramble" else f"at most {BODY_BYTES_MAX} are"
            if why not in row.last_error.message:
                self.broken(f"{key} was told {row.last_error.message}")
            if row.journal_length > JOURNAL_ENTRIES_MAX:
                self.broken(f"{key} has {row.journal_length} entries")
            if kind != "ramble":
                self._judge_stored(engine, key, row.journal_bytes)
            self._killing = True
            await engine.kill(accepted.invocation_id)
        self._killing = False

    def _judge_stored(self, engine: Engine, key: str, journal_bytes: int) -> None:
        if journal_bytes > _OVERHEAD_BYTES:
            self.broken(f"{key} was refused, and left {journal_bytes} bytes in its journal")
        if engine.state_of(self.service.name, key):
            self.broken(f"{key} was refused, and left a state")

    async def _ask(self, engine: Engine) -> None:
        """A request of just the size that is taken, and one of a byte more."""
        most = engine.settings.body_bytes_max - _QUOTES
        outcome = await engine.call(self.request("weigh", "x" * most, key="ask", idempotency_key="ask"))
        if value(outcome) != most:
            self.broken(f"a request of {most} bytes ended with {value(outcome)}")
        await self._refused(engine, TooLarge, engine.send(self.request("weigh", "x" * (most + 1), key="ask")))

    async def _change(self, engine: Engine) -> None:
        """The state of a key from outside: names and values count together."""
        most = BODY_BYTES_MAX - len("kept")
        await engine.modify_state(self.service.name, "change", {"kept": b'"' + b"x" * (most - 2) + b'"'})
        await self._judge_state(engine, "change", most)
        large = {"kept": b'"' + b"x" * (most - 1) + b'"'}
        await self._refused(engine, BadRequest, engine.modify_state(self.service.name, "change", large))
        await self._judge_state(engine, "change", most)

    async def _refused(self, engine: Engine, error: type[Exception], asked: Any) -> None:
        try:
            done = await asked
        except error:
            return
        self.broken(f"a byte too many is accepted: {done}")
