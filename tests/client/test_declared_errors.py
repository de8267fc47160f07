"""What a handler declares to raise reaches a client as the same class, whichever way the client asks (req 1.46)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

import perdure
from perdure.sdk.errors import RegistrationError
from tests.client import programs as p


async def out_of_stock(asked: Awaitable[object]) -> p.OutOfStock:
    with pytest.raises(p.OutOfStock) as raised:
        await asked
    error = raised.value
    assert error.status_code == 409
    assert isinstance(error.__cause__, perdure.CallFailed)
    return error


async def test_calls_attach_and_output(client: perdure.Client) -> None:
    error = await out_of_stock(client.service_call(p.buy, "hat", idempotency_key="k"))
    assert (error.message, error.left) == ("no more of hat", 3)
    sent = await client.service_send(p.buy, "hat", idempotency_key="k")
    for again in (
        client.attach(sent),
        client.attach(sent.invocation_id, type_hint=str, errors=[p.OutOfStock]),
        client.output(sent),
        client.output(sent.invocation_id, type_hint=str, errors=[p.OutOfStock]),
        client.attach_idempotent(p.buy, "k"),
    ):
        assert (await out_of_stock(again)).left == 3


async def test_workflows(client: perdure.Client) -> None:
    started = await client.workflow_submit(p.run_purchase, "ann", "hat")
    assert (await out_of_stock(client.attach(started))).left == 4
    assert (await out_of_stock(client.workflow_attach(p.run_purchase, "ann"))).left == 4
    assert (await out_of_stock(client.workflow_output(p.run_purchase, "ann"))).left == 4
    assert (await out_of_stock(client.workflow_call(p.run_purchase, "bob", "hat"))).left == 4


async def test_by_name(client: perdure.Client) -> None:
    named = client.generic_call("Greeter", "buy", b'"hat"', errors=[p.OutOfStock])
    assert (await out_of_stock(named)).left == 3
    sent = await client.generic_send("Greeter", "buy", b'"hat"', errors=[p.OutOfStock])
    assert (await out_of_stock(client.attach(sent))).left == 3


async def test_who_does_not_name_the_class_sees_a_failed_call(client: perdure.Client) -> None:
    sent = await client.generic_send("Greeter", "buy", b'"hat"')
    for asked in (client.attach(sent), client.attach(sent.invocation_id), client.output(sent.invocation_id)):
        with pytest.raises(perdure.CallFailed, match="no more of hat") as failed:
            await asked
        assert failed.value.status_code == 409


async def test_something_that_is_no_class_of_errors_is_refused_before_anything_is_sent(client: perdure.Client) -> None:
    before = len((await client.list_invocations()).invocations)
    with pytest.raises(RegistrationError):
        await client.generic_send("Greeter", "buy", b'"hat"', errors=[Exception])
    assert len((await client.list_invocations()).invocations) == before


def blocking(client: perdure.SyncClient) -> None:
    sent = client.service_send(p.buy, "hat", idempotency_key="k")
    started = client.workflow_submit(p.run_purchase, "ann", "hat")
    asked: list[Callable[[], object]] = [
        lambda: client.service_call(p.buy, "hat"),
        lambda: client.attach(sent),
        lambda: client.attach(started),
        lambda: client.attach(sent.invocation_id, errors=[p.OutOfStock]),
        lambda: client.output(sent.invocation_id, type_hint=str, errors=[p.OutOfStock]),
        lambda: client.attach_idempotent(p.buy, "k"),
        lambda: client.workflow_attach(p.run_purchase, "ann"),
        lambda: client.generic_call("Greeter", "buy", b'"hat"', errors=[p.OutOfStock]),
        lambda: client.attach(client.generic_send("Greeter", "buy", b'"hat"', errors=[p.OutOfStock])),
    ]
    for ask in asked:
        with pytest.raises(p.OutOfStock, match="no more of hat"):
            ask()


async def test_the_blocking_client_in_the_process_and_over_http(node: perdure.Node, urls: tuple[str, str]) -> None:
    await asyncio.to_thread(blocking, node.client.sync)

    def over_http() -> None:
        with perdure.connect_sync(urls[0]) as client:
            for ask in (
                lambda: client.service_call(p.buy, "hat"),
                lambda: client.attach_idempotent(p.buy, "k"),
                lambda: client.workflow_attach(p.run_purchase, "ann"),
            ):
                with pytest.raises(p.OutOfStock):
                    ask()

    await asyncio.to_thread(over_http)
