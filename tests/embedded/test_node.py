"""`perdure.Node`: an engine inside a program, its typed client, and its ASGI application in the program's own server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

import perdure
from perdure.client.errors import Refused
from perdure.model.ids import BadId
from perdure.node.errors import InvocationNotFound, NodeStopped, ServiceNotFound
from perdure.node.settings import BadSetting

greeter = perdure.Service("Greeter")
counter = perdure.VirtualObject("Counter")


@dataclass
class Person:
    name: str
    age: int


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
async def sleep_long(ctx: perdure.Context) -> None:
    await ctx.sleep(timedelta(hours=1))


@greeter.handler()
async def ask(ctx: perdure.Context) -> str:
    awakeable_id, answer = ctx.awakeable(type_hint=str)
    ctx.object_send(keep_id, key="asked", arg=awakeable_id)
    return f"heard {await answer}"


@counter.handler()
async def add(ctx: perdure.ObjectContext, amount: int) -> int:
    total = await ctx.get("total", type_hint=int, default=0) + amount
    ctx.set("total", total)
    return total


@counter.handler()
async def keep_id(ctx: perdure.ObjectContext, awakeable_id: str) -> None:
    ctx.set("id", awakeable_id)


@counter.handler()
async def kept_id(ctx: perdure.ObjectContext) -> str | None:
    return await ctx.get("id", type_hint=str)


APP = perdure.app([greeter, counter])


@pytest.fixture
async def node() -> AsyncIterator[perdure.Node]:
    async with perdure.Node(APP) as running:
        yield running


async def test_a_call_takes_and_gives_what_the_handler_does(node: perdure.Node) -> None:
    assert await node.client.service_call(greet, Person("Ann", 7)) == "Hello Ann, 7"
    assert await node.client.service_call(older, Person("Ann", 7)) == Person("Ann", 8)
    await node.client.service_call(nothing)


async def test_an_object_keeps_state_for_each_key(node: perdure.Node) -> None:
    assert await node.client.object_call(add, "a", 1) == 1
    assert await node.client.object_call(add, "b", 10) == 10
    assert await node.client.object_call(add, key="a", arg=2) == 3


async def test_a_terminal_error_comes_back_whole(node: perdure.Node) -> None:
    with pytest.raises(perdure.TerminalError) as caught:
        await node.client.service_call(refuse, "short and stout")
    error = caught.value
    assert (error.message, error.status_code, error.metadata) == ("short and stout", 418, {"kind": "teapot"})


async def test_what_does_not_fit_is_refused_and_stores_nothing(node: perdure.Node) -> None:
    with pytest.raises(Refused) as caught:
        await node.client.service_call(greet, "Ann")  # type: ignore[arg-type]
    assert caught.value.status_code == 400
    with pytest.raises(Refused, match="takes no input"):
        await node.client.service_call(nothing, "something")  # type: ignore[arg-type]
    assert node.engine.stats()["invocations"] == 0


async def test_a_send_is_attached_to_by_its_id(node: perdure.Node) -> None:
    sent = await node.client.service_send(older, Person("Ann", 7))
    assert not sent.duplicate
    assert await node.client.attach(sent.invocation_id, type_hint=Person) == Person("Ann", 8)
    assert await node.client.attach(sent.invocation_id) == {"name": "Ann", "age": 8}


async def test_an_idempotency_key_joins_the_first_request(node: perdure.Node) -> None:
    assert await node.client.object_call(add, "a", 5, idempotency_key="once") == 5
    assert await node.client.object_call(add, "a", 5, idempotency_key="once") == 5
    sent = await node.client.object_send(add, "a", 5, idempotency_key="once")
    assert sent.duplicate
    assert await node.client.attach(sent.invocation_id) == 5


async def test_a_delayed_send_waits(node: perdure.Node) -> None:
    sent = await node.client.object_send(add, "a", 5, send_delay=timedelta(hours=1))
    assert await node.client.object_call(add, "a", 1) == 1
    await node.client.cancel(sent.invocation_id)
    with pytest.raises(perdure.Refused) as gone:
        await node.client.attach(sent.invocation_id)
    assert gone.value.status_code == 404, "of what never started nothing stays"


async def test_cancel_ends_a_running_invocation(node: perdure.Node) -> None:
    sent = await node.client.service_send(sleep_long)
    await node.client.cancel(sent.invocation_id)
    with pytest.raises(perdure.TerminalError) as caught:
        await node.client.attach(sent.invocation_id)
    assert caught.value.status_code == 409


async def awakeable_id(node: perdure.Node) -> str:
    while True:
        found = await node.client.object_call(kept_id, "asked")
        if found is not None:
            return found


async def test_an_awakeable_is_resolved_once(node: perdure.Node) -> None:
    sent = await node.client.service_send(ask)
    asked = await awakeable_id(node)
    await node.client.resolve_awakeable(asked, "yes")
    await node.client.resolve_awakeable(asked, "no")
    assert await node.client.attach(sent.invocation_id) == "heard yes"


async def test_an_awakeable_is_rejected(node: perdure.Node) -> None:
    sent = await node.client.service_send(ask)
    await node.client.reject_awakeable(await awakeable_id(node), "not now", code=423)
    with pytest.raises(perdure.TerminalError, match="not now") as caught:
        await node.client.attach(sent.invocation_id)
    assert caught.value.status_code == 423


async def test_unknown_ids_are_told_apart(node: perdure.Node) -> None:
    other = await node.client.service_send(nothing)
    with pytest.raises(BadId):
        await node.client.attach("inv_nonsense")
    with pytest.raises(BadId):
        await node.client.resolve_awakeable("nonsense")
    async with perdure.Node(APP) as elsewhere:
        with pytest.raises(Refused) as caught:
            await elsewhere.client.attach(other.invocation_id)
        assert caught.value.status_code == 404
        assert isinstance(caught.value.__cause__, InvocationNotFound)


async def test_handlers_of_another_app_are_not_found(node: perdure.Node) -> None:
    stranger = perdure.Service("Stranger")

    @stranger.handler()
    async def hello(ctx: perdure.Context) -> str:
        return "hello"

    with pytest.raises(Refused) as caught:
        await node.client.service_call(hello)
    assert caught.value.status_code == 404
    assert isinstance(caught.value.__cause__, ServiceNotFound)


async def test_data_outlives_the_node(tmp_path: Path) -> None:
    async with perdure.Node(APP, data=tmp_path / "data") as node:
        await node.client.object_call(add, "a", 1)
        asleep = await node.client.service_send(ask)
        asked = await awakeable_id(node)
    async with perdure.Node([greeter, counter], data=str(tmp_path / "data")) as node:
        assert node.recovered is not None
        assert await node.client.object_call(add, "a", 1) == 2
        await node.client.resolve_awakeable(asked, "after all")
        assert await node.client.attach(asleep.invocation_id) == "heard after all"


async def test_settings_are_checked_and_the_arguments_override_them(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="partitions"):
        perdure.Node(APP, partitions=0)
    settings = perdure.EngineSettings(partitions=2, durability="os")
    async with perdure.Node(APP, data=tmp_path, settings=settings, partitions=3) as node:
        assert node.engine.partitions == 3
        assert node.engine.settings.durability == "os"


async def test_before_and_after_its_life_a_node_says_so() -> None:
    node = perdure.Node(APP)
    with pytest.raises(Refused, match="has not been started"):
        await node.client.service_call(nothing)
    async with node:
        await node.client.service_call(nothing)
        ended = asyncio.ensure_future(node.failed())
    assert await ended is None
    with pytest.raises(Refused) as caught:
        await node.client.service_call(nothing)
    assert caught.value.status_code == 503
    assert isinstance(caught.value.__cause__, NodeStopped)
    await node.stop()


class Reply:
    """What an ASGI application answered to one request."""

    def __init__(self) -> None:
        self.status = 0
        self.body = b""

    async def take(self, message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            assert isinstance(message["status"], int)
            self.status = message["status"]
        else:
            body = message.get("body", b"")
            assert isinstance(body, bytes)
            self.body += body


async def request(application: object, method: str, path: str, body: bytes = b"") -> Reply:
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, object]:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    reply = Reply()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"test"), (b"content-type", b"application/json")] if body else [(b"host", b"test")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await application(scope, receive, reply.take)  # type: ignore[operator]
    return reply


async def test_asgi_serves_the_ingress_and_below_admin_the_admin_api(node: perdure.Node) -> None:
    called = await request(node.asgi, "POST", "/Counter/a/add", b"4")
    assert (called.status, called.body) == (200, b"4")
    assert (await request(node.asgi, "GET", "/restate/health")).status == 200
    assert (await request(node.asgi, "GET", "/admin/health")).status == 200
    services = json.loads((await request(node.asgi, "GET", "/admin/services")).body)
    assert {service["name"] for service in services["services"]} == {"Greeter", "Counter"}


async def test_asgi_is_mounted_in_the_host_s_application() -> None:
    node = perdure.Node(APP)
    host = Starlette(routes=[Mount("/durable", app=node.asgi)])
    async with node:
        called = await request(host, "POST", "/durable/Counter/a/add", b"4")
        assert (called.status, called.body) == (200, b"4")
        assert (await request(host, "GET", "/durable/admin/services/Greeter")).status == 200
        assert (await request(host, "GET", "/durable/Counter")).status == 400


async def test_asgi_before_the_start_answers_503() -> None:
    assert (await request(perdure.Node(APP).asgi, "GET", "/restate/health")).status == 503


def fails() -> None:
    raise ValueError("as always")


async def fails_later() -> None:
    fails()


@pytest.mark.parametrize("step", [None, fails, fails_later])
async def test_the_stack_of_a_failure_begins_in_the_authors_own_code(
    step: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    failing = perdure.Service("Failing")

    @failing.handler(invocation_retry_policy=perdure.InvocationRetryPolicy(max_attempts=1, on_max_attempts="kill"))
    async def fail(ctx: perdure.Context) -> None:
        fails() if step is None else await ctx.run_typed("step", step)

    caplog.set_level("INFO", "perdure.invoker")
    async with perdure.Node([failing], data=tmp_path) as node:
        with pytest.raises(perdure.TerminalError):
            await node.client.service_call(fail)
    (said,) = [record.message for record in caplog.records if "Traceback" in record.message]
    head, frame, *_ = said.splitlines()
    assert (head, frame.split(",")[0].strip()) == ("Traceback (most recent call last):", f'File "{__file__}"')
