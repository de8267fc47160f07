"""A deployment as people write it: the official Python SDK, served by hypercorn over HTTP/2 cleartext.

Run as a process: `python worker.py FD NAME DIRECTORY [MODE]`. FD is a listening socket; what its steps do is
appended to DIRECTORY/effects, with NAME; files in DIRECTORY let steps go on.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

import restate
from hypercorn.asyncio import serve
from hypercorn.config import Config
from restate.exceptions import TerminalError

NAME, HERE = "worker", Path()

greeter = restate.Service("Greeter")
counter = restate.VirtualObject("Counter")
waiter = restate.Workflow("Waiter")


def effect(what: str) -> str:
    with (HERE / "effects").open("a") as file:
        file.write(f"{what} {NAME}\n")
    return f"{what} by {NAME}"


async def hold(name: str) -> None:
    """Until the test says go."""
    (HERE / f"{name}.reached").touch()
    while not (HERE / f"{name}.go").exists():
        await asyncio.sleep(0.01)


@greeter.handler()
async def greet(ctx: restate.Context, name: str) -> str:
    return f"Hello {name}"


@greeter.handler()
async def steps(ctx: restate.Context, count: int) -> list[str]:
    return [await ctx.run(f"step {number}", lambda number=number: effect(f"step {number}")) for number in range(count)]


@greeter.handler()
async def together(ctx: restate.Context, count: int) -> list[str]:
    runs = [ctx.run(f"step {number}", lambda number=number: effect(f"step {number}")) for number in range(count)]
    return await restate.gather(*runs) and [await run for run in runs]


@greeter.handler()
async def held(ctx: restate.Context, name: str) -> list[str]:
    """One step, then one that takes until the test says go, then one more."""
    first = await ctx.run("first", lambda: effect("first"))

    async def second() -> str:
        await hold(name)
        return effect("second")

    between = await ctx.run("second", second)
    return [first, between, await ctx.run("third", lambda: effect("third"))]


@greeter.handler()
async def held_then_adds(ctx: restate.Context, name: str) -> str:
    """A step that takes until the test says go; behind it an effect that the engine carries out."""

    async def body() -> str:
        await hold(name)
        return effect("held")

    by = await ctx.run("held", body)
    ctx.object_send(add, name, 1)
    return by


@greeter.handler()
async def naps(ctx: restate.Context, millis: int) -> str:
    await ctx.sleep(timedelta(milliseconds=millis))
    return "rested"


@greeter.handler()
async def calls(ctx: restate.Context, name: str) -> list[object]:
    greeting = await ctx.service_call(greet, name)
    added = await ctx.object_call(add, name, 2)
    ctx.object_send(add, name, 3)
    return [greeting, added, await ctx.object_call(add, name, 0)]


@greeter.handler()
async def gathers(ctx: restate.Context, names: list[str]) -> list[str]:
    return [await call for call in [ctx.service_call(greet, name) for name in names]]


@greeter.handler()
async def awaits(ctx: restate.Context, name: str) -> str:
    awakeable_id, value = ctx.awakeable(type_hint=str)
    await ctx.run("publish", lambda: (HERE / name).write_text(awakeable_id) and None)
    return await value


@greeter.handler()
async def fails(ctx: restate.Context, message: str) -> str:
    raise TerminalError(message, status_code=418)


@greeter.handler()
async def flaky(ctx: restate.Context, failures: int) -> int:
    """Raises until it has been tried often enough."""
    effect("try")
    tries = (HERE / "effects").read_text().count("try")
    if tries <= failures:
        raise ValueError(f"try {tries}")
    return tries


@greeter.handler()
async def flaky_step(ctx: restate.Context, failures: int) -> str:
    async def body() -> str:
        effect("try")
        tries = (HERE / "effects").read_text().count("try")
        if tries <= failures:
            raise ValueError(f"try {tries}")
        return f"try {tries}"

    await ctx.run("before", lambda: effect("before"))
    options = restate.RunOptions(initial_retry_interval=timedelta(milliseconds=5), max_attempts=3)
    try:
        return await ctx.run_typed("body", body, options)
    except TerminalError as error:
        return f"gave up: {error.message}"


@greeter.handler()
async def cancelled(ctx: restate.Context, name: str) -> str:
    try:
        _, value = ctx.awakeable(type_hint=str)
        await ctx.run("publish", lambda: (HERE / name).touch())
        return await value
    except TerminalError as error:
        code = error.status_code
        return await ctx.run("undo", lambda: effect(f"undone {code}"))


@greeter.handler()
async def parent(ctx: restate.Context, name: str) -> str:
    return await ctx.service_call(cancelled, name)


@greeter.handler()
async def seeds(ctx: restate.Context, count: int) -> list[str]:
    drawn = []
    for number in range(count):
        drawn.append(str(ctx.uuid()))
        await ctx.run(f"step {number}", lambda number=number: effect(f"step {number}"))
    return drawn


@greeter.handler()
async def sends_itself_signals(ctx: restate.Context, invocation_id: str) -> None:
    ctx.invocation(invocation_id).signal("go", type_hint=str)


@greeter.handler()
async def echoes(ctx: restate.Context, payload: bytes) -> bytes:
    return payload


@greeter.handler()
async def changes_its_mind(ctx: restate.Context, name: str) -> str:
    """Another journal each time."""
    effect("try")
    tries = (HERE / "effects").read_text().count("try")
    await ctx.run(f"step {tries}", lambda: effect("step"))
    if tries < 3:
        raise ValueError("again")
    return "never"


@counter.handler()
async def add(ctx: restate.ObjectContext, amount: int) -> int:
    total = (await ctx.get("total", type_hint=int) or 0) + amount
    ctx.set("total", total)
    return total


@counter.handler(kind="shared")
async def read(ctx: restate.ObjectSharedContext) -> list[object]:
    return [await ctx.get("total", type_hint=int), sorted(await ctx.state_keys())]


@counter.handler()
async def reset(ctx: restate.ObjectContext) -> list[object]:
    ctx.set("a", 1)
    ctx.set("b", 2)
    keys = await ctx.state_keys()
    ctx.clear("a")
    gone = await ctx.get("a", type_hint=int)
    ctx.clear_all()
    return [sorted(keys), gone]


@counter.handler(enable_lazy_state=True)
async def lazy(ctx: restate.ObjectContext, amount: int) -> list[object]:
    before = await ctx.get("total", type_hint=int)
    ctx.set("total", (before or 0) + amount)
    return [before, await ctx.get("total", type_hint=int), sorted(await ctx.state_keys())]


@waiter.main()
async def run(ctx: restate.WorkflowContext) -> str:
    ctx.set("phase", "waiting")
    value: str = await ctx.promise("go", type_hint=str).value()
    ctx.set("phase", "done")
    return value


@waiter.handler()
async def go(ctx: restate.WorkflowSharedContext, value: str) -> str | None:
    await ctx.promise("go", type_hint=str).resolve(value)
    return await ctx.get("phase", type_hint=str)


@waiter.handler()
async def peek(ctx: restate.WorkflowSharedContext) -> str | None:
    return await ctx.promise("go", type_hint=str).peek()


def main(fd: str, name: str, directory: str, mode: str = "bidi") -> None:
    global NAME, HERE
    NAME, HERE = name, Path(directory)
    protocol = "request_response" if mode == "request_response" else "bidi"
    app = restate.app([greeter, counter, waiter], protocol=protocol)
    config = Config()
    config.bind = [f"fd://{fd}"]
    config.accesslog = config.errorlog = None
    config.h2_max_concurrent_streams = 1000
    config.keep_alive_timeout = 3600
    asyncio.run(serve(app, config, mode="asgi"))


if __name__ == "__main__":
    main(*sys.argv[1:])
