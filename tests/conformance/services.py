"""The services of the conformance suite, written with the official Python SDK; `services.mjs` has the same in TypeScript's.

    python services.py FD

FD is a listening socket. The two files offer the same services, handlers and answers, so that one suite drives both.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import restate
from hypercorn.asyncio import serve
from hypercorn.config import Config
from restate import Context, ObjectContext, ObjectSharedContext, RunOptions, WorkflowContext, WorkflowSharedContext
from restate.exceptions import TerminalError

util = restate.Service("Util")
proxy = restate.Service("Proxy")
secret = restate.Service("Secret", ingress_private=True)
quick = restate.Service("Quick")
counter = restate.VirtualObject("Counter")
store = restate.VirtualObject("Store")
lazy = restate.VirtualObject("LazyStore", enable_lazy_state=True)
holder = restate.VirtualObject("Holder")
blocker = restate.VirtualObject("Blocker")
flow = restate.Workflow("Flow")

VERSION = os.environ.get("CONFORMANCE_VERSION", "v1")
tries: Counter[str] = Counter()
"""How often something ran in this process, by name."""


def ms(millis: int) -> timedelta:
    return timedelta(milliseconds=millis)


# --- Util ---------------------------------------------------------------------------------------------------------------


@util.handler()
async def echo(ctx: Context, value: Any) -> Any:
    return value


@util.handler()
async def version(ctx: Context) -> str:
    return VERSION


@util.handler()
async def version_after(ctx: Context, key: str) -> str:
    """Of the code that goes on behind the wait, and of the code before it."""
    before = await ctx.run_typed("version", lambda: VERSION, RunOptions())
    name, value = ctx.awakeable(type_hint=Any)
    ctx.object_send(hold, key, name)
    await value
    return f"{before} {VERSION}"


@util.handler()
async def slow_step(ctx: Context, how: dict[str, Any]) -> str:
    """A step of `ms`, written down when it begins; then one that counts."""

    async def body() -> str:
        tell(f"{how['name']} begins")
        await asyncio.sleep(how["ms"] / 1000)
        return VERSION

    async def after() -> str:
        tell(f"{how['name']} after")
        return "done"

    first = await ctx.run_typed("slow", body, RunOptions())
    return f"{first} {await ctx.run_typed('after', after, RunOptions())}"


def tell(what: str) -> None:
    """A line in the file that the tests read; it is there even when this process is killed next."""
    with Path(os.environ["CONFORMANCE_EFFECTS"]).open("a") as file:
        file.write(f"{what}\n")


@util.handler(
    accept="*/*",
    content_type="application/octet-stream",
    input_serde=restate.serde.BytesSerde(),
    output_serde=restate.serde.BytesSerde(),
)
async def raw(ctx: Context, value: bytes) -> bytes:
    return value


@util.handler()
async def nothing(ctx: Context) -> None:
    return None


@util.handler()
async def headers(ctx: Context) -> dict[str, str]:
    return dict(ctx.request().headers)


@util.handler()
async def fail(ctx: Context, how: dict[str, Any]) -> None:
    raise TerminalError(how["message"], status_code=how.get("code", 500))


@util.handler()
async def failing_step(ctx: Context, message: str) -> str:
    async def body() -> None:
        raise TerminalError(message, status_code=418)

    try:
        await ctx.run_typed("body", body, RunOptions())
    except TerminalError as error:
        return f"{error.status_code} {error.message}"
    return "no error"


@util.handler()
async def flaky_step(ctx: Context, how: dict[str, Any]) -> str:
    """A step that fails `failures` times."""

    async def body() -> int:
        tries[how["name"]] += 1
        if tries[how["name"]] <= how["failures"]:
            raise ValueError(f"try {tries[how['name']]}")
        return tries[how["name"]]

    options: RunOptions[int] = RunOptions(initial_retry_interval=ms(5), max_attempts=how.get("max_attempts"))
    try:
        return f"ok at try {await ctx.run_typed('body', body, options)}"
    except TerminalError as error:
        return f"gave up: {error.message}"


@util.handler()
async def flaky(ctx: Context, how: dict[str, Any]) -> int:
    """Fails as a whole `failures` times."""
    tries[how["name"]] += 1
    if tries[how["name"]] <= how["failures"]:
        raise ValueError(f"try {tries[how['name']]}")
    return tries[how["name"]]


@util.handler()
async def steps(ctx: Context, names: list[str]) -> list[str]:
    async def body(name: str) -> str:
        tries[name] += 1
        return f"{name} done"

    return [await ctx.run_typed(name, body, RunOptions(), name) for name in names]


@util.handler()
async def tries_of(ctx: Context, name: str) -> int:
    return tries[name]


@util.handler()
async def sleeps(ctx: Context, all_ms: list[int]) -> int:
    for future in [ctx.sleep(ms(each)) for each in all_ms]:
        await future
    return len(all_ms)


@util.handler()
async def drawn(ctx: Context) -> list[str]:
    """The same before and after a suspension, or a failed attempt."""
    first = str(ctx.uuid())
    await ctx.run_typed("between", none, RunOptions())
    return [first, str(ctx.uuid())]


async def none() -> None:
    return None


@util.handler()
async def awaits(ctx: Context, key: str) -> Any:
    """Waits for an awakeable whose id `Holder/key` has meanwhile."""
    name, value = ctx.awakeable(type_hint=Any)
    ctx.object_send(hold, key, name)
    try:
        return await value
    except TerminalError as error:
        return f"rejected: {error.message}"


@util.handler()
async def resolves(ctx: Context, how: dict[str, Any]) -> None:
    if "reject" in how:
        ctx.reject_awakeable(how["id"], how["reject"])
    else:
        ctx.resolve_awakeable(how["id"], how["value"])


@util.handler()
async def first_of(ctx: Context, how: dict[str, Any]) -> str:
    """A sleep and an awakeable: which is first."""
    name, value = ctx.awakeable(type_hint=Any)
    ctx.object_send(hold, how["key"], name)
    match await restate.select(value=value, slept=ctx.sleep(ms(how["ms"]))):
        case ["value", got]:
            return f"value {got}"
        case _:
            return "slept"


@util.handler()
async def all_of(ctx: Context, names: list[str]) -> list[str]:
    calls = [ctx.service_call(slow_echo, {"value": name, "ms": 20 * at}) for at, name in enumerate(names)]
    await restate.gather(*calls)
    return [await call for call in calls]


@util.handler()
async def slow_echo(ctx: Context, how: dict[str, Any]) -> Any:
    await ctx.sleep(ms(how["ms"]))
    return how["value"]


@util.handler()
async def attaches(ctx: Context, invocation_id: str) -> Any:
    try:
        return await ctx.attach_invocation(invocation_id, type_hint=Any)
    except TerminalError as error:
        return f"{error.status_code} {error.message}"


@util.handler()
async def cancels(ctx: Context, invocation_id: str) -> None:
    ctx.cancel_invocation(invocation_id)


@util.handler()
async def big(ctx: Context, size: int) -> str:
    """A payload through a step, a call and the output."""

    async def body() -> str:
        return "x" * size

    text = await ctx.run_typed("big", body, RunOptions())
    return await ctx.service_call(echo, text)


@secret.handler()
async def told(ctx: Context) -> str:
    return "a secret"


@util.handler()
async def tells(ctx: Context) -> str:
    return await ctx.service_call(told, None)


# --- Proxy: any call that the test asks for -----------------------------------------------------------------------------


@proxy.handler()
async def call(ctx: Context, how: dict[str, Any]) -> Any:
    try:
        data = await ctx.generic_call(
            how["service"], how["handler"], body_of(how), how.get("key"), how.get("idempotency_key")
        )
    except TerminalError as error:
        return {"error": error.message, "code": error.status_code}
    return restate.serde.DefaultSerde().deserialize(data) if data else None


@proxy.handler()
async def send(ctx: Context, how: dict[str, Any]) -> str:
    handle = ctx.generic_send(
        how["service"],
        how["handler"],
        body_of(how),
        how.get("key"),
        ms(how["delay_ms"]) if "delay_ms" in how else None,
        how.get("idempotency_key"),
    )
    return await handle.invocation_id()


@proxy.handler()
async def many(ctx: Context, hows: list[dict[str, Any]]) -> list[Any]:
    """Sends and calls in order; then the results of the calls."""
    calls = []
    for how in hows:
        if how.get("send"):
            ctx.generic_send(how["service"], how["handler"], body_of(how), how.get("key"))
        else:
            calls.append(ctx.generic_call(how["service"], how["handler"], body_of(how), how.get("key")))
    return [restate.serde.DefaultSerde().deserialize(await call) for call in calls]


def body_of(how: dict[str, Any]) -> bytes:
    return restate.serde.DefaultSerde().serialize(how.get("body"))


# --- Quick: gives up soon -----------------------------------------------------------------------------------------------

EAGER = restate.InvocationRetryPolicy(initial_interval=ms(5), max_attempts=3, on_max_attempts="kill")
PATIENT = restate.InvocationRetryPolicy(initial_interval=ms(5), max_attempts=2, on_max_attempts="pause")


@quick.handler(invocation_retry_policy=EAGER)
async def killed(ctx: Context, name: str) -> None:
    tries[name] += 1
    raise ValueError(f"try {tries[name]}")


@quick.handler(invocation_retry_policy=PATIENT)
async def paused(ctx: Context, name: str) -> str:
    tries[name] += 1
    if tries[name] <= 2:
        raise ValueError(f"try {tries[name]}")
    return f"ok at try {tries[name]}"


@quick.handler(inactivity_timeout=ms(50))
async def idles(ctx: Context, key: str) -> Any:
    name, value = ctx.awakeable(type_hint=Any)
    ctx.object_send(hold, key, name)
    return await value


@quick.handler(inactivity_timeout=timedelta(0))
async def always_suspends(ctx: Context, all_ms: list[int]) -> list[str]:
    said = []
    for each in all_ms:
        await ctx.sleep(ms(each))
        said.append(await ctx.service_call(echo, f"slept {each}"))
    return said


# --- objects ------------------------------------------------------------------------------------------------------------


@counter.handler()
async def add(ctx: ObjectContext, amount: int) -> dict[str, int]:
    old = await ctx.get("count", type_hint=int) or 0
    ctx.set("count", old + amount)
    return {"old": old, "new": old + amount}


@counter.handler("get", kind="shared")
async def get_count(ctx: ObjectSharedContext) -> int:
    return await ctx.get("count", type_hint=int) or 0


@counter.handler()
async def reset(ctx: ObjectContext) -> None:
    ctx.clear("count")


@counter.handler()
async def add_then_fail(ctx: ObjectContext, amount: int) -> None:
    ctx.set("count", (await ctx.get("count", type_hint=int) or 0) + amount)
    raise TerminalError(ctx.key())


@store.handler("set")
@lazy.handler("set")
async def set_value(ctx: ObjectContext, entry: dict[str, Any]) -> None:
    ctx.set(entry["name"], entry["value"])


@store.handler("get", kind="shared")
@lazy.handler("get", kind="shared")
async def get_value(ctx: ObjectSharedContext, name: str) -> Any:
    return await ctx.get(name, type_hint=Any)


@store.handler("keys", kind="shared")
@lazy.handler("keys", kind="shared")
async def get_keys(ctx: ObjectSharedContext) -> list[str]:
    return sorted(await ctx.state_keys())


@store.handler("clear")
@lazy.handler("clear")
async def clear_value(ctx: ObjectContext, name: str) -> None:
    ctx.clear(name)


@store.handler("clear_all")
@lazy.handler("clear_all")
async def clear_everything(ctx: ObjectContext) -> list[str]:
    before = sorted(await ctx.state_keys())
    ctx.clear_all()
    return before


@store.handler("mixed")
@lazy.handler("mixed")
async def mixed(ctx: ObjectContext) -> list[Any]:
    """Reads of what was written just now."""
    said: list[Any] = [await ctx.get("a", type_hint=Any)]
    ctx.set("a", 1)
    ctx.set("b", 2)
    said += [await ctx.get("a", type_hint=Any), sorted(await ctx.state_keys())]
    ctx.clear("a")
    said += [await ctx.get("a", type_hint=Any), sorted(await ctx.state_keys())]
    ctx.clear_all()
    return [*said, await ctx.get("b", type_hint=Any), sorted(await ctx.state_keys())]


@holder.handler()
async def hold(ctx: ObjectContext, value: Any) -> None:
    ctx.set("value", value)


@holder.handler("get", kind="shared")
async def held(ctx: ObjectSharedContext) -> Any:
    return await ctx.get("value", type_hint=Any)


@blocker.handler()
async def block(ctx: ObjectContext, how: str) -> str:
    """Waits for ever in some way, and says how it was ended."""
    key = ctx.key()
    ctx.object_send(hold, key, "blocked")
    try:
        if how == "sleep":
            await ctx.sleep(timedelta(days=1))
        elif how == "awakeable":
            await ctx.awakeable(type_hint=Any)[1]
        elif how == "call":
            await ctx.object_call(block, f"{key}-child", "awakeable")
        else:
            ctx.object_send(block, f"{key}-child", "awakeable")
            await ctx.awakeable(type_hint=Any)[1]
    except TerminalError as error:
        ctx.object_send(hold, f"{key}-undone", error.status_code)
        raise
    return "never"


@blocker.handler()
async def pings(ctx: ObjectContext) -> str:
    """Only when nobody blocks the key."""
    return "free"


# --- workflow -----------------------------------------------------------------------------------------------------------


@flow.main()
async def run(ctx: WorkflowContext, value: Any) -> Any:
    ctx.set("input", value)
    try:
        got = await ctx.promise("go", type_hint=Any).value()
    except TerminalError as error:
        got = f"rejected: {error.message}"
    ctx.set("state", "done")
    return [value, got]


@flow.handler()
async def resolve(ctx: WorkflowSharedContext, value: Any) -> str:
    try:
        await ctx.promise("go", type_hint=Any).resolve(value)
    except TerminalError as error:
        return f"{error.status_code} {error.message}"
    return "resolved"


@flow.handler()
async def reject(ctx: WorkflowSharedContext, message: str) -> str:
    await ctx.promise("go", type_hint=Any).reject(message, 500)
    return "rejected"


@flow.handler()
async def peek(ctx: WorkflowSharedContext) -> Any:
    return await ctx.promise("go", type_hint=Any).peek()


@flow.handler("state")
async def state_of(ctx: WorkflowSharedContext) -> Any:
    return await ctx.get("input", type_hint=Any)


def wide_services() -> list[Any]:
    """Of the file beside this one, which is no module of a package when this runs as a program."""
    from wide import SERVICES  # type: ignore[import-not-found]

    return list(SERVICES)


async def main(fd: str) -> None:
    app = restate.app([util, proxy, secret, quick, counter, store, lazy, holder, blocker, flow, *wide_services()])
    config = Config()
    config.bind = [f"fd://{fd}"]
    config.accesslog = config.errorlog = None
    config.h2_max_concurrent_streams = 1000
    config.keep_alive_max_requests = 1_000_000
    config.keep_alive_timeout = 3600
    await serve(app, config, mode="asgi")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
