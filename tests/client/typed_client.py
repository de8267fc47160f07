"""What type checkers see of the clients; `test_typing` runs mypy and pyright, both strict, over it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, assert_type

import perdure
from perdure.client.operator import Description, InvocationPage
from perdure.embedded import NodeClient
from perdure.serde import Serde

service = perdure.Service("S")
thing = perdure.VirtualObject("O")
flow = perdure.Workflow("W")


class OutOfStock(perdure.TerminalError):
    left: int = 0


@service.handler(errors=[OutOfStock])
async def greet(ctx: perdure.Context, name: str) -> int:
    return 1


@service.handler()
async def ping(ctx: perdure.Context) -> str:
    return ""


@thing.handler()
async def add(ctx: perdure.ObjectContext, by: int) -> float:
    return by


@thing.handler(kind="shared")
async def look(ctx: perdure.ObjectSharedContext) -> dict[str, int]:
    return {}


@flow.main()
async def main(ctx: perdure.WorkflowContext, x: str) -> bool:
    return True


@flow.handler()
async def approve(ctx: perdure.WorkflowSharedContext, who: str) -> str:
    return who


app = perdure.app([service, thing, flow])


async def calls(client: perdure.Client) -> None:
    assert_type(await client.service_call(greet, "a"), int)
    assert_type(await client.service_call(greet, "a", headers={"a": "b"}), int)
    assert_type(await client.service_call(ping), str)
    assert_type(await client.object_call(add, "k", 1), float)
    assert_type(await client.object_call(look, "k"), dict[str, int])
    assert_type(await client.object_call(add, key="k", arg=1, idempotency_key="i"), float)
    assert_type(await client.workflow_call(main, "k", "x"), bool)
    assert_type(await client.workflow_call(approve, "k", "me"), str)
    assert_type(await client.generic_call("S", "greet", b"", errors=[OutOfStock]), bytes)


async def results(client: perdure.Client) -> None:
    sent = await client.service_send(greet, "a", send_delay=timedelta(seconds=1))
    assert_type(sent, perdure.Sent[int])
    assert_type(sent.duplicate, bool)
    assert_type(await client.attach(sent), int)
    assert_type(await client.output(sent), perdure.Output[int])
    assert_type((await client.output(sent)).value, int | None)
    assert_type(await client.attach("inv_1"), Any)
    assert_type(await client.output("inv_1"), perdure.Output[Any])
    assert_type(await client.attach("inv_1", type_hint=str), str)
    assert_type(await client.attach("inv_1", type_hint=str, errors=[OutOfStock]), str)
    assert_type(await client.output("inv_1", type_hint=str), perdure.Output[str])
    assert_type(await client.attach_idempotent(add, "i", "k"), float)
    assert_type(await client.attach(await client.object_send(add, "k", 1)), float)
    assert_type(await client.attach(await client.workflow_send(main, "k", "x")), bool)
    assert_type(await client.attach(await client.workflow_submit(main, "k", "x")), bool)
    assert_type(await client.workflow_attach(main, "k"), bool)
    assert_type((await client.workflow_output(main, "k")).value, bool | None)
    assert_type(await client.generic_send("S", "greet", b""), perdure.Sent[bytes])
    assert_type(await client.attach(await client.generic_send("S", "greet", b"")), bytes)


async def outside(client: perdure.Client, serde: Serde[int]) -> None:
    await client.resolve_awakeable("sign_1", 1)
    await client.resolve_awakeable("sign_1", 1, serde)
    await client.reject_awakeable("sign_1", "no", code=409)
    await client.resolve_signal("inv_1", "news", {"a": 1})
    await client.reject_signal("inv_1", "news", "no")


async def operates(client: perdure.Client) -> None:
    sent = await client.service_send(ping)
    await client.cancel(sent)
    await client.kill("inv_1")
    await client.purge(sent, journal_only=True)
    assert_type(await client.pause(sent), bool)
    assert_type(await client.resume(sent), bool)
    assert_type(await client.restart(sent, from_index=1), str)
    assert_type(await client.list_invocations(status=["open"], limit=3), InvocationPage)
    assert_type(await client.describe(sent), Description)
    assert_type(await client.state("O", "k"), dict[str, bytes])
    assert_type(await client.modify_state("O", "k", {"n": b"1"}), bool)


async def sources() -> None:
    assert_type(perdure.connect("http://x"), perdure.Client)
    async with perdure.connect("http://x", admin_url="http://y", recover_s=0) as connected:
        assert_type(connected, perdure.Client)
    async with perdure.Node(app) as node:
        assert_type(node, perdure.Node)
        assert_type(node.client, NodeClient)
        await calls(node.client)
        assert_type(node.client.sync, perdure.SyncClient)
    async with perdure.create_client("http://x") as official:
        assert_type(await official.service_call(greet, "a"), int)
    async with perdure.create_test_harness(app) as env:
        assert_type(await env.client.object_call(add, "k", 1), float)


def blocking(client: perdure.SyncClient) -> None:
    assert_type(client.service_call(greet, "a"), int)
    assert_type(client.service_call(ping), str)
    assert_type(client.object_call(add, "k", 1), float)
    assert_type(client.workflow_call(main, "k", "x"), bool)
    assert_type(client.service_send(greet, "a"), perdure.Sent[int])
    assert_type(client.attach(client.object_send(add, "k", 1)), float)
    assert_type(client.attach("inv_1"), Any)
    assert_type(client.attach("inv_1", type_hint=str, errors=[OutOfStock]), str)
    assert_type(client.output(client.service_send(greet, "a")).value, int | None)
    assert_type(client.attach_idempotent(add, "i", "k"), float)
    assert_type(client.workflow_attach(main, "k"), bool)
    assert_type(client.workflow_output(main, "k").value, bool | None)
    assert_type(client.generic_call("S", "greet", b""), bytes)
    assert_type(client.describe("inv_1"), Description)
    assert_type(client.restart("inv_1"), str)
    with perdure.connect_sync("http://x") as connected:
        assert_type(connected, perdure.SyncClient)
    client.service_call(greet, 1)  # type: ignore[arg-type]  # pyright: ignore
    client.object_send(add, "k", "one")  # type: ignore[arg-type]  # pyright: ignore


async def official(client: perdure.RestateClient) -> None:
    assert_type(await client.service_call(greet, "a"), int)
    assert_type(await client.service_send(greet, "a"), perdure.Sent[int])
    assert_type(await client.object_call(look, "k"), dict[str, int])


async def wrong(client: perdure.Client) -> None:
    await client.service_call(greet, 1)  # type: ignore[arg-type]  # pyright: ignore
    await client.service_call(greet)  # type: ignore[arg-type]  # pyright: ignore
    await client.service_call(ping, "a")  # type: ignore[arg-type]  # pyright: ignore
    await client.object_call(add, 1, 1)  # type: ignore[call-overload]  # pyright: ignore
    await client.service_send(greet, 1)  # type: ignore[arg-type]  # pyright: ignore
    await client.workflow_submit(main, "k", 1)  # type: ignore[arg-type]  # pyright: ignore
    await client.attach("inv_1", errors=[int])  # type: ignore[list-item]  # pyright: ignore
    await client.kill(1)  # type: ignore[arg-type]  # pyright: ignore
