"""What SQL says of deployments elsewhere, and of what is pinned to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import perdure

from .services import counter, greeter

pytestmark = pytest.mark.slow


async def sql(server: Any, query: str) -> Any:
    answer = await server.admin.ask("POST", "/query", {"query": query}, {"accept": "application/json"})
    assert answer.status == 200, answer.body
    return answer.json()["rows"]


async def test_deployments_services_and_pins(start_server: Any, deploy: Any, tmp_path: Path) -> None:
    here = perdure.Service("Here")

    @here.handler()
    async def say(ctx: perdure.Context) -> str:
        return "here"

    server = await start_server(data=tmp_path / "data", app=perdure.app([here]))
    first, second = await deploy(greeter(), counter()), await deploy(greeter())
    old = await server.register(f"{first.uri}/")
    assert (await server.ingress.post("/Greeter/greet", "Ann")).json() == "hello Ann"
    new = await server.register(second.uri)
    assert (await server.ingress.post("/Greeter/greet", "Bob")).json() == "hello Bob"
    assert (await server.ingress.ask("POST", "/Here/say")).status == 200

    listed = (await server.admin.get("/deployments")).json()["deployments"]
    local = next(each["id"] for each in listed if each["uri"] == "in-process://local/")
    rows = await sql(server, "SELECT id, ty, endpoint, services FROM sys_deployment")
    assert {(row["id"], row["ty"], row["endpoint"], tuple(row["services"])) for row in rows} == {
        (local, "http", "in-process://local/", ("Here",)),
        (old["id"], "http", f"{first.uri}/", ("Counter", "Greeter")),
        (new["id"], "http", f"{second.uri}/", ("Greeter",)),
    }
    rows = await sql(server, "SELECT name, revision, deployment_id FROM sys_service")
    assert {(row["name"], row["revision"], row["deployment_id"]) for row in rows} == {
        ("Counter", 1, old["id"]),
        ("Greeter", 2, new["id"]),
        ("Here", 1, local),
    }
    rows = await sql(
        server,
        "SELECT inv.target, inv.pinned_deployment_id, inv.pinned_service_protocol_version AS version, dp.endpoint "
        "FROM sys_invocation inv JOIN sys_deployment dp ON dp.id = inv.pinned_deployment_id ORDER BY inv.created_at",
    )
    assert [(row["target"], row["pinned_deployment_id"], "version" in row) for row in rows] == [
        ("Greeter/greet", old["id"], True),
        ("Greeter/greet", new["id"], True),
        ("Here/say", local, False),
    ]
