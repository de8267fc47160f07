"""`ctx.awakeable_url`: the address that a handler hands out, and a POST to it (req 4.40)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx
import pytest

import perdure
from perdure.http.ingress.app import Ingress
from perdure.http.server import HttpServer
from perdure.model.ids import parse_awakeable_id
from perdure.node.settings import BadSetting, EngineSettings

outside: dict[str, asyncio.Queue[str]] = {}
desk = perdure.Service("Desk")


@desk.handler()
async def approval(ctx: perdure.Context, subject: str) -> str:
    name, answer = ctx.awakeable(type_hint=str)
    await ctx.run_typed("mail", lambda: ctx.awakeable_url(name))
    await ctx.run_typed("hand out", hand_out, perdure.RunOptions(), ctx.awakeable_url(name))
    return f"{subject}: {await answer}"


@desk.handler()
async def of_text(ctx: perdure.Context, text: str) -> str:
    return ctx.awakeable_url(text)


async def hand_out(url: str) -> None:
    outside["inbox"].put_nowait(url)


APP = perdure.app([desk])


@pytest.fixture(autouse=True)
async def _inbox() -> None:
    outside["inbox"] = asyncio.Queue()


@pytest.fixture
async def node() -> AsyncIterator[perdure.Node]:
    async with perdure.Node(APP) as node:
        yield node


async def test_a_post_to_the_url_resolves_the_awakeable(node: perdure.Node) -> None:
    server = HttpServer(Ingress(node.engine), "127.0.0.1", 0)
    host, port = await server.start()
    node.engine.ingress_url = f"http://{host}:{port}"
    try:
        waiting = asyncio.ensure_future(node.client.service_call(approval, "holiday"))
        url = await outside["inbox"].get()
        async with httpx.AsyncClient() as client:
            assert (await client.post(url, json="yes")).status_code == 202
        assert await waiting == "holiday: yes"
    finally:
        await server.stop(0)


async def test_the_settings_name_an_address_in_front_of_the_server() -> None:
    async with perdure.Node(APP, ingress_url="https://shop.example/durable/") as node:
        waiting = asyncio.ensure_future(node.client.service_call(approval, "holiday"))
        url = urlsplit(await outside["inbox"].get())
        assert (url.scheme, url.netloc) == ("https", "shop.example")
        *before, name, verb = url.path.split("/")
        assert (before, verb) == (["", "durable", "restate", "awakeables"], "resolve")
        parse_awakeable_id(name)
        await node.client.resolve_awakeable(name, "no")
        assert await waiting == "holiday: no"


async def test_an_engine_that_nobody_reaches_says_so(node: perdure.Node) -> None:
    sent = await node.client.service_send(approval, "holiday")
    while (error := (await node.client.describe(sent)).info.last_error) is None:
        await asyncio.sleep(0.005)
    assert "PD0409" in error and "ingress_url" in error
    await node.client.kill(sent)


async def test_text_that_is_no_id_is_the_handlers_mistake(node: perdure.Node) -> None:
    with pytest.raises(perdure.CallFailed, match="bad awakeable id") as failed:
        await node.client.service_call(of_text, "sign_nonsense")
    assert failed.value.status_code == 400


@pytest.mark.parametrize("url", ["shop.example", "", "ftp://shop.example"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(BadSetting, match="'ingress_url'"):
        EngineSettings(ingress_url=url)
