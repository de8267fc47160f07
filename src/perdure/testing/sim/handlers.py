"""The services of a simulated process: handlers that run programs, in several versions of the same code, and their helpers.

Everything that they do goes through the real SDK.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from perdure.sdk.app import App, app
from perdure.sdk.context import Context, ObjectContext, ObjectSharedContext, WorkflowContext, WorkflowSharedContext
from perdure.sdk.errors import TerminalError
from perdure.sdk.object import VirtualObject
from perdure.sdk.service import Registry, Service
from perdure.sdk.workflow import Workflow
from perdure.testing.sim.interpreter import Interpreter
from perdure.testing.sim.programs import CANCELLED, CANCELLED_CHILD
from perdure.testing.sim.steps import epoch_of, step
from perdure.testing.sim.waiting import compensate, until_cancelled
from perdure.testing.sim.world import World


def make_app(
    world: World,
    version: int,
    others: Iterable[Registry] = (),
    *,
    forgets: bool,
    worker_ms: Callable[[], int] | None = None,
    **settings: Any,
) -> App:
    """The services of a simulated process that runs this version of the code, and `others`, which have but one.

    `worker_ms`: they are served elsewhere, where this is the clock. `settings` are the app's.
    """
    services = Services(world, version, forgets=forgets, worker_ms=worker_ms).all
    return app([*services, *others], dev=False, **settings)


class Services:
    """The handlers, bound to the world that they report to. `forgets`: what has ended may be unknown at once."""

    def __init__(
        self, world: World, version: int, *, forgets: bool, worker_ms: Callable[[], int] | None = None
    ) -> None:
        self.world = world
        self.version = version
        self.forgets = forgets
        self.worker_ms = worker_ms
        self.plain = Service("Plain")
        self.thing = VirtualObject("Thing")
        self.cell = VirtualObject("Cell")
        self.lane = VirtualObject("Lane")
        self.flow = Workflow("Flow")
        self.all = [self.plain, self.thing, self.cell, self.lane, self.flow]
        self._add_runs()
        self._add_helpers()
        self._add_cell()
        self._add_lane()
        self._add_flow()

    def now_ms(self) -> int:
        """For a handler; a clock of its own tells no time where it is served elsewhere."""
        return round(asyncio.get_running_loop().time() * 1000) if self.worker_ms is None else self.worker_ms()

    def _add_runs(self) -> None:
        interpreter = Interpreter(self)
        # The code of a handler is part of an app's identity: the number in it is all in which versions 1 and 2 differ.
        if self.version == 1:

            async def run(ctx: Context, program: dict[str, Any]) -> Any:
                return await interpreter.run(ctx, program, version=1)

        elif self.version == 2:

            async def run(ctx: Context, program: dict[str, Any]) -> Any:
                return await interpreter.run(ctx, program, version=2)

        else:

            async def run(ctx: Context, program: dict[str, Any]) -> Any:
                return await interpreter.run(ctx, program, version=3)

        async def run_on_key(ctx: ObjectContext, program: dict[str, Any]) -> Any:
            return await run(ctx, program)

        self.run = self.plain.handler("run")(run)
        self.run_on_key = self.thing.handler("run")(run_on_key)

    def _add_helpers(self) -> None:
        @self.plain.handler()
        async def answer(ctx: Context, what: dict[str, Any]) -> None:
            await ctx.sleep(what["ms"] / 1000)
            if "signal" in what:
                ctx.resolve_signal(what["to"], what["signal"], what["value"])
            else:
                ctx.resolve_awakeable(what["to"], what["value"])

        @self.plain.handler()
        async def say(ctx: Context, what: dict[str, Any]) -> None:
            """Many words, one after the other."""
            await ctx.sleep(what["ms"] / 1000)
            for kind, name, value in what["words"]:
                match kind:
                    case "signal":
                        ctx.resolve_signal(what["to"], name, value)
                    case "reject":
                        ctx.reject_awakeable(name, "as the program says", value)
                    case _:
                        ctx.resolve_awakeable(name, value)

        @self.plain.handler()
        async def echo(ctx: Context, value: int) -> int:
            await ctx.sleep(0.05)
            return value

        @self.plain.handler()
        async def hang(ctx: Context, how: int) -> None:
            try:
                await until_cancelled(ctx, how)
            except TerminalError as error:
                if error.status_code != CANCELLED:
                    raise
                await compensate(
                    ctx,
                    lambda: step(self.world, ctx, "compensate", "", 1, None),
                    lambda: ctx.service_call(echo, how),
                )

        @self.plain.handler()
        async def hang_below(ctx: Context, how: int) -> None:
            try:
                await ctx.service_call(hang, how)
            except TerminalError:
                raise TerminalError("it was cancelled", CANCELLED_CHILD) from None

        self.answer, self.say, self.hang, self.hang_below = answer, say, hang, hang_below

    def _add_cell(self) -> None:
        """A register that is added to: read, then a step, then written, so that two at once would lose one."""
        world = self.world

        @self.cell.handler()
        async def add(ctx: ObjectContext, what: list[int]) -> int:
            amount, ms = what
            total = (await ctx.get("total", type_hint=int) or 0) + amount
            await step(world, ctx, "add", "", 1, None, ms=ms)
            ctx.set("total", total)
            return total

        @self.cell.handler(kind="shared")
        async def read(ctx: ObjectSharedContext) -> int:
            return await ctx.get("total", type_hint=int) or 0

        self.add, self.read = add, read

    def _add_lane(self) -> None:
        """A key that is held until somebody says so, for what is to wait behind."""
        world = self.world

        @self.lane.handler()
        async def hold(ctx: ObjectContext) -> int:
            return await ctx.signal("go", type_hint=int)

        @self.lane.handler()
        async def late(ctx: ObjectContext, token: str) -> None:
            world.came(token)

        @self.lane.handler()
        async def behind(ctx: ObjectContext, value: int) -> int:
            return value

        @self.lane.handler()
        async def note(ctx: ObjectContext, number: int) -> None:
            if not world.is_outdated(ctx.request().id, epoch_of(ctx)):
                world.in_turn(ctx.key(), number)

        self.hold, self.late, self.behind, self.note = hold, late, behind, note

    def _add_flow(self) -> None:
        @self.flow.main()
        async def main(ctx: WorkflowContext, value: int) -> int:
            ctx.set("value", value)
            told = await ctx.promise("told", type_hint=int).value()
            return min(told, await ctx.promise("told", type_hint=int).value())

        @self.flow.handler()
        async def tell(ctx: WorkflowSharedContext, value: int) -> int:
            await ctx.promise("told", type_hint=int).resolve(value)
            try:
                await ctx.promise("told", type_hint=int).resolve(0)
            except TerminalError as error:
                if "already" not in error.message:
                    raise
                return value + 1
            return 0

        self.main, self.tell = main, tell
