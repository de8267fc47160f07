"""The harness of Restate's SDK on perdure: a server in this process, its client, and a replay at every wait."""

from __future__ import annotations

import asyncio
import urllib.request
from collections import Counter
from datetime import timedelta

import pytest

import perdure

runs: Counter[str] = Counter()
greeter = perdure.Service("Greeter")


@greeter.handler()
async def greet(ctx: perdure.Context, name: str) -> str:
    return f"Hello {name}!"


@greeter.handler()
async def waits(ctx: perdure.Context, name: str) -> list[str]:
    """Four waits of different kinds: a step, a timer, a call, steps side by side."""
    runs["entered"] += 1
    said = [await ctx.run_typed("step", one_step)]
    await ctx.sleep(timedelta(milliseconds=1))
    said.append(await ctx.service_call(greet, name))
    first, second = ctx.run_typed("a", one_step), ctx.run_typed("b", one_step)
    said += [await first, await second]
    return said


def one_step() -> str:
    runs["steps"] += 1
    return "stepped"


@greeter.handler()
async def remembers(ctx: perdure.Context) -> int:
    """Not a function of its journal: it takes another way once it has been replayed."""
    runs["seen"] += 1
    if runs["seen"] > 1:
        await ctx.sleep(timedelta(milliseconds=1))
    await ctx.run_typed("step", one_step)
    return runs["seen"]


@greeter.handler()
async def fails(ctx: perdure.Context) -> None:
    runs["failed"] += 1
    raise ValueError("not this time")


APP = perdure.app([greeter])


@pytest.fixture(autouse=True)
def fresh() -> None:
    runs.clear()


async def test_a_server_a_client_and_their_addresses() -> None:
    async with perdure.create_test_harness(APP) as env:
        assert isinstance(env, perdure.HarnessEnvironment)
        assert await env.client.service_call(greet, arg="Ann") == "Hello Ann!"
        # Blocking, on the thread of the test's own loop: the server has another one.
        assert b"Greeter" in read(f"{env.ingress_url}/restate/health")
        assert b"Greeter" in read(f"{env.admin_api_url}/services/Greeter")


async def test_nothing_of_it_is_left() -> None:
    async with perdure.create_test_harness(APP) as env:
        waiting = asyncio.ensure_future(env.client.service_call(waits, "Ann"))
        assert (await waiting)[1] == "Hello Ann!"
    with pytest.raises(OSError):
        read(env.ingress_url)


async def test_without_always_replay_a_handler_is_entered_once() -> None:
    async with perdure.create_test_harness(APP) as env:
        await env.client.service_call(waits, "Ann")
    assert runs == {"entered": 1, "steps": 3}


async def test_always_replay_enters_it_again_after_each_wait_and_runs_no_step_again() -> None:
    async with perdure.create_test_harness(APP, always_replay=True) as env:
        assert await env.client.service_call(waits, "Ann") == ["stepped", "Hello Ann!", "stepped", "stepped"]
    assert runs["steps"] == 3
    assert runs["entered"] >= 5


async def test_always_replay_finds_a_handler_that_does_not_replay() -> None:
    async with perdure.create_test_harness(APP) as env:
        assert await env.client.service_call(remembers) == 1
    runs.clear()
    async with perdure.create_test_harness(APP, always_replay=True) as env:
        sent = await env.client.service_send(remembers)
        url = f"{env.admin_api_url}/perdure/invocations/{sent.invocation_id}"
        while b"paused" not in (seen := await asyncio.to_thread(read, url)):
            pass
        assert b"RT0016" in seen


def read(url: str) -> bytes:
    with urllib.request.urlopen(url) as reply:
        body: bytes = reply.read()
        return body


async def test_without_retries_the_first_failure_ends_the_invocation() -> None:
    async with perdure.create_test_harness(APP, disable_retries=True) as env:
        with pytest.raises(perdure.HttpError, match="not this time") as caught:
            await env.client.service_call(fails)
    assert caught.value.status_code == 500
    assert runs["failed"] == 1


def test_the_blocking_form() -> None:
    with perdure.test_harness(APP, always_replay=True) as harness, harness.ingress_client() as client:
        reply = client.post("/Greeter/greet", json="Ann")
        assert reply.json() == "Hello Ann!"
        with harness.client() as ours:
            assert ours.service_call(greet, "Bob") == "Hello Bob!"
    with pytest.raises(AssertionError, match="not been started"):
        harness.ingress_client()


async def test_a_server_that_cannot_start_says_why() -> None:
    class Broken(perdure.App):
        def services(self) -> list[object]:  # type: ignore[override]
            raise LookupError("no services today")

    with pytest.raises(LookupError, match="today"):
        async with perdure.create_test_harness(Broken([greeter])):
            raise AssertionError
