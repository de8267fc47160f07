"""Requests that must be refused: unknown targets, keys where there are none, bodies and inboxes beyond their bounds.

What must hold: each is refused by its own error and leaves nothing behind; what stands in a full inbox comes to its end.
"""

from __future__ import annotations

from random import Random

from perdure.model.errors import PerdureError
from perdure.model.target import Target
from perdure.node.engine import Engine
from perdure.node.errors import BadRequest, HandlerNotFound, Overloaded, ServiceNotFound, TooLarge
from perdure.node.requests import NewInvocation
from perdure.sdk.context import ObjectContext
from perdure.sdk.object import VirtualObject
from perdure.testing.sim.errands.errand import Errand, value
from perdure.testing.sim.world import World

KEY = "desk"


class Refusals(Errand):
    check = "refusal"

    def __init__(self, world: World, random: Random, *, forgets: bool) -> None:
        super().__init__(world, random, forgets=forgets)
        self._plan = ["wrong", "hold", "fill", "too_many", "let_go"]
        self._holder = b""
        self._waiting: list[bytes] = []
        self.service = self._make_service()

    def _make_service(self) -> VirtualObject:
        desk = VirtualObject("Desk")

        @desk.handler()
        async def hold(ctx: ObjectContext) -> int:
            return await ctx.signal("go", type_hint=int)

        @desk.handler()
        async def take(ctx: ObjectContext, number: int) -> int:
            return number

        return desk

    async def turn(self, engine: Engine) -> bool:
        if await getattr(self, f"_{self._plan[0]}")(engine):
            self._plan.pop(0)
        return bool(self._plan)

    async def _wrong(self, engine: Engine) -> bool:
        large = b'"' + b"x" * engine.settings.body_bytes_max + b'"'
        json = "application/json"
        for error, request in (
            (ServiceNotFound, NewInvocation(Target("Nowhere", None, "take"))),
            (HandlerNotFound, NewInvocation(Target("Desk", KEY, "nothing"))),
            (BadRequest, NewInvocation(Target("Desk", None, "hold"))),
            (BadRequest, NewInvocation(Target("Plain", KEY, "hang"))),
            (TooLarge, NewInvocation(Target("Desk", KEY, "take"), large, json)),
        ):
            await self._refused(engine, error, request)
        return True

    async def _refused(self, engine: Engine, error: type[PerdureError], request: NewInvocation) -> None:
        try:
            accepted = await engine.send(request)
        except error:
            return
        self.broken(f"{request.target} with {len(request.body)} bytes is accepted: {accepted}")

    async def _hold(self, engine: Engine) -> bool:
        accepted = await engine.send(self.request("hold", None, key=KEY, idempotency_key="hold"))
        self._holder = accepted.invocation_id
        return True

    async def _fill(self, engine: Engine) -> bool:
        """One more in the inbox; True: it is full."""
        number = len(self._waiting)
        if number == engine.settings.inbox_length_max:
            return True
        accepted = await engine.send(self.request("take", number, key=KEY, idempotency_key=f"take {number}"))
        self._waiting.append(accepted.invocation_id)
        return False

    async def _too_many(self, engine: Engine) -> bool:
        await self._refused(engine, Overloaded, self.request("take", -1, key=KEY))
        return True

    async def _let_go(self, engine: Engine) -> bool:
        await engine.signal(self._holder, "go", b"1")
        found = [value(await engine.attach(invocation_id)) for invocation_id in self._waiting]
        if found != list(range(len(found))):
            self.broken(f"what stood in the full inbox returned {found}")
        return True
