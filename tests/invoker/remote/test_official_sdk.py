"""Services of the official Python SDK, in a process of their own, driven end to end in every mode of the protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from perdure.model import journal as j
from perdure.model.ids import parse_awakeable_id
from perdure.store.rows import Status
from tests.invoker.remote.deployed import Deployed, deployed

pytestmark = pytest.mark.slow

MODES: dict[str, dict[str, Any]] = {
    "bidi v6": {},
    "bidi v7": {"service_protocol_v7": True},
    "request and response": {"mode": "request_response"},
    "request and response over HTTP 1.1": {"http_11": True, "service_protocol_v7": True},
    "always suspended": {"always_replay": True, "service_protocol_v7": True},
}


@pytest.fixture(params=MODES)
async def there(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Deployed]:
    async with deployed(tmp_path, **MODES[request.param]) as running:
        yield running


async def test_what_handlers_do(there: Deployed) -> None:
    """One worker for many cases: a process takes a second to start."""
    call = there.call
    assert await call("Greeter/greet", "Ann") == "Hello Ann"
    assert await call("Greeter/fails", "no tea") == (418, "no tea")
    assert await call("Greeter/naps", 30) == "rested"
    assert await call("Greeter/echoes", b"") is None
    assert await call("Greeter/gathers", ["a", "b", "c"]) == ["Hello a", "Hello b", "Hello c"]
    assert await call("Greeter/calls", "ann") == ["Hello ann", 2, 5]
    assert await call("Counter/ann/add", 5) == 10
    assert await call("Counter/ann/read") == [10, ["total"]]
    assert await call("Counter/ann/lazy", 1) == [10, 11, ["total"]]
    assert await call("Counter/ann/reset") == [["a", "b", "total"], None]
    assert await call("Counter/ann/read") == [None, []]
    assert len(set(await call("Greeter/seeds", 4))) == 4
    assert there.effects() == [f"step {number} one" for number in range(4)]


async def test_steps_run_once_each(there: Deployed) -> None:
    assert await there.call("Greeter/steps", 5) == [f"step {number} by one" for number in range(5)]
    assert there.effects() == [f"step {number} one" for number in range(5)]
    assert await there.call("Greeter/together", 5) == [f"step {number} by one" for number in range(5)]
    assert sorted(there.effects()[5:]) == [f"step {number} one" for number in range(5)]


async def test_a_workflow(there: Deployed) -> None:
    running = asyncio.create_task(there.call("Waiter/w/run"))
    await there.until(lambda: there.engine.store.tables[0].state_value("Waiter", "w", "phase"))
    assert await there.call("Waiter/w/peek") is None
    await there.call("Waiter/w/go", "on")
    assert await running == "on"
    assert await there.call("Waiter/w/peek") == "on"
    assert (await there.call("Waiter/w/go", "again"))[0] == 409


async def test_an_awakeable(there: Deployed) -> None:
    invocation_id = await there.send("Greeter/awaits", "ticket")
    asked, signal = parse_awakeable_id(await there.written("ticket"))
    assert asked == invocation_id
    await there.engine.signal(asked, signal, b'"yes"')
    assert await there.attach(invocation_id) == "yes"


async def test_cancellation_reaches_the_handler_and_what_it_called(there: Deployed) -> None:
    invocation_id = await there.send("Greeter/parent", "child")
    await there.until(lambda: (there.directory / "child").exists())
    assert await there.engine.cancel(invocation_id) is False
    code, _ = await there.attach(invocation_id)
    assert code == 409
    await there.until(lambda: there.effects() == ["undone 409 one"])


async def test_the_journal_is_what_the_handler_did(there: Deployed) -> None:
    invocation_id = await there.send("Greeter/calls", "ben")
    await there.attach(invocation_id)
    journal = there.journal(invocation_id)
    commands = [type(entry).__name__ for entry in journal if not isinstance(entry, j.Completion | j.Signal)]
    assert commands == ["Input", "Call", "Call", "OneWayCall", "Call", "Output"]
    row = there.row(invocation_id)
    (deployment,) = there.engine.registry.deployments()
    assert row.status is Status.COMPLETED and row.deployment == deployment.id
    assert row.protocol_version == (7 if there.engine.settings.service_protocol_v7 else 6)
