"""What an operator does through `node.client`: the same as over HTTP and from the command line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

import perdure
from perdure.client.errors import Refused

desk = perdure.Service("Desk")
box = perdure.VirtualObject("Box")
TURNS = 20_000


@desk.handler()
async def wait(ctx: perdure.Context) -> str:
    return await ctx.signal("word", type_hint=str)


@box.handler()
async def count(ctx: perdure.ObjectContext) -> int:
    total = (await ctx.get("total", type_hint=int) or 0) + 1
    ctx.set("total", total)
    return total


@pytest.fixture
async def client() -> AsyncIterator[perdure.embedded.NodeClient]:
    async with perdure.Node([desk, box]) as node:
        yield node.client


async def until(ask: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(TURNS):
        if await ask():
            return
        await asyncio.sleep(0)
    raise AssertionError(f"not within {TURNS} turns")


async def test_an_invocation_is_paused_described_resumed_told_and_restarted(
    client: perdure.embedded.NodeClient,
) -> None:
    sent = await client.service_send(wait)

    async def waits() -> bool:
        return [each.kind for each in (await client.describe(sent.invocation_id)).waits_for] == ["signal"]

    await until(waits)
    assert await client.pause(sent.invocation_id)
    assert not await client.pause(sent.invocation_id)
    shown = await client.describe(sent.invocation_id)
    assert (shown.info.status, [each.kind for each in shown.waits_for]) == ("paused", ["person"])
    assert await client.resume(sent.invocation_id)
    await client.resolve_signal(sent.invocation_id, "word", "hi")
    assert await client.attach(sent.invocation_id, type_hint=str) == "hi"
    with pytest.raises(Refused) as late:
        await client.resolve_signal(sent.invocation_id, "word", "again")
    assert late.value.status_code == 409
    again = await client.restart(sent.invocation_id)
    await client.resolve_signal(again, "word", "new")
    assert await client.attach(again, type_hint=str) == "new"
    await client.purge(again, journal_only=True)
    assert (await client.describe(again)).timeline == []
    await client.purge(again)
    with pytest.raises(Refused) as gone:
        await client.describe(again)
    assert gone.value.status_code == 404


async def test_lists_and_kill(client: perdure.embedded.NodeClient) -> None:
    ids = [(await client.service_send(wait)).invocation_id for _ in range(3)]
    page = await client.list_invocations(status=["open"], service="Desk", limit=2)
    assert [each.id for each in page.invocations] == ids[:0:-1]
    rest = await client.list_invocations(status=["open"], service="Desk", after=page.after)
    assert [each.id for each in rest.invocations] == ids[:1]
    await client.kill(ids[0])
    (killed,) = (await client.list_invocations(status=["failed"])).invocations
    assert (killed.id, killed.status) == (ids[0], "completed")


async def test_state(client: perdure.embedded.NodeClient) -> None:
    assert await client.object_call(count, "k") == 1
    assert await client.state("Box", "k") == {"total": b"1"}
    assert await client.modify_state("Box", "k", {"total": b"41"})
    assert await client.object_call(count, "k") == 42
