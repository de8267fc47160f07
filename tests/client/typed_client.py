"""What type checkers see of the clients; `test_typing` runs mypy and pyright over it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, assert_type

import perdure

service = perdure.Service("S")
thing = perdure.VirtualObject("O")
flow = perdure.Workflow("W")


@service.handler()
async def greet(ctx: perdure.Context, name: str) -> int:
    return 1


@service.handler()
async def ping(ctx: perdure.Context) -> str:
    return ""


@thing.handler()
async def add(ctx: perdure.ObjectContext, by: int) -> float:
    return by


@flow.main()
async def main(ctx: perdure.WorkflowContext, x: str) -> bool:
    return True


app = perdure.app([service, thing, flow])


async def calls(client: perdure.Client) -> None:
    assert_type(await client.service_call(greet, "a"), int)
    assert_type(await client.service_call(ping), str)
    assert_type(await client.object_call(add, "k", 1), float)
    assert_type(await client.object_call(add, key="k", arg=1, idempotency_key="i"), float)
    assert_type(await client.workflow_call(main, "k", "x"), bool)
    assert_type(await client.generic_call("S", "greet", b""), bytes)


async def results(client: perdure.Client) -> None:
    sent = await client.service_send(greet, "a", send_delay=timedelta(seconds=1))
    assert_type(sent, perdure.Sent[int])
    assert_type(await client.attach(sent), int)
    assert_type(await client.output(sent), perdure.Output[int])
    assert_type((await client.output(sent)).value, int | None)
    assert_type(await client.attach("inv_1"), Any)
    assert_type(await client.attach("inv_1", type_hint=str), str)
    assert_type(await client.attach_idempotent(add, "i", "k"), float)
    assert_type(await client.attach(await client.workflow_submit(main, "k", "x")), bool)
    assert_type(await client.workflow_attach(main, "k"), bool)
    assert_type((await client.workflow_output(main, "k")).value, bool | None)


async def sources() -> None:
    assert_type(perdure.connect("http://x"), perdure.Client)
    async with perdure.Node(app) as node:
        await calls(node.client)
        assert_type(node.client.sync, perdure.SyncClient)
    async with perdure.create_client("http://x") as official:
        assert_type(await official.service_call(greet, "a"), int)
    async with perdure.create_test_harness(app) as env:
        assert_type(await env.client.object_call(add, "k", 1), float)


def blocking(client: perdure.SyncClient) -> None:
    assert_type(client.service_call(greet, "a"), int)
    assert_type(client.attach(client.object_send(add, "k", 1)), float)
    assert_type(client.workflow_attach(main, "k"), bool)
    assert_type(perdure.connect_sync("http://x"), perdure.SyncClient)


async def wrong(client: perdure.Client) -> None:
    await client.service_call(greet, 1)  # type: ignore[arg-type]  # pyright: ignore
    await client.object_call(add, 1, 1)  # type: ignore[call-overload]  # pyright: ignore
    await client.service_send(greet, 1)  # type: ignore[arg-type]  # pyright: ignore
