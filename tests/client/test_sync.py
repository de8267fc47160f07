"""The blocking client: the same results on plain threads, over HTTP and in the process."""

from __future__ import annotations

import asyncio
import inspect

import pytest

import perdure
from perdure.client.errors import WrongThread
from tests.client import programs as p


def use(client: perdure.SyncClient) -> None:
    assert client.service_call(p.older, p.Person("Ann", 7)) == p.Person("Ann", 8)
    assert client.object_call(p.add, "a", 2) == 2
    sent = client.object_send(p.add, "a", 3, idempotency_key="once")
    assert client.attach(sent) == 5
    assert client.output(sent).value == 5
    assert client.attach_idempotent(p.add, "once", "a") == 5
    assert client.generic_call("Counter", "add", b"1", key="a") == b"6"
    assert client.attach(client.generic_send("Counter", "add", b"1", key="a")) == b"7"
    with pytest.raises(perdure.TerminalError, match="why"):
        client.service_call(p.refuse, "why")
    asking = client.service_send(p.ask, "b")
    while (asked := client.object_call(p.kept_id, "b")) is None:
        pass
    client.resolve_awakeable(asked, "yes")
    assert client.attach(asking) == "heard yes"
    waiting = client.service_send(p.await_signal)
    client.resolve_signal(waiting.invocation_id, "news", "good")
    assert client.attach(waiting) == "heard good"
    started = client.workflow_submit(p.run, "ann", "ann@x")
    client.workflow_call(p.click, "ann", "s")
    assert client.workflow_attach(p.run, "ann") == client.attach(started) == "ann@x clicked s"
    assert client.workflow_output(p.run, "ann").ready
    sleeping = client.service_send(p.sleep_long)
    client.cancel(sleeping)


async def test_over_http(urls: tuple[str, str]) -> None:
    def script() -> None:
        with perdure.connect_sync(urls[0], admin_url=urls[1]) as client:
            use(client)
        client.close()
        with pytest.raises(RuntimeError, match="closed"):
            client.object_call(p.add, "a", 1)

    await asyncio.to_thread(script)


async def test_in_the_process_from_another_thread(node: perdure.Node) -> None:
    await asyncio.to_thread(use, node.client.sync)


async def test_on_the_node_s_own_thread_it_refuses(node: perdure.Node) -> None:
    with pytest.raises(WrongThread, match="for ever"):
        node.client.sync.object_call(p.add, "a", 1)


def test_it_has_every_method_with_the_same_parameters() -> None:
    for name, method in inspect.getmembers(perdure.Client, inspect.iscoroutinefunction):
        if not name.startswith("_"):
            blocking = getattr(perdure.SyncClient, name)
            assert list(inspect.signature(blocking).parameters) == list(inspect.signature(method).parameters), name
