"""Deployments over the admin API: registered, listed, overwritten, changed, removed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import perdure

from .services import counter, greeter, greeter_object


async def test_a_deployment_is_registered_and_takes_new_invocations(server: Any, deploy: Any) -> None:
    deployed = await deploy(greeter(), counter())
    answer = await server.admin.post("/deployments", {"uri": deployed.uri})
    assert answer.status == 201
    registered = answer.json()
    assert answer.headers["location"] == f"deployments/{registered['id']}"
    assert {(each["name"], each["ty"], each["revision"]) for each in registered["services"]} == {
        ("Greeter", "Service", 1),
        ("Counter", "VirtualObject", 1),
    }
    assert {each["deployment_id"] for each in registered["services"]} == {registered["id"]}
    assert registered["sdk_version"].startswith("restate-sdk-python/")
    spec, _ = server.engine.resolve("Greeter", "greet")
    assert spec.name == "Greeter"
    assert server.engine.registry.deployment_of("Greeter").id == registered["id"]


async def test_a_deployment_survives_a_restart(tmp_path: Path, start_server: Any, deploy: Any) -> None:
    deployed = await deploy(greeter())
    first = await start_server(data=tmp_path)
    registered = await first.register(deployed.uri)
    before = (await first.admin.get(f"/deployments/{registered['id']}")).json()
    await first.stop()
    second = await start_server(data=tmp_path)
    assert (await second.admin.get(f"/deployments/{registered['id']}")).json() == before
    assert second.engine.registry.deployment_of("Greeter").id == registered["id"]
