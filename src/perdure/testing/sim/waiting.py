"""What programs do that is about waiting: timers and limits, signals early and late, what is given up or left behind.

A part of the interpreter. Each operation's result follows from what is promised of the author's side, so `programs` knows it
before it runs; nothing here depends on how long a process lives or how often a handler is replayed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextvars import ContextVar
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from perdure.sdk.combinators import as_completed, gather, select, wait_completed
from perdure.sdk.errors import TerminalError
from perdure.testing.sim.programs import CANCELLED_CHILD, REFUSED, Operation, Program

if TYPE_CHECKING:
    from perdure.testing.sim.handlers import Services
    from perdure.testing.sim.world import World

LONG_S = 1_000_000.0
the_end: ContextVar[asyncio.Event] = ContextVar("the_end")
"""Of a program: set when it has nothing left to do but return."""


class Waiting:
    """What the operations need of the interpreter, and the operations."""

    _services: Services
    _world: World
    _run_step: Callable[..., Any]
    _launch: Callable[[Any, Program, int], Any]

    # --- timers -----------------------------------------------------------------------------------------------------------

    async def _naps(self, ctx: Any, op: Operation, branch: str, index: int) -> list[int]:
        """Many timers of asyncio at once: they end by their time, then as they were made, and none ends early."""
        loop, order = asyncio.get_running_loop(), list[int]()
        began_ms = round(loop.time() * 1000)

        async def nap(number: int, ms: int) -> None:
            await asyncio.sleep(ms / 1000)
            order.append(number)
            if round(loop.time() * 1000) < began_ms + ms:
                self._world.broken("early", f"a nap of {ms} ms of {ctx.request().id} ended early")

        given_up = [asyncio.create_task(asyncio.sleep(ms / 2000)) for ms in op.delays[::3]]
        await asyncio.sleep(0)
        for task in given_up:
            task.cancel()
        await asyncio.gather(*(nap(number, ms) for number, ms in enumerate(op.delays)))
        return order

    async def _sleeps(self, ctx: Any, op: Operation, branch: str, index: int) -> list[int]:
        """The same with durable ones, in the order in which they complete."""
        sleeps = [ctx.sleep(timedelta(milliseconds=ms)) for ms in op.delays]
        return [sleeps.index(done) async for done in as_completed(*sleeps)]

    async def _limits(self, ctx: Any, op: Operation, branch: str, index: int) -> bool:
        """A limit within a limit: the one that is due first ends the wait, and what was waited for may come later.

        When both are due at once, because nothing ran meanwhile, it is the outer one that is heard, as in asyncio.
        """
        outer_ms, inner_ms = op.delays
        found = "none"
        try:
            async with asyncio.timeout(outer_ms / 1000):
                try:
                    async with asyncio.timeout(inner_ms / 1000):
                        await self._in_vain(ctx, op.value, max(op.delays) + 100)
                except TimeoutError:
                    found = "inner"
        except TimeoutError:
            found = "outer"
        await asyncio.sleep(max(op.delays) / 1000 + 0.2)
        return found == "outer" or (found == "inner" and inner_ms < outer_ms)

    async def _in_vain(self, ctx: Any, how: int, ms: int) -> None:
        match how % 5:
            case 0:
                await ctx.awakeable()[1]
            case 1:
                await ctx.sleep(timedelta(milliseconds=ms))
            case 2:
                await ctx.signal("nobody sends this")
            case 3:
                await asyncio.Event().wait()
            case _:
                await asyncio.gather(asyncio.sleep(ms / 1000), ctx.awakeable()[1])

    async def _first(self, ctx: Any, op: Operation, branch: str, index: int) -> Any:
        """The first of several; the others are given up one after the other, as a set gives them."""
        sleeps = [ctx.sleep(timedelta(milliseconds=ms)) for ms in (op.ms, *(op.ms + 60_000 + ms for ms in op.delays))]
        done, others = await asyncio.wait(sleeps, return_when=asyncio.FIRST_COMPLETED)
        given_up: list[int] = []
        for other in others:
            other.cancel()
            number = sleeps.index(other)
            place = f"{branch}{index}.{number}"
            given_up.append(await self._run_step(ctx, f"{branch}{index} given up {number}", place, 1, number))
        return [[sleeps.index(each) for each in done], sorted(given_up)]

    async def _choose(self, ctx: Any, op: Operation, branch: str, index: int) -> Any:
        soon_ms, late_ms = op.ms, op.ms + op.delays[0] + 1_000

        def wait(ms: int) -> Awaitable[None]:
            waiting: Awaitable[None] = ctx.sleep(timedelta(milliseconds=ms))
            return waiting

        chosen, _ = await select(late=wait(late_ms), soon=wait(soon_ms))
        done, left = await wait_completed(wait(late_ms), wait(soon_ms), ctx.awakeable()[1])
        steps = await gather(
            *(self._run_step(ctx, f"{branch}{index} {n}", f"{branch}{index}.{n}", 1, n) for n in (0, 1))
        )
        return [chosen, len(done), len(left), [await each for each in steps]]

    # --- signals ------------------------------------------------------------------------------------------------------------

    async def _heard(self, ctx: Any, op: Operation, branch: str, index: int) -> Any:
        """One signal is given up, two are waited for, two come before anybody asks: each goes to who has waited longest."""
        name, value = f"{branch}{index}", op.value
        try:
            async with asyncio.timeout(0.01):
                await ctx.signal(name)
        except TimeoutError:
            pass
        first, second = (ctx.signal(name, type_hint=int) for _ in range(2))
        words = [["signal", name, value + more] for more in range(4)]
        ctx.service_send(self._services.say, {"to": ctx.request().id, "ms": op.ms, "words": words})
        found = [await second, await first]
        await ctx.sleep(0.2)
        return [*found, await ctx.signal(name, type_hint=int), await ctx.signal(name, type_hint=int)]

    async def _answered(self, ctx: Any, op: Operation, branch: str, index: int) -> Any:
        """One awakeable is resolved twice, one before it is waited for, one is rejected."""
        names, answers = zip(*(ctx.awakeable(type_hint=int) for _ in range(3)), strict=True)
        words: list[list[Any]] = [["awakeable", names[0], op.value], ["awakeable", names[0], 0]]
        words += [["reject", names[1], REFUSED], ["awakeable", names[2], op.value + 1]]
        ctx.service_send(self._services.say, {"to": "", "ms": op.ms, "words": words})
        found = [await answers[2], await answers[0]]
        try:
            await answers[1]
        except TerminalError as error:
            if error.status_code != REFUSED:
                raise
            found.append(REFUSED)
        return found

    # --- steps that fail, and what is left ------------------------------------------------------------------------------------

    async def _doomed(self, ctx: Any, op: Operation, branch: str, index: int) -> Any:
        """A step whose failure is its result."""

        def refuse() -> None:
            raise TerminalError("as the step says", REFUSED)

        try:
            await self._run_step(ctx, f"{branch}{index}", branch, index, op.value, ms=op.ms, act=refuse)
        except TerminalError as error:
            if error.status_code != REFUSED:
                raise
            return ["failed", REFUSED]

    async def _left(self, ctx: Any, op: Operation, branch: str, index: int) -> None:
        """A task that is left to the end of its handler, and sends something on its way out: once, and then only."""
        assert op.program is not None
        task = asyncio.create_task(self._linger(ctx, op.program, the_end.get() if op.value % 2 else None))
        task.set_name("left")
        await asyncio.sleep(0)

    async def _linger(self, ctx: Any, program: Program, woken: asyncio.Event | None) -> None:
        """`woken` right before the handler returns, which is too late."""
        try:
            await (asyncio.sleep(LONG_S) if woken is None else woken.wait())
            self._world.broken("left", f"a task of {ctx.request().id} went on after its handler had returned")
        finally:
            self._launch(ctx, program, 0)

    async def _stream(self, ctx: Any, op: Operation, branch: str, index: int) -> list[int]:
        """An async generator that nobody reads to its end: what it does when it is closed counts, once."""
        assert op.program is not None
        program, found = op.program, list[int]()

        async def numbers() -> AsyncIterator[int]:
            try:
                for number in range(5):
                    await ctx.sleep(timedelta(milliseconds=op.ms))
                    yield number
            finally:
                self._launch(ctx, program, 0)

        async for number in numbers():
            found.append(number)
            if len(found) == 2:
                break
        await asyncio.sleep(0.01)
        return found

    async def _queue(self, ctx: Any, op: Operation, branch: str, index: int) -> list[int]:
        queue: asyncio.Queue[int] = asyncio.Queue(1)

        async def fill() -> None:
            for number in range(3):
                await queue.put(number)
                await ctx.sleep(timedelta(milliseconds=op.ms))

        async def empty() -> list[int]:
            found: list[int] = []
            for number in range(3):
                found.append(await queue.get())
                await self._run_step(ctx, f"{branch}{index} {number}", f"{branch}{index}.q.", number, number)
            return found

        _, found = await asyncio.gather(fill(), empty())
        return found


async def until_cancelled(ctx: Any, how: int) -> None:
    """Wait, in one of many ways, for what never comes. Errors: TerminalError 409 when the invocation is cancelled."""
    ways: tuple[Callable[[], Awaitable[object]], ...] = (
        lambda: ctx.awakeable()[1],
        lambda: ctx.signal("nobody sends this"),
        lambda: ctx.sleep(LONG_S),
        lambda: asyncio.sleep(LONG_S),
        lambda: asyncio.wait_for(ctx.awakeable()[1], LONG_S),
        lambda: asyncio.gather(asyncio.sleep(LONG_S), asyncio.sleep(2 * LONG_S)),
        lambda: gather(ctx.awakeable()[1], ctx.sleep(LONG_S)),
        lambda: select(one=ctx.awakeable()[1], other=ctx.sleep(LONG_S)),
        lambda: _as_a_group(ctx.awakeable()[1], ctx.sleep(LONG_S), ctx.signal("nobody sends this")),
        lambda: _unaware(ctx, _sleep_durably),
        lambda: _unaware(ctx, _sleep),
        lambda: _unaware(ctx, _take_a_step),
    )
    await ways[how % len(ways)]()


async def _as_a_group(*waits: Awaitable[object]) -> None:
    async def one(wait: Awaitable[object]) -> None:
        await wait

    try:
        async with asyncio.TaskGroup() as group:
            for wait in waits:
                begun: Coroutine[Any, Any, None] = one(wait)
                group.create_task(begun)
    except* TerminalError as errors:
        raise errors.exceptions[0] from None


async def _unaware(ctx: Any, go_on: Callable[[Any, int], Awaitable[object]]) -> None:
    """Nothing durable is pending that could fail: the next operation does, whatever it is."""
    for number in range(100):
        try:
            async with asyncio.timeout(20):
                await asyncio.Event().wait()
        except TimeoutError:
            await go_on(ctx, number)


async def _sleep_durably(ctx: Any, number: int) -> None:
    await ctx.sleep(0.001)


async def _sleep(ctx: Any, number: int) -> None:
    await asyncio.sleep(0.001)


async def _take_a_step(ctx: Any, number: int) -> None:
    async def nothing() -> None:
        pass

    await ctx.run_typed(f"unaware {number}", nothing)


async def compensate(ctx: Any, undo: Callable[[], Awaitable[object]], tell: Callable[[], Awaitable[object]]) -> None:
    """What one does who was cancelled: nothing of it is cancelled again."""
    await undo()
    await asyncio.sleep(0.01)
    await ctx.sleep(0.01)
    await tell()
    raise TerminalError("it was cancelled", CANCELLED_CHILD) from None
