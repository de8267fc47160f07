"""Attach, output, lookup and awakeables: results of invocations that exist already."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from perdure.model.ids import format_awakeable_id

AWAKEABLE_OF_NOBODY = format_awakeable_id(bytes(24), 17)


async def waiting(world: Any) -> tuple[str, str]:
    """An invocation that waits: its id, and the awakeable it waits for."""
    sent = await world.ingress.get("/Echo/wait/send", **{"idempotency-key": "w"})
    return sent.json()["invocationId"], await world.told.first()


def unkeyed(verb: str) -> list[str]:
    return [f"/restate/{verb}/{{id}}", f"/restate/invocation/{{id}}/{verb}", f"/restate/invocation/Echo/wait/w/{verb}"]


@pytest.mark.parametrize("path", unkeyed("output"))
async def test_output_of_what_still_runs_is_470(world: Any, path: str) -> None:
    invocation_id, _ = await waiting(world)
    answer = await world.ingress.get(path.format(id=invocation_id))
    assert (answer.status, answer.json()) == (
        470,
        {"code": 470, "message": "the invocation exists but has not completed yet", "source": "ingress"},
    )


@pytest.mark.parametrize("path", [*unkeyed("attach"), *unkeyed("output")])
async def test_results_once_they_are_there(world: Any, path: str) -> None:
    invocation_id, awakeable = await waiting(world)
    attached = asyncio.ensure_future(world.ingress.get(f"/restate/attach/{invocation_id}"))
    resolved = await world.ingress.post(f"/restate/awakeables/{awakeable}/resolve", "done")
    assert (resolved.status, resolved.body) == (202, b"")
    assert (await attached).json() == "done"
    answer = await world.ingress.get(path.format(id=invocation_id))
    assert (answer.status, answer.json(), answer.headers["x-restate-id"]) == (200, "done", invocation_id)
    assert answer.headers["content-type"] == "application/json"
    assert "idempotency-expires" in answer.headers


@pytest.mark.parametrize("short", ["awakeables", "a"])
async def test_a_rejected_awakeable_fails_the_wait(world: Any, short: str) -> None:
    invocation_id, awakeable = await waiting(world)
    answer = await world.ingress.request("POST", f"/restate/{short}/{awakeable}/reject", b"not today")
    assert answer.status == 202
    attached = await world.ingress.get(f"/restate/attach/{invocation_id}")
    assert attached.json() == {"code": 500, "message": "not today", "source": "invocation"}
    assert (attached.status, attached.headers["x-restate-id"]) == (500, invocation_id)


@pytest.mark.parametrize("verb", ["resolve", "reject"])
async def test_an_awakeable_of_nobody_is_accepted(world: Any, verb: str) -> None:
    answer = await world.ingress.request("POST", f"/restate/awakeables/{AWAKEABLE_OF_NOBODY}/{verb}", b'"x"')
    assert (answer.status, answer.body) == (202, b"")


@pytest.mark.parametrize("verb", ["attach", "output"])
async def test_the_run_of_a_workflow(world: Any, verb: str) -> None:
    await world.ingress.post("/Signup/a%20b/run", "Ann")
    by_path = await world.ingress.get(f"/restate/workflow/Signup/a%20b/{verb}")
    by_body = await world.ingress.post(
        f"/restate/{verb}", {"target": "workflow", "workflowName": "Signup", "workflowKey": "a b"}
    )
    assert (by_path.status, by_path.json()) == (by_body.status, by_body.json()) == (200, "welcome Ann")


@pytest.mark.parametrize("verb", ["attach", "output"])
async def test_a_keyed_invocation_by_its_idempotency_key(world: Any, verb: str) -> None:
    call = await world.ingress.post("/Counter/a%20b/add", 3, idempotency_key="k")
    by_path = await world.ingress.get(f"/restate/invocation/Counter/a%20b/add/k/{verb}")
    by_body = await world.ingress.post(
        f"/restate/{verb}",
        {"target": "idempotentInvocation", "service": "Counter", "key": "a b", "handler": "add", "idempotencyKey": "k"},
    )
    for answer in (by_path, by_body):
        assert (answer.status, answer.json(), answer.headers["x-restate-id"]) == (200, 3, call.headers["x-restate-id"])


@pytest.mark.parametrize(
    ("target", "path", "headers"),
    [
        (
            {"target": "idempotentInvocation", "service": "Echo", "handler": "say", "idempotencyKey": "k"},
            "/Echo/say",
            {"idempotency-key": "k"},
        ),
        ({"target": "workflow", "workflowName": "Signup", "workflowKey": "a"}, "/Signup/a/run", {}),
    ],
)
async def test_lookup_gives_the_id_before_there_is_an_invocation(
    world: Any, target: dict[str, str], path: str, headers: dict[str, str]
) -> None:
    before = world.stored()
    found = await world.ingress.post("/restate/lookup", target)
    assert (found.status, list(found.json())) == (200, ["invocationId"])
    assert world.stored() == before
    call = await world.ingress.post(path, "x", **headers)
    assert call.headers["x-restate-id"] == found.json()["invocationId"]
    named = {"target": "invocation", "invocationId": found.json()["invocationId"]}
    assert (await world.ingress.post("/restate/lookup", named)).json() == found.json()
    assert (await world.ingress.post("/restate/output", named)).status == 200


async def test_failures_are_results_too(world: Any) -> None:
    call = await world.ingress.post("/Echo/fail", 418, idempotency_key="k")
    again = await world.ingress.post("/Echo/fail", 418, idempotency_key="k")
    attached = await world.ingress.get("/restate/invocation/Echo/fail/k/attach")
    assert call.status == again.status == attached.status == 418
    assert json.loads(call.body) == again.json() == attached.json()


async def test_who_stops_waiting_leaves_nothing_behind(world: Any) -> None:
    """A client that attaches and goes away is forgotten; the invocation is not."""
    invocation_id, awakeable = await waiting(world)
    _, writer = await world.ingress.connect()
    writer.write(f"GET /restate/attach/{invocation_id} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    await until(lambda: world.engine.stats()["callers"] == 1)
    writer.close()
    await until(lambda: world.engine.stats()["callers"] == 0)
    await world.ingress.post(f"/restate/awakeables/{awakeable}/resolve", "done")
    assert (await world.ingress.get(f"/restate/attach/{invocation_id}")).json() == "done"


async def test_a_caller_that_goes_away_does_not_stop_its_invocation(world: Any) -> None:
    _, writer = await world.ingress.connect()
    writer.write(b"POST /Echo/wait HTTP/1.1\r\nhost: x\r\nidempotency-key: k\r\n\r\n")
    awakeable = await world.told.first()
    writer.close()
    await world.ingress.post(f"/restate/awakeables/{awakeable}/resolve", "done")
    answer = await world.ingress.get("/restate/invocation/Echo/wait/k/attach")
    assert (answer.status, answer.json()) == (200, "done")


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)
