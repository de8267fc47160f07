"""Handlers that do what a handler must not: each is stopped, by name, and stays as it is until somebody decides.

What must hold: the invocation is paused with the error that says what was wrong, does not go on, and nothing else suffers.
"""

from __future__ import annotations

import asyncio
from random import Random

from perdure.node.engine import Engine
from perdure.sdk.context import ObjectContext, ObjectSharedContext
from perdure.sdk.object import VirtualObject
from perdure.sdk.retry import InvocationRetryPolicy
from perdure.store.rows import Status
from perdure.testing.sim.errands.errand import Errand
from perdure.testing.sim.world import World

_ERRORS = {
    "idle": "NothingToWaitForError",
    "poll": "TurnTooLongError",
    "connect": "DirectIOError",
    "use_outside": "UsedOutsideError",
    "wake_outside": "OutsideWakeError",
    "unordered": "UnorderedError",
    "write_shared": "StateRefused",
    "unwritable": "EncodeError",
    "stumble": "ValueError",
}
"""What each handler is told. One attempt is enough."""


class Misuse(Errand):
    check = "misuse"

    def __init__(self, world: World, random: Random, *, forgets: bool) -> None:
        super().__init__(world, random, forgets=forgets)
        self._left = random.sample(tuple(_ERRORS), random.randint(2, 4))
        self._killing = False
        self.service = self._make_service()

    def _make_service(self) -> VirtualObject:
        clumsy = VirtualObject("Clumsy")
        once = InvocationRetryPolicy(max_attempts=1, on_max_attempts="pause")

        @clumsy.handler(invocation_retry_policy=once)
        async def idle(ctx: ObjectContext) -> None:
            await asyncio.Event().wait()

        @clumsy.handler(invocation_retry_policy=once)
        async def poll(ctx: ObjectContext) -> None:
            while True:  # noqa: ASYNC110
                await asyncio.sleep(0)

        @clumsy.handler(invocation_retry_policy=once)
        async def connect(ctx: ObjectContext) -> None:
            await asyncio.open_connection("localhost", 1)

        @clumsy.handler(invocation_retry_policy=once)
        async def use_outside(ctx: ObjectContext) -> None:
            async def body() -> None:
                ctx.set("name", 1)

            await ctx.run_typed("outside", body)

        @clumsy.handler(invocation_retry_policy=once)
        async def wake_outside(ctx: ObjectContext) -> None:
            event = asyncio.Event()

            async def body() -> None:
                event.set()

            ctx.run_typed("outside", body)
            await asyncio.wait_for(event.wait(), 1_000)

        @clumsy.handler(invocation_retry_policy=once)
        async def unordered(ctx: ObjectContext) -> None:
            waits = [asyncio.sleep(1), asyncio.sleep(2)]
            try:
                for each in asyncio.as_completed(waits):
                    await each
            finally:
                for wait in waits:
                    wait.close()

        @clumsy.handler(invocation_retry_policy=once, kind="shared")
        async def write_shared(ctx: ObjectSharedContext) -> None:
            ctx.set("name", 1)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]

        @clumsy.handler(invocation_retry_policy=once)
        async def unwritable(ctx: ObjectContext) -> object:
            return object()

        @clumsy.handler(invocation_retry_policy=once)
        async def stumble(ctx: ObjectContext) -> None:
            await ctx.sleep(0.01)
            raise ValueError("as the errand says")

        return clumsy

    async def turn(self, engine: Engine) -> bool:
        name = self._left[0]
        accepted = await engine.send(self.request(name, None, key=name, idempotency_key=name))
        while True:
            await asyncio.sleep(0.5 * self.random.random())
            await engine.ready()
            row = engine.find(accepted.invocation_id)
            if self._killing and (row is None or row.status is Status.COMPLETED):
                break
            if row is None or row.status is Status.COMPLETED:
                self.broken(f"{name} ended: {row and row.result!r}")
                break
            if row.status is not Status.PAUSED:
                continue
            if row.last_error is None:  # by an operator
                await engine.resume(accepted.invocation_id)
                continue
            self.note(f"{name} was stopped")
            if not row.last_error.message.startswith(_ERRORS[name]):
                self.broken(f"{name} was told {row.last_error.message}")
            self._killing = True
            await engine.kill(accepted.invocation_id)
        self._killing = False
        self._left.pop(0)
        return bool(self._left)
