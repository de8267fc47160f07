"""A corpus of handlers that do the things whose order asyncio does not promise; each must replay the same everywhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import anyio

import perdure
from perdure import Context, ObjectContext, RunOptions, TerminalError

programs = perdure.Service("Programs")
cell = perdure.VirtualObject("Cell")

OPTIONS: RunOptions[int] = RunOptions()


async def double(number: int) -> int:
    return 2 * number


def triple(number: int) -> int:
    return 3 * number


async def reject(number: int) -> int:
    raise TerminalError(f"no {number}", 400)


@programs.handler()
async def callee(ctx: Context, text: str) -> str:
    return text


@programs.handler()
async def nested(ctx: Context) -> list[int]:
    results: list[int] = []
    queue: asyncio.Queue[int] = asyncio.Queue(maxsize=2)

    async def produce(base: int) -> None:
        for number in range(3):
            await queue.put(await ctx.run_typed(f"make {base}", double, OPTIONS, base + number))

    async def consume() -> None:
        for _ in range(9):
            results.append(await queue.get())
            await asyncio.sleep(0.5)

    async with asyncio.TaskGroup() as outer:
        outer.create_task(consume())
        async with asyncio.timeout(60):
            async with asyncio.TaskGroup() as inner:
                for base in (0, 10, 20):
                    inner.create_task(produce(base))
        results.extend(await asyncio.gather(*(ctx.run_typed("late", triple, OPTIONS, n) for n in range(4))))
    return results


@programs.handler()
async def siblings_cancelled(ctx: Context) -> list[str]:
    """A TaskGroup cancels its children in the order of a set."""
    order: list[str] = []

    async def child(number: int) -> None:
        try:
            await ctx.sleep(timedelta(hours=1), f"child {number}")
        except asyncio.CancelledError:
            order.append(f"child {number}")
            ctx.service_send(callee, f"child {number} was cancelled")
            raise

    async def failing() -> None:
        await ctx.run_typed("fails", reject, OPTIONS, 1)

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(25):
                group.create_task(child(number))
            group.create_task(failing())
    except* TerminalError:
        pass
    return order


@programs.handler()
async def waits(ctx: Context) -> list[str]:
    """`asyncio.wait` gives sets, and walking one is walking hashes."""
    seen: list[str] = []

    async def worker(number: int) -> str:
        await asyncio.sleep(number % 5)
        return f"{number}:{await ctx.run_typed('work', double, OPTIONS, number)}"

    pending = {asyncio.create_task(worker(number)) for number in range(20)}
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            seen.append(task.result())
            await ctx.service_call(callee, task.result())
        for task in list(pending)[:1]:
            task.cancel()
            seen.append(f"cancelled {task.get_name()}")
        pending = {task for task in pending if not task.cancelling()}
    durable = {ctx.run_typed(f"durable {number}", triple, OPTIONS, number) for number in range(12)}
    for future in durable:
        seen.append(str(await future))
    for awaited in asyncio.as_completed([asyncio.create_task(worker(number)) for number in range(6)]):
        seen.append(await awaited)
    return seen


@programs.handler()
async def synchronised(ctx: Context) -> list[str]:
    log: list[str] = []
    lock, event, room, turn = asyncio.Lock(), asyncio.Event(), asyncio.Semaphore(2), asyncio.Condition()
    served = 0

    async def visitor(number: int) -> None:
        nonlocal served
        await event.wait()
        async with room:
            log.append(f"in {number}")
            await ctx.sleep(0.1 * (number % 3))
            async with lock:
                log.append(str(await ctx.run_typed(f"visit {number}", triple, OPTIONS, number)))
        async with turn:
            served += 1
            turn.notify_all()

    async def opener() -> None:
        await asyncio.sleep(1)
        event.set()

    async with asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(visitor(number))
        group.create_task(opener())
        async with turn:
            await turn.wait_for(lambda: served == 6)
    return log


@programs.handler()
async def timers(ctx: Context) -> list[str]:
    log: list[str] = []
    try:
        await asyncio.wait_for(ctx.sleep(timedelta(days=1)), 3)
    except TimeoutError:
        log.append("gave up")
    try:
        async with asyncio.timeout(2):
            await asyncio.shield(ctx.run_typed("quick", double, OPTIONS, 4))
            await asyncio.Event().wait()
    except TimeoutError:
        log.append("timed out")
    for number in range(5):
        async with asyncio.timeout(30):
            log.append(str(await ctx.run_typed("guarded", double, OPTIONS, number)))
    naps = [asyncio.create_task(asyncio.sleep(delay, f"nap {delay}")) for delay in (3, 1, 2, 1)]
    log.extend(await asyncio.gather(*naps))
    late = asyncio.create_task(asyncio.sleep(50))
    await asyncio.wait([late], timeout=0.25)
    late.cancel()
    log.append(f"{asyncio.get_running_loop().time():.3f}")
    return log


@programs.handler()
async def combined(ctx: Context) -> list[str]:
    log: list[str] = []
    calls = [ctx.service_call(callee, f"call {number}") for number in range(3)]
    match await perdure.select(first=calls[0], never=ctx.sleep(timedelta(days=9))):
        case ["first", text]:
            log.append(text)
    for future in await perdure.gather(*calls):
        log.append(await future)

    async def plain(number: int) -> int:
        await asyncio.sleep(3 - number)
        return await ctx.run_typed("plain", double, OPTIONS, number)

    async for future in perdure.as_completed(*(plain(number) for number in range(3))):
        log.append(str(await future))
    done, rest = await perdure.wait_completed(ctx.sleep(1), ctx.sleep(2))
    log.append(f"{len(done)} {len(rest)} {ctx.uuid()} {ctx.random().random()}")
    name, answer = ctx.awakeable(type_hint=str)
    ctx.resolve_awakeable(name, "woken")
    log.append(await answer)
    handle = ctx.service_send(callee, "later", send_delay=timedelta(seconds=9))
    log.append(await handle.invocation_id())
    return log


@programs.handler()
async def generators(ctx: Context) -> list[int]:
    """Async generators that are left early tidy up in order, with durable operations of their own."""
    seen: list[int] = []

    async def counting(base: int) -> AsyncIterator[int]:
        try:
            for number in range(5):
                yield await ctx.run_typed("count", double, OPTIONS, base + number)
        finally:
            seen.append(await ctx.run_typed(f"left {base}", triple, OPTIONS, base))

    for base in (10, 20):
        async for number in counting(base):
            seen.append(number)
            if number > base:
                break
    await ctx.sleep(1)
    return seen


@programs.handler()
async def with_anyio(ctx: Context) -> list[str]:
    log: list[str] = []

    async def scoped(number: int) -> None:
        with anyio.CancelScope() as scope:
            try:
                if number == 4:
                    scope.cancel()
                await ctx.sleep(timedelta(hours=1), f"scoped {number}")
            finally:
                log.append(f"left {number}")
                with anyio.CancelScope(shield=True):
                    log.append(str(await ctx.run_typed(f"tidy {number}", triple, OPTIONS, number)))

    async with anyio.create_task_group() as group:
        for number in range(12):
            group.start_soon(scoped, number)
        await anyio.sleep(2)
        group.cancel_scope.cancel()
    with anyio.move_on_after(3) as moved:
        await ctx.sleep(timedelta(days=1))
    log.append(f"moved {moved.cancelled_caught}")
    try:
        with anyio.fail_after(1):
            await anyio.Event().wait()
    except TimeoutError:
        log.append("failed after")
    send, receive = anyio.create_memory_object_stream[int](3)

    async def feed() -> None:
        async with send:
            for number in range(4):
                await send.send(await ctx.run_typed("feed", double, OPTIONS, number))

    async with anyio.create_task_group() as group:
        group.start_soon(feed)
        async with receive:
            async for item in receive:
                log.append(str(item))
    return log


@cell.handler()
async def stateful(ctx: ObjectContext, text: str) -> list[object]:
    seen: list[object] = [await ctx.get("count", type_hint=int, default=0)]
    for number in range(3):
        ctx.set("count", number)
        seen.append(await ctx.get("count"))
        await ctx.run_typed("between", double, OPTIONS, number)
    ctx.clear("count")
    seen.append(await ctx.get("count"))
    ctx.set("text", text)
    seen.append(await ctx.state_keys())
    ctx.clear_all()
    seen.append(await ctx.get("old"))
    seen.append(await ctx.state_keys())
    ctx.set("count", 9)
    return seen


app = perdure.app([programs, cell])

ALL: dict[str, tuple[str, str, str | None, bytes]] = {
    name: ("Programs", name, None, b"") for name in programs.handlers if name != "callee"
} | {"stateful": ("Cell", "stateful", "k", b'"t"')}
