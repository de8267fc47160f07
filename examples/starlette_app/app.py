"""A counter in a Starlette application: a page of the application's own, and perdure's handlers mounted beside it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

import perdure
from perdure import ObjectContext

visits = perdure.VirtualObject("Visits")


@visits.handler()
async def count(ctx: ObjectContext) -> int:
    seen = await ctx.get("seen", type_hint=int, default=0) + 1
    ctx.set("seen", seen)
    return seen


node = perdure.Node([visits], data=os.environ.get("VISITS_DATA", "visits-data"))


async def page(request: Request) -> PlainTextResponse:
    name = request.path_params["name"]
    seen = await node.client.object_call(count, name)
    return PlainTextResponse(f"{name} was seen {seen} times.\n")


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    """The node lives as long as the application does, on its event loop."""
    async with node:
        yield


application = Starlette(routes=[Route("/pages/{name}", page), Mount("/durable", node.asgi)], lifespan=lifespan)
