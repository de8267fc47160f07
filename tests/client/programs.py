"""The services that the clients' tests call."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import perdure

greeter = perdure.Service("Greeter")
counter = perdure.VirtualObject("Counter")
sign_up = perdure.Workflow("SignUp")
purchase = perdure.Workflow("Purchase")


@dataclass
class Person:
    name: str
    age: int


class OutOfStock(perdure.TerminalError):
    left: int

    def __init__(self, item: str, left: int) -> None:
        super().__init__(f"no more of {item}", status_code=409)
        self.left = left


@greeter.handler(errors=[OutOfStock])
async def buy(ctx: perdure.Context, item: str) -> str:
    raise OutOfStock(item, 3)


@purchase.main(errors=[OutOfStock])
async def run_purchase(ctx: perdure.WorkflowContext, item: str) -> str:
    raise OutOfStock(item, 4)


@greeter.handler()
async def greet(ctx: perdure.Context, person: Person) -> str:
    return f"Hello {person.name}, {person.age}"


@greeter.handler()
async def older(ctx: perdure.Context, person: Person) -> Person:
    return Person(person.name, person.age + 1)


@greeter.handler()
async def nothing(ctx: perdure.Context) -> None: ...


@greeter.handler()
async def refuse(ctx: perdure.Context, why: str) -> None:
    raise perdure.TerminalError(why, status_code=418, metadata={"kind": "teapot"})


@greeter.handler()
async def not_there(ctx: perdure.Context, why: str) -> None:
    raise perdure.TerminalError(why, status_code=404)


@greeter.handler()
async def sleep_long(ctx: perdure.Context) -> str:
    await ctx.sleep(timedelta(hours=1))
    return "slept"


@greeter.handler()
async def heard(ctx: perdure.Context, header: str) -> str | None:
    return ctx.request().headers.get(header)


@greeter.handler()
async def key_of_the_request(ctx: perdure.Context) -> str | None:
    return ctx.request().idempotency_key


@greeter.handler()
async def ask(ctx: perdure.Context, who: str) -> str:
    awakeable_id, answer = ctx.awakeable(type_hint=str)
    ctx.object_send(keep_id, key=who, arg=awakeable_id)
    return f"heard {await answer}"


@greeter.handler()
async def await_signal(ctx: perdure.Context) -> str:
    return f"heard {await ctx.signal('news', type_hint=str)}"


@counter.handler()
async def add(ctx: perdure.ObjectContext, amount: int) -> int:
    total = await ctx.get("total", type_hint=int, default=0) + amount
    ctx.set("total", total)
    return total


@counter.handler()
async def hold(ctx: perdure.ObjectContext) -> None:
    await ctx.signal("go")


@counter.handler()
async def keep_id(ctx: perdure.ObjectContext, awakeable_id: str) -> None:
    ctx.set("id", awakeable_id)


@counter.handler()
async def kept_id(ctx: perdure.ObjectContext) -> str | None:
    return await ctx.get("id", type_hint=str)


@sign_up.main()
async def run(ctx: perdure.WorkflowContext, email: str) -> str:
    secret = await ctx.promise("clicked", type_hint=str).value()
    return f"{email} clicked {secret}"


@sign_up.handler()
async def click(ctx: perdure.WorkflowSharedContext, secret: str) -> None:
    await ctx.promise("clicked", type_hint=str).resolve(secret)


APP = perdure.app([greeter, counter, sign_up, purchase])
