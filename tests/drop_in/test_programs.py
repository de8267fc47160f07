"""The programs of `programs.py` do what they would do on a Restate server, and do the same when every wait is a replay."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

import perdure as restate
from tests.drop_in import programs as p


@pytest.fixture(params=[False, True], ids=["", "always replay"])
async def env(request: pytest.FixtureRequest) -> AsyncIterator[restate.HarnessEnvironment]:
    p.outside.clear()
    async with restate.create_test_harness(p.app, always_replay=request.param) as environment:
        yield environment


@pytest.fixture
def client(env: restate.HarnessEnvironment) -> restate.RestateClient:
    return env.client


async def test_saga(client: restate.RestateClient) -> None:
    assert await client.service_call(p.book, p.Trip(customer="Ann")) == "flight-1"
    with pytest.raises(restate.HttpError, match="no trip for Bob: no cars left") as caught:
        await client.service_call(p.book, p.Trip(customer="Bob", car_sold_out=True))
    assert caught.value.status_code == 410
    assert p.outside == {"flight": 2, "car": 1, "car cancelled": 1, "flight cancelled": 1}


@pytest.mark.parametrize("approved", [True, False])
async def test_approval(env: restate.HarnessEnvironment, approved: bool) -> None:
    handle = await env.client.service_send(p.request_refund, 30)
    while (paper := await env.client.object_call(p.look, "desk")) is None:
        pass
    async with restate.connect(env.ingress_url) as client:
        await client.resolve_awakeable(paper, approved)
        if approved:
            assert await client.attach(handle.invocation_id) == "refunded 30"
        else:
            with pytest.raises(restate.TerminalError, match="refused") as caught:
                await client.attach(handle.invocation_id)
            assert caught.value.status_code == 403


async def test_fan_out(client: restate.RestateClient) -> None:
    assert await client.service_call(p.total_length, ["a", "bb", "ccc"]) == 6
    assert await client.service_call(p.fastest, ["a", "bb", "ccc"]) == [1, 2, 3]


async def test_state_machine(client: restate.RestateClient) -> None:
    assert await client.object_call(p.set_up, key="m1", arg=None) == "m1 is up"
    assert await client.object_call(p.set_up, "m1", None) == "m1 is up already"
    assert await client.object_call(p.tear_down, "m1", None) == ["status"]
    assert await client.object_call(p.set_up, "m1", None) == "m1 is up"
    assert p.outside == {"m1 up": 2}


async def test_schedule(client: restate.RestateClient) -> None:
    job = p.Job(every_ms=5, times=3)
    assert (await client.object_call(p.initiate, "nightly", job)).startswith("inv_")
    while await client.object_call(p.ticks, "nightly") < 3:
        pass
    assert p.outside["tick"] == 3
    slow = p.Job(every_ms=60_000, times=3)
    await client.object_call(p.initiate, "yearly", slow)
    with pytest.raises(restate.HttpError) as caught:
        await client.object_call(p.initiate, "yearly", slow)
    assert caught.value.status_code == 409


async def test_limits(client: restate.RestateClient) -> None:
    left = await asyncio.gather(*(client.object_call(p.take, "ann", 5) for _ in range(7)), return_exceptions=True)
    assert sorted(n for n in left if isinstance(n, int)) == [0, 1, 2, 3, 4]
    refused = [e for e in left if isinstance(e, restate.HttpError)]
    assert [e.status_code for e in refused] == [429, 429]


async def test_payments(client: restate.RestateClient) -> None:
    payment = p.Payment("4242", 1000)
    first = await client.object_call(p.pay, "order-1", payment, idempotency_key="once")
    assert first == {"receipt": "charged 4242-1"}
    assert await client.object_call(p.pay, "order-1", payment, idempotency_key="once") == first
    assert (await client.object_call(p.pay, "order-1", payment))["note"] == "paid before"
    assert p.outside == {"declined": 1, "charged 4242": 1}


async def test_sign_up(client: restate.RestateClient) -> None:
    started = asyncio.ensure_future(client.workflow_call(p.run, "ann", "ann@example.org"))
    while await client.workflow_call(p.stage, "ann") != "mail sent":
        pass
    await client.workflow_call(p.click, "ann", "s3cret")
    assert await started is True
    assert await client.workflow_call(p.stage, "ann") == "done"
    with pytest.raises(restate.HttpError) as caught:
        await client.workflow_call(p.run, "ann", "ann@example.org")
    assert caught.value.status_code == 409
    assert p.outside == {"mail": 1}


async def test_retries_of_an_invocation(client: restate.RestateClient) -> None:
    assert await client.service_call(p.third_time, None) == "lucky"


async def test_bytes_and_calls_by_name(client: restate.RestateClient) -> None:
    assert await client.service_call(p.reverse, b"abc") == b"cba"
    octets = {"Content-Type": "application/octet-stream"}
    assert await client.generic_call("Odds", "reverse", b"abc", headers=octets) == b"cba"
    assert await client.service_call(p.by_name, p.Trip(customer="Ann")) == "3 inv_"
    handle = await client.generic_send(
        "Work", "length", json.dumps("four").encode(), send_delay=timedelta(milliseconds=1), headers={"x": "y"}
    )
    assert handle.invocation_id.startswith("inv_")


async def test_context_managers_of_an_invocation(client: restate.RestateClient) -> None:
    assert await client.service_call(p.with_resource, None) == "resource"


async def test_a_called_invocation_is_cancelled(client: restate.RestateClient) -> None:
    assert await client.service_call(p.hang_up, None) == "409"


def test_a_value_of_a_context_manager_is_not_there_outside() -> None:
    with pytest.raises(LookupError):
        _ = p.resource.value
