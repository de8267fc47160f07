"""Deployments: what runs stays where it began, what is new goes to the newest; replaced, drained, removed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import wait_until

from .conftest import Own, Services

pytestmark = pytest.mark.slow


@pytest.fixture
def second(own: Own, tmp_path: Path) -> Iterator[Services]:
    services = Services(own.services.language, tmp_path, "v2")
    services.start()
    wait_until(services.listens)
    yield services
    services.kill()


def test_two_versions(own: Own, second: Services, key: str) -> None:
    world = own.world
    (first,) = world.admin.get("/deployments").json()["deployments"]
    assert re.fullmatch(r"dp_1[0-9a-zA-Z]{22}", first["id"])
    assert (first["uri"], first["protocol_type"]) == (f"{own.services.url}/", "BidiStream")
    waiting = world.send("/Util/version_after", key)
    name = world.held(key)
    assert world.ok("/Util/version") == "v1"

    registered = world.register(second)
    assert {service["revision"] for service in registered["services"]} == {2}
    assert world.ok("/Util/version") == "v2"
    assert world.admin.get("/services/Util").json()["deployment_id"] == registered["id"]
    assert len(world.admin.get("/deployments").json()["deployments"]) == 2
    pinned = (
        "select count(1) as n from sys_invocation_status "
        f"where pinned_deployment_id = '{first['id']}' and status != 'completed'"
    )
    world.until(lambda: world.sql(pinned) == [{"n": 1}])

    assert world.call(f"/restate/awakeables/{name}/resolve", 1).status_code == 202
    assert world.attach(waiting).json() == "v1 v1"
    world.until(lambda: world.sql(pinned) == [{"n": 0}])


def test_a_deployment_gets_other_headers(own: Own) -> None:
    deployment = own.world.register(own.services)["id"]
    path = f"/deployments/{deployment}"
    changed = own.world.admin.patch(path, json={"additional_headers": {"x-extra": "1"}})
    assert (changed.status_code, changed.json()["additional_headers"]) == (200, {"x-extra": "1"})
    assert own.world.ok("/Util/headers").get("x-extra") is None  # the handler sees those of the call
    same = own.world.admin.patch(path, json={"use_http_11": True}).json()
    assert (same["http_version"], same["additional_headers"]) == ("HTTP/2.0", {"x-extra": "1"})
    assert own.world.ok("/Util/echo", 1) == 1


def test_the_same_address_again(own: Own) -> None:
    world = own.world
    first = world.admin.get("/deployments").json()["deployments"][0]
    answer = world.admin.post("/deployments", json={"uri": own.services.url})
    assert (answer.status_code, answer.json()["id"]) == (200, first["id"])
    forced = world.admin.post("/deployments", json={"uri": own.services.url, "force": True})
    assert (forced.status_code, forced.json()["id"]) == (200, first["id"])
    assert {service["revision"] for service in forced.json()["services"]} == {2}
    assert world.ok("/Util/version") == "v1"


def test_a_dry_run_changes_nothing(own: Own, second: Services) -> None:
    world = own.world
    answer = world.admin.post("/deployments", json={"uri": second.url, "dry_run": True})
    assert answer.status_code == 201
    assert len(world.admin.get("/deployments").json()["deployments"]) == 1
    assert world.ok("/Util/version") == "v1"


def test_a_deployment_is_removed(own: Own, second: Services) -> None:
    world = own.world
    first = world.admin.get("/deployments").json()["deployments"][0]["id"]
    world.register(second)
    assert world.admin.delete(f"/deployments/{first}").status_code == 501
    assert world.admin.delete(f"/deployments/{first}?force=true").status_code == 202
    wait_until(lambda: world.admin.get(f"/deployments/{first}").status_code == 404)
    assert world.admin.delete(f"/deployments/{first}?force=true").status_code == 404
    assert world.ok("/Util/version") == "v2"


def test_what_cannot_be_registered(own: Own) -> None:
    world = own.world
    answer = world.admin.post("/deployments", json={"uri": "http://127.0.0.1:1"})
    assert answer.status_code == 500, answer.text
    assert answer.json()["restate_code"] == "META0003"
    assert world.admin.post("/deployments", json={}).status_code in (400, 422)
    assert world.admin.get("/deployments/nonsense").status_code == 400
    assert world.admin.get("/services/Nope").status_code == 404


def test_settings_of_a_service(own: Own) -> None:
    world = own.world
    answer = world.admin.patch("/services/Util", json={"public": False, "idempotency_retention": "2h"})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["public"], answer.json()["idempotency_retention"]) == (False, "2h")
    refused = world.call("/Util/echo", 1)
    assert (refused.status_code, refused.json()["message"]) == (400, "the invoked service is not public")
    assert world.admin.patch("/services/Util", json={"public": True}).status_code == 200
    assert world.ok("/Util/echo", 1) == 1


def test_what_a_service_says_of_itself(own: Own) -> None:
    service = own.world.admin.get("/services/Counter").json()
    assert (service["name"], service["ty"], service["revision"], service["public"]) == (
        "Counter",
        "VirtualObject",
        1,
        True,
    )
    kinds = {handler["name"]: handler["ty"] for handler in service["handlers"]}
    assert kinds == {"add": "Exclusive", "get": "Shared", "reset": "Exclusive", "add_then_fail": "Exclusive"}
    assert service["retry_policy"]["max_attempts"] == 70
    (handler,) = [each for each in service["handlers"] if each["name"] == "add"]
    assert own.world.admin.get("/services/Counter/handlers/add").json()["name"] == handler["name"]
    assert own.world.admin.get("/services/Counter/handlers/nope").status_code == 404
