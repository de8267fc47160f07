"""The interpreter of programs: each operation through the public API, in the context that it is given.

Each step has a name and a place (its branch, and a number that grows along it), so that the world can tell what may not run
again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from perdure.sdk.errors import TerminalError
from perdure.testing.sim.programs import (
    CANCELLED_CHILD,
    NOT_FOUND,
    REFUSED,
    WIDTH,
    Kind,
    Operation,
    Program,
    big,
    expected,
)
from perdure.testing.sim.steps import step
from perdure.testing.sim.waiting import Waiting, the_end

if TYPE_CHECKING:
    from perdure.testing.sim.handlers import Services

INCOMPATIBLE = 3
"""The version that swaps the two steps of `swap`: what has begun under another must not go on under it."""


class Interpreter(Waiting):
    """Runs a program's operations, in order, each through the context it is given."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._world = services.world
        self._methods: dict[str, Callable[[Any, Operation, str, int], Awaitable[Any]]] = {
            kind: getattr(self, f"_{kind}") for kind in get_args(Kind)
        }

    async def run(self, ctx: Any, data: dict[str, Any], *, version: int) -> Any:
        program = msgspec.convert(data, Program)
        self._world.entered(ctx.request().id, program.token)
        end = asyncio.Event()
        the_end.set(end)
        await self._run_step(ctx, f"enter {program.token}", "", 0, None)
        results = await self._sequence(ctx, program.operations, "")
        end.set()
        if program.fails:
            raise TerminalError("as the program says", REFUSED)
        return results

    async def _sequence(self, ctx: Any, operations: list[Operation], branch: str) -> list[Any]:
        results: list[Any] = []
        for index, operation in enumerate(operations, 1):
            results.append(await self._methods[operation.kind](ctx, operation, branch, index * 10))
            now_s = asyncio.get_running_loop().time()
            self._world.same(ctx.request().id, f"time {branch}{index}", f"{now_s:.3f}")
        return results

    def _run_step(self, ctx: Any, name: str, branch: str, index: int, value: Any, **how: Any) -> Any:
        return step(self._world, ctx, name, branch, index, value, **how)

    # --- steps ------------------------------------------------------------------------------------------------------------

    async def _step(self, ctx: Any, op: Operation, branch: str, index: int) -> Any:
        found = await self._run_step(ctx, f"{branch}{index}", branch, index, op.value, ms=op.ms)
        if self._services.worker_ms is None:
            self._world.seen_at(ctx.request().id, f"{branch}{index}", asyncio.get_running_loop().time())
        return found

    async def _big(self, ctx: Any, op: Operation, branch: str, index: int) -> Any:
        return await self._run_step(ctx, f"{branch}{index}", branch, index, big(op), ms=op.ms)

    async def _wide(self, ctx: Any, op: Operation, branch: str, index: int) -> int:
        places = [(f"{branch}{index} {number}", f"{branch}{index}.{number}") for number in range(WIDTH)]
        found = await asyncio.gather(*(self._run_step(ctx, name, place, 1, big(op)) for name, place in places))
        return found.count(big(op))

    async def _thread(self, ctx: Any, op: Operation, branch: str, index: int) -> Any:
        return await self._run_step(ctx, f"{branch}{index}", branch, index, op.value, thread=True)

    async def _failing(self, ctx: Any, op: Operation, branch: str, index: int) -> Any:
        return await self._run_step(ctx, f"{branch}{index}", branch, index, op.value, ms=op.ms, times=op.times)

    async def _swap(self, ctx: Any, op: Operation, branch: str, index: int) -> Any:
        values = [op.value, op.value + 1]
        places = (1, 0) if self._services.version == INCOMPATIBLE else (0, 1)
        found: list[Any] = [None, None]
        for turn, place in enumerate(places):
            name = f"{branch}{index} {'ab'[place]}"
            try:
                found[place] = await self._run_step(ctx, name, branch, index + turn, values[place], ms=op.ms)
            except TerminalError:
                raise
            except Exception:  # a careless handler: that it does not replay is known all the same
                continue
        return found

    async def _uuid(self, ctx: Any, op: Operation, branch: str, index: int) -> Any:
        drawn = f"{ctx.uuid()} {ctx.random().random()}"
        self._world.same(ctx.request().id, f"{branch}{index}", drawn)
        return await self._run_step(ctx, f"{branch}{index}", branch, index, drawn)

    # --- time -------------------------------------------------------------------------------------------------------------

    async def _sleep(self, ctx: Any, op: Operation, branch: str, index: int) -> None:
        await ctx.sleep(timedelta(milliseconds=op.ms))

    async def _nap(self, ctx: Any, op: Operation, branch: str, index: int) -> None:
        await asyncio.sleep(op.ms / 1000)

    async def _timeout(self, ctx: Any, op: Operation, branch: str, index: int) -> Any:
        try:
            async with asyncio.timeout(0.1 + op.ms / 1000):
                await ctx.awakeable()[1]
        except TimeoutError:
            return "timeout"

    async def _in_time(self, ctx: Any, op: Operation, branch: str, index: int) -> Any:
        if op.program is None:
            return await asyncio.wait_for(self._step(ctx, op, branch, index), 86_400)
        return await asyncio.wait_for(self._start(ctx, op.program), 86_400)

    # --- others -----------------------------------------------------------------------------------------------------------

    def _start(self, ctx: Any, program: Program, idempotency_key: str | None = None) -> Any:
        data = msgspec.to_builtins(program)
        if program.key:
            return ctx.object_call(self._services.run_on_key, program.key, data, idempotency_key)
        return ctx.service_call(self._services.run, data, idempotency_key)

    def _launch(self, ctx: Any, program: Program, ms: int) -> Any:
        data, delay = msgspec.to_builtins(program), timedelta(milliseconds=ms) if ms else None
        if ms or self._services.worker_ms is None:  # the clock of the engine is another one
            self._world.defer(program.token, self._services.now_ms() + ms)
        if program.key:
            return ctx.object_send(self._services.run_on_key, program.key, data, delay)
        return ctx.service_send(self._services.run, data, delay)

    async def _call(self, ctx: Any, op: Operation, branch: str, index: int) -> Any:
        assert op.program is not None
        return await self._start(ctx, op.program)

    async def _refused(self, ctx: Any, op: Operation, branch: str, index: int) -> Any:
        assert op.program is not None
        try:
            return await self._start(ctx, op.program)
        except TerminalError as error:
            return _expected_failure(error, REFUSED)

    async def _send(self, ctx: Any, op: Operation, branch: str, index: int) -> None:
        assert op.program is not None
        self._launch(ctx, op.program, op.ms)

    async def _attach(self, ctx: Any, op: Operation, branch: str, index: int) -> Any:
        assert op.program is not None
        sent = self._launch(ctx, op.program, op.ms)
        invocation_id = await sent.invocation_id()
        try:
            found = await ctx.attach_invocation(invocation_id)
        except TerminalError as error:
            if self._services.forgets and error.status_code == NOT_FOUND:
                return expected(op.program)  # held back, by an operator or while no engine runs, until it was forgotten
            raise
        return found if self._services.forgets else await ctx.attach_invocation(invocation_id)

    async def _twice(self, ctx: Any, op: Operation, branch: str, index: int) -> Any:
        assert op.program is not None
        calls = [self._start(ctx, op.program, op.program.token) for _ in range(2)]
        answers = [await call for call in calls]
        return [*answers, await self._start(ctx, op.program, op.program.token)]

    async def _cell(self, ctx: Any, op: Operation, branch: str, index: int) -> Any:
        history, name = self._world.history, f"{ctx.request().id} {branch}{index}"
        history.begin(op.key, name, op.value)
        total = await ctx.object_call(self._services.add, op.key, [op.value, op.ms])
        history.end(op.key, name, total)
        return total

    async def _cancel(self, ctx: Any, op: Operation, branch: str, index: int) -> Any:
        call = ctx.service_call(self._services.hang_below if op.value % 3 == 0 else self._services.hang, op.value)
        if op.ms:
            await ctx.sleep(op.ms / 1000)
        for _ in range(1 + op.value % 2):
            await call.cancel_invocation()
        try:
            return await call
        except TerminalError as error:
            return _expected_failure(error, CANCELLED_CHILD)

    async def _withdraw(self, ctx: Any, op: Operation, branch: str, index: int) -> Any:
        """Two are sent and cancelled before they could start: one waits for its key, one for its time. Others follow."""
        lane, tokens = self._services, [f"{op.key} inbox", f"{op.key} later"]
        held = ctx.object_call(lane.hold, op.key)
        sent = [
            ctx.object_send(lane.late, op.key, token, delay)
            for token, delay in zip(tokens, (None, timedelta(seconds=30)), strict=True)
        ]
        for each in sent:
            await each.cancel_invocation()
        for number in range(3):
            ctx.object_send(lane.note, op.key, number)
        behind = ctx.object_call(lane.behind, op.key, op.value)
        name, world = f"{branch}{index}", self._world
        await self._run_step(ctx, name, branch, index, None, act=lambda: world.withdraw(tokens))
        ctx.resolve_signal(await held.invocation_id(), "go", op.value)
        try:
            await ctx.attach_invocation(await sent[1].invocation_id())
        except TerminalError as error:
            return [await held, await behind, _expected_failure(error, NOT_FOUND)]

    async def _flow(self, ctx: Any, op: Operation, branch: str, index: int) -> Any:
        run, again = (ctx.workflow_call(self._services.main, op.key, op.value) for _ in range(2))
        told = ctx.workflow_call(self._services.tell, op.key, op.value)
        try:
            await again
        except TerminalError as error:
            if "already" not in error.message:
                raise
            return [await run, await told]

    # --- answers from elsewhere -------------------------------------------------------------------------------------------

    async def _awakeable(self, ctx: Any, op: Operation, branch: str, index: int) -> Any:
        awakeable, answer = ctx.awakeable(type_hint=int)
        ctx.service_send(self._services.answer, {"to": awakeable, "value": op.value, "ms": op.ms})
        return await answer

    async def _outside(self, ctx: Any, op: Operation, branch: str, index: int) -> Any:
        awakeable, answer = ctx.awakeable(type_hint=int)
        name, world = f"{branch}{index}", self._world
        await self._run_step(ctx, name, branch, index, None, act=lambda: world.post(awakeable, op.value))
        return await answer

    async def _signal(self, ctx: Any, op: Operation, branch: str, index: int) -> Any:
        name = f"s{branch}{index}"
        what = {"to": ctx.request().id, "signal": name, "value": op.value, "ms": op.ms}
        ctx.service_send(self._services.answer, what)
        return await ctx.signal(name, type_hint=int)

    # --- side by side -----------------------------------------------------------------------------------------------------

    async def _abort(self, ctx: Any, op: Operation, branch: str, index: int) -> Any:
        """A group in which one fails: the others undo what they did, one after the other, in an order of asyncio's own."""
        undone: list[Any] = []

        async def work(number: int) -> None:
            try:
                await ctx.sleep(1_000)
            finally:
                name = f"{branch}{index} undo {number}"
                undone.append(await self._run_step(ctx, name, f"{branch}{index}.{number}.", 1, number))

        async def fail() -> None:
            await ctx.sleep(op.ms / 1000)
            raise _Abandoned

        try:
            async with asyncio.TaskGroup() as group:
                for number in range(4):
                    group.create_task(work(number))
                group.create_task(fail())
        except* _Abandoned:
            pass
        return sorted(undone)

    def _branches(self, ctx: Any, op: Operation, branch: str, index: int) -> list[Any]:
        return [self._sequence(ctx, each, f"{branch}{index}.{at}.") for at, each in enumerate(op.branches)]

    async def _gather(self, ctx: Any, op: Operation, branch: str, index: int) -> Any:
        return list(await asyncio.gather(*self._branches(ctx, op, branch, index)))

    async def _group(self, ctx: Any, op: Operation, branch: str, index: int) -> Any:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in self._branches(ctx, op, branch, index)]
        return [task.result() for task in tasks]

    # --- state ------------------------------------------------------------------------------------------------------------

    async def _set(self, ctx: Any, op: Operation, branch: str, index: int) -> None:
        ctx.set(op.key, op.value)

    async def _get(self, ctx: Any, op: Operation, branch: str, index: int) -> Any:
        return await ctx.get(op.key, type_hint=int)

    async def _keys(self, ctx: Any, op: Operation, branch: str, index: int) -> Any:
        return sorted(await ctx.state_keys())

    async def _clear(self, ctx: Any, op: Operation, branch: str, index: int) -> Any:
        if op.value % 2:
            ctx.set(op.key, op.value)
        ctx.clear(op.key)
        return await ctx.get(op.key, type_hint=int)

    async def _wipe(self, ctx: Any, op: Operation, branch: str, index: int) -> Any:
        ctx.set("k0", op.value)
        ctx.clear_all()
        return [await ctx.get("k0", type_hint=int), await ctx.state_keys()]


def _expected_failure(error: TerminalError, code: int) -> list[Any]:
    """What the operation returns. Any other failure is the invocation's own cancellation: a handler that went on after it
    could call somebody whom no cancellation reaches any more."""
    if error.status_code != code:
        raise error
    return ["failed", code]


class _Abandoned(Exception):
    """Why a group is given up."""
