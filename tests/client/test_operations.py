"""What an operator does through a client: the same in the process, over HTTP, and from code that is not asynchronous."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

import perdure
from perdure.client import operator
from perdure.model.state_version import state_version
from perdure.node import timeline, waiting
from tests.client import programs as p

TURNS = 2_000


async def until(ask: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(TURNS):
        if await ask():
            return
        await asyncio.sleep(0)
    raise AssertionError(f"not within {TURNS} turns")


async def status_of(refused: Awaitable[object]) -> int:
    with pytest.raises(perdure.Refused) as raised:
        await refused
    return raised.value.status_code


async def test_an_invocation_is_paused_described_resumed_told_and_restarted(client: perdure.Client) -> None:
    sent = await client.service_send(p.await_signal)

    async def waits() -> bool:
        return [(each.kind, each.name) for each in (await client.describe(sent)).waits_for] == [("signal", "news")]

    await until(waits)
    assert await client.pause(sent)
    assert not await client.pause(sent.invocation_id)
    shown = await client.describe(sent.invocation_id)
    assert (shown.info.status, [each.kind for each in shown.waits_for]) == ("paused", ["person"])
    assert await client.resume(sent)
    await client.resolve_signal(sent.invocation_id, "news", "hi")
    assert await client.attach(sent) == "heard hi"
    assert await status_of(client.resolve_signal(sent.invocation_id, "news", "again")) == 409
    again = await client.restart(sent)
    assert await status_of(client.restart(again)) == 409
    await client.resolve_signal(again, "news", "new")
    assert await client.attach(again, type_hint=str) == "heard new"
    shown = await client.describe(again)
    assert (shown.timeline[0].what, shown.timeline[0].state) == ("input", "done")
    assert (shown.info.target, shown.info.failure, shown.info.attempts) == ("Greeter/await_signal", None, 1)
    assert shown.info.completed_at_ms >= shown.info.created_at_ms
    await client.purge(again, journal_only=True)
    assert (await client.describe(again)).timeline == []
    assert await status_of(client.restart(again)) == 410
    await client.purge(again)
    assert await status_of(client.describe(again)) == 404


async def test_resuming_what_goes_on_already_changes_nothing(client: perdure.Client) -> None:
    sent = await client.service_send(p.await_signal)
    await until(lambda: _runs(client, sent))
    assert not await client.resume(sent)
    await client.kill(sent)
    assert await status_of(client.resume(sent)) == 409


async def _runs(client: perdure.Client, sent: perdure.Sent[str]) -> bool:
    return (await client.describe(sent)).info.status == "running"


async def test_lists_pages_and_kill(client: perdure.Client) -> None:
    ids = [(await client.service_send(p.await_signal)).invocation_id for _ in range(3)]
    page = await client.list_invocations(status=["open"], service="Greeter", limit=2)
    assert [each.id for each in page.invocations] == ids[:0:-1]
    rest = await client.list_invocations(status=["open"], service="Greeter", after=page.after)
    assert [each.id for each in rest.invocations] == ids[:1]
    assert rest.after is None
    await client.kill(ids[0])
    (killed,) = (await client.list_invocations(status=["failed", "paused"], handler="await_signal")).invocations
    assert (killed.id, killed.status, killed.failure, killed.last_error) == (ids[0], "completed", "killed", None)
    assert await status_of(client.kill(ids[0])) == 409
    assert await status_of(client.list_invocations(status=["sleepy"])) == 400


async def test_state_is_read_and_replaced(client: perdure.Client) -> None:
    assert await client.object_call(p.add, "k/ä", 1) == 1
    found = await client.state("Counter", "k/ä")
    assert found == {"total": b"1"}
    assert await client.modify_state("Counter", "k/ä", {"total": b"41", "raw": b"\xff\x00"}, state_version(found))
    assert await client.state("Counter", "k/ä") == {"total": b"41", "raw": b"\xff\x00"}
    assert await client.object_call(p.add, "k/ä", 1) == 42
    assert await status_of(client.state("Nobody", "k")) == 404
    assert await status_of(client.state("Greeter", "k")) == 400


async def test_a_change_of_state_waits_for_the_handler_that_holds_the_key(client: perdure.Client) -> None:
    holder = await client.object_send(p.hold, "k")

    async def holds() -> bool:
        return bool((await client.describe(holder)).waits_for)

    await until(holds)
    assert not await client.modify_state("Counter", "k", {"total": b"7"})
    await client.resolve_signal(holder.invocation_id, "go", None)
    await client.attach(holder)
    assert await client.object_call(p.add, "k", 1) == 8


def blocking(client: perdure.SyncClient) -> None:
    sent = client.service_send(p.await_signal)
    while not client.describe(sent).waits_for:
        pass
    assert client.pause(sent)
    assert client.list_invocations(status=["paused"]).invocations[0].id == sent.invocation_id
    assert client.resume(sent)
    client.kill(sent)
    again = client.restart(sent)
    client.cancel(again)
    with pytest.raises(perdure.TerminalError, match="cancelled"):
        client.attach(again)
    client.purge(again)
    assert client.modify_state("Counter", "s", {"total": b"1"})
    assert client.state("Counter", "s") == {"total": b"1"}


async def test_without_asyncio(node: perdure.Node, urls: tuple[str, str]) -> None:
    await asyncio.to_thread(blocking, node.client.sync)

    def over_http() -> None:
        with perdure.connect_sync(urls[0], admin_url=urls[1]) as client:
            blocking(client)

    await asyncio.to_thread(over_http)


@pytest.mark.parametrize(
    ("of_the_client", "of_the_engine"),
    [
        (operator.Wait, waiting.Wait),
        (operator.Moment, timeline.Moment),
        (operator.MomentError, timeline.Error),
    ],
)
def test_a_client_sees_all_that_the_engine_says(
    of_the_client: type[msgspec.Struct], of_the_engine: type[msgspec.Struct]
) -> None:
    assert of_the_client.__struct_fields__ == of_the_engine.__struct_fields__
    assert of_the_client.__struct_defaults__ == of_the_engine.__struct_defaults__
