"""Workflows: one run per key, promises, state that others read, and their results."""

from __future__ import annotations

import pytest

from .conftest import World

pytestmark = pytest.mark.slow


def test_a_run_and_its_promise(world: World, key: str) -> None:
    run = world.send(f"/Flow/{key}/run", "in")
    world.until(lambda: world.ok(f"/Flow/{key}/state") == "in")
    assert world.ok(f"/Flow/{key}/peek") is None
    assert world.ok(f"/Flow/{key}/resolve", "out") == "resolved"
    assert world.attach(run).json() == ["in", "out"]
    assert world.ok(f"/Flow/{key}/peek") == "out"
    for verb in ("attach", "output"):
        assert world.ingress.get(f"/restate/workflow/Flow/{key}/{verb}").json() == ["in", "out"]


def test_a_promise_resolved_before_the_run(world: World, key: str) -> None:
    assert world.ok(f"/Flow/{key}/resolve", 1) == "resolved"
    assert world.ok(f"/Flow/{key}/run", "in") == ["in", 1]


def test_a_promise_is_completed_once(world: World, key: str) -> None:
    assert world.ok(f"/Flow/{key}/resolve", 1) == "resolved"
    assert world.ok(f"/Flow/{key}/resolve", 2).startswith("409 ")
    assert world.ok(f"/Flow/{key}/peek") == 1


def test_a_promise_rejected(world: World, key: str) -> None:
    run = world.send(f"/Flow/{key}/run", "in")
    assert world.ok(f"/Flow/{key}/reject", "no") == "rejected"
    assert world.attach(run).json() == ["in", "rejected: no"]


def test_a_run_happens_once(world: World, key: str) -> None:
    world.ok(f"/Flow/{key}/resolve", 1)
    first = world.call(f"/Flow/{key}/run", "in")
    second = world.call(f"/Flow/{key}/run", "in")
    assert first.status_code == 200
    assert (second.status_code, second.json()["message"]) == (409, "the workflow method was already invoked")
    assert second.json()["source"] == "invocation"
    sent = world.call(f"/Flow/{key}/run/send", "in").json()
    assert (sent["status"], sent["invocationId"]) == ("PreviouslyAccepted", first.headers["x-restate-id"])
    how = {"service": "Flow", "handler": "run", "key": key, "body": "in"}
    assert world.ok("/Proxy/call", how)["code"] == 409


def test_the_run_takes_no_idempotency_key(world: World, key: str) -> None:
    answer = world.call(f"/Flow/{key}/run", "in", idempotency_key="k")
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("cannot use the idempotency key with workflow handlers")


def test_a_run_is_purged_with_its_state(world: World, key: str) -> None:
    world.ok(f"/Flow/{key}/resolve", 1)
    invocation_id = world.call(f"/Flow/{key}/run", "in").headers["x-restate-id"]
    assert world.patch(f"/invocations/{invocation_id}/purge").status_code == 200
    world.until(lambda: world.ok(f"/Flow/{key}/state") is None)
    assert world.ok(f"/Flow/{key}/peek") is None
    world.ok(f"/Flow/{key}/resolve", 2)
    assert world.ok(f"/Flow/{key}/run", "again") == ["again", 2]


def test_a_workflow_that_never_ran(world: World, key: str) -> None:
    for verb in ("attach", "output"):
        assert world.ingress.get(f"/restate/workflow/Flow/{key}/{verb}").status_code == 404
