"""The admin API: what it shows, and the control of single invocations."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import perdure
from perdure.model.ids import parse_ulid

UNKNOWN = "inv_1kWHPJ8EdIa67slYDwAjggtZU5n9JnhLWN"
PREFIXES = ["", "/v2", "/v3", "/v4"]


async def waiting(world: Any) -> str:
    sent = await world.ingress.request("POST", "/Echo/wait/send")
    await world.told.first()
    invocation_id: str = sent.json()["invocationId"]
    return invocation_id


async def scheduled(world: Any) -> str:
    sent = await world.ingress.post("/Echo/say/send?delay=1h", "x")
    invocation_id: str = sent.json()["invocationId"]
    return invocation_id


async def finished(world: Any) -> str:
    answer = await world.ingress.post("/Echo/say", "x")
    invocation_id: str = answer.headers["x-restate-id"]
    return invocation_id


async def patch(world: Any, invocation_id: str, what: str) -> Any:
    return await world.admin.request("PATCH", f"/v4/invocations/{invocation_id}/{what}")


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_health_and_version(world: Any, prefix: str) -> None:
    health = await world.admin.get(f"{prefix}/health")
    assert (health.status, health.body) == (200, b"")
    version = (await world.admin.get(f"{prefix}/version")).json()
    features = version.pop("features")
    assert "protocol_v7" in features and set(features.values()) == {False}
    assert version == {
        "version": perdure.__version__,
        "min_admin_api_version": 2,
        "max_admin_api_version": 4,
        "ingress_endpoint": "http://here/",
    }


async def test_health_before_the_engine_is_ready(make_world: Any) -> None:
    world = await make_world()
    assert (await world.admin.get("/health")).status == 503
    assert (await world.admin.get("/version")).status == 200
    assert (await patch(world, UNKNOWN, "kill")).status == 503


async def test_services(world: Any) -> None:
    services = (await world.admin.get("/services")).json()["services"]
    assert [(service["name"], service["ty"], service["public"]) for service in services] == [
        ("Counter", "VirtualObject", True),
        ("Echo", "Service", True),
        ("Hidden", "Service", False),
        ("Signup", "Workflow", True),
    ]
    echo = (await world.admin.get("/v4/services/Echo")).json()
    assert echo == services[1]
    assert (echo["documentation"], echo["metadata"], echo["revision"]) == ("Says it back.", {"team": "a"}, 1)
    assert (echo["journal_retention"], echo["inactivity_timeout"], echo["abort_timeout"]) == ("1d", "1m", "10m")
    assert echo["retry_policy"] == {
        "initial_interval": "500ms",
        "exponentiation_factor": 2.0,
        "max_attempts": 70,
        "max_interval": "1m",
        "on_max_attempts": "Pause",
    }
    assert "workflow_completion_retention" not in echo
    assert services[3]["workflow_completion_retention"] == "1d"


async def test_handlers(world: Any) -> None:
    handlers = (await world.admin.get("/services/Counter/handlers")).json()["handlers"]
    assert [(handler["name"], handler["ty"]) for handler in handlers] == [("add", "Exclusive"), ("key", "Shared")]
    add = (await world.admin.get("/services/Counter/handlers/add")).json()
    assert add == handlers[0]
    assert add["input_description"] == "JSON integer"
    handlers = {each["name"]: each for each in (await world.admin.get("/services/Echo/handlers")).json()["handlers"]}
    assert "ty" not in handlers["say"]
    assert (handlers["secret"]["public"], handlers["say"]["public"]) == (False, True)
    assert handlers["raw"]["input_description"] == "application/octet-stream"


@pytest.mark.parametrize("path", ["/services/Nope", "/services/Nope/handlers", "/services/Echo/handlers/nope"])
async def test_unknown_services_and_handlers(world: Any, path: str) -> None:
    answer = await world.admin.get(path)
    assert (answer.status, list(answer.json())) == (404, ["message", "restate_code"])
    assert answer.json()["restate_code"] is None


async def test_the_app_is_one_deployment(world: Any) -> None:
    (deployment,) = (await world.admin.get("/deployments")).json()["deployments"]
    parse_ulid("dp", deployment["id"])
    assert [service["name"] for service in deployment["services"]] == ["Counter", "Echo", "Hidden", "Signup"]
    assert deployment["created_at"].endswith("Z")
    detailed = (await world.admin.get(f"/deployments/{deployment['id']}")).json()
    assert detailed["id"] == deployment["id"]
    assert detailed["services"] == (await world.admin.get("/services")).json()["services"]
    assert detailed["services"][0]["deployment_id"] == deployment["id"]
    other = "dp_1" + "0" * 22
    assert (await world.admin.get(f"/deployments/{other}")).status == 404
    assert (await world.admin.get("/deployments/x")).status == 400


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nope", 404),
        ("GET", "/v5/health", 404),
        ("GET", "/v1/health", 400),
        ("POST", "/v1/deployments", 400),
        ("POST", "/health", 405),
        ("GET", f"/invocations/{UNKNOWN}/kill", 405),
        ("GET", "/", 404),
    ],
)
async def test_unknown_routes_and_methods(world: Any, method: str, path: str, status: int) -> None:
    answer = await world.admin.request(method, path)
    assert answer.status == status
    if status != 400:
        assert answer.body == b""


async def test_cancel_asks_what_runs_and_ends_what_does_not(world: Any) -> None:
    running, later, done = await waiting(world), await scheduled(world), await finished(world)
    assert (await patch(world, running, "cancel")).status == 202
    assert (await patch(world, later, "cancel")).status == 200
    assert (await patch(world, done, "cancel")).status == 409
    cancelled = await world.ingress.get(f"/restate/attach/{running}")
    assert (cancelled.status, cancelled.json()["message"]) == (409, "cancelled")
    ended = await world.ingress.get(f"/restate/output/{later}")
    assert (ended.status, ended.json()["message"]) == (404, "invocation not found")


async def test_kill(world: Any) -> None:
    running, done = await waiting(world), await finished(world)
    assert (await patch(world, running, "kill")).status == 200
    assert (await patch(world, done, "kill")).status == 409
    killed = await world.ingress.get(f"/restate/attach/{running}")
    assert killed.json() == {"code": 409, "message": "killed", "source": "invocation"}


async def test_purge(world: Any) -> None:
    running, done = await waiting(world), await finished(world)
    refused = await patch(world, running, "purge")
    assert (refused.status, refused.json()["restate_code"]) == (409, None)
    assert (await world.ingress.get(f"/restate/output/{done}")).status == 200
    assert (await patch(world, done, "purge")).status == 200
    assert (await world.ingress.get(f"/restate/output/{done}")).status == 404


async def test_pause_and_resume(world: Any) -> None:
    running, later, done = await waiting(world), await scheduled(world), await finished(world)
    assert (await patch(world, running, "pause")).status in (200, 202)
    shown = await world.admin.get(f"/perdure/invocations/{running}")
    assert shown.json()["status"] == "paused"
    assert (await patch(world, running, "pause")).status == 200
    assert (await patch(world, running, "resume?deployment=nope")).status == 400
    assert (await patch(world, running, "resume?deployment=Keep")).status == 200
    assert (await patch(world, done, "pause")).status == 409
    assert (await patch(world, done, "resume")).status == 409
    assert (await patch(world, later, "pause")).status == 409
    assert (await patch(world, later, "resume")).status == 425


@pytest.mark.parametrize("what", ["cancel", "kill", "purge", "pause", "resume"])
async def test_control_of_what_there_is_not(world: Any, what: str) -> None:
    before = world.engine.stats()["invocations"]
    unknown = await patch(world, UNKNOWN, what)
    message = f"The requested invocation '{UNKNOWN}' does not exist"
    assert (unknown.status, unknown.json()) == (404, {"message": message, "restate_code": None})
    bad = await patch(world, "inv_bad", what)
    message = "The request field 'invocation_id' is invalid. Reason: unrecognized codec version"
    assert bad.json() == {"message": message, "restate_code": None}
    assert bad.status == 400
    assert world.engine.stats()["invocations"] == before


async def test_an_invocation_is_shown_with_its_journal(world: Any) -> None:
    answer = await world.ingress.post("/Counter/k/add", 2, idempotency_key="once")
    shown = (await world.admin.get(f"/perdure/invocations/{answer.headers['x-restate-id']}")).json()
    assert shown["id"] == answer.headers["x-restate-id"]
    assert (shown["status"], shown["target"], shown["idempotency_key"]) == ("completed", "Counter/k/add", "once")
    assert (shown["handler_kind"], shown["result"], shown["origin"]) == ("exclusive", "2", {"kind": "ingress"})
    entries = [(entry["index"], entry["type"]) for entry in shown["journal"]]
    assert entries[0] == (0, "Input")
    assert entries[-1] == (len(entries) - 1, "Output")
    assert shown["journal"][0]["body"] == "2"
    assert "retry_at_ms" not in shown


async def test_bytes_that_are_no_text_are_shown_in_base64(world: Any) -> None:
    answer = await world.ingress.request("POST", "/Echo/raw", b"\x00\xff", {"content-type": "application/octet-stream"})
    shown = (await world.admin.get(f"/perdure/invocations/{answer.headers['x-restate-id']}")).json()
    assert shown["result"] == {"base64": "AP8="}


async def test_stats(world: Any) -> None:
    await finished(world)
    stats = (await world.admin.get("/perdure/stats")).json()
    assert stats["invocations"] == 1


@pytest.mark.slow
def test_the_admin_api_costs_a_start_nothing() -> None:
    code = (
        "import sys, perdure.http.server, perdure.http.ingress.app, perdure.http.admin.app\n"
        "print([name for name in ('starlette', 'uvicorn', 'anyio') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout.strip() == "[]"
