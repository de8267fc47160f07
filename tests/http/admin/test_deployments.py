"""Deployments over the admin API: registered, listed, overwritten, changed, removed; calls that reach them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import restate

import perdure
from perdure.model.ids import parse_ulid

from .services import counter, greeter, greeter_object

UNKNOWN = "dp_1" + "0" * 22


def named(services: Any) -> dict[str, Any]:
    """By name: their order says nothing."""
    return {service["name"]: service for service in services}


async def deployments(server: Any) -> dict[str, Any]:
    listed = (await server.admin.get("/deployments")).json()["deployments"]
    return {deployment["id"]: deployment for deployment in listed}


async def greet(server: Any) -> Any:
    return await server.ingress.post("/Greeter/greet", "Ann")


# --- registration -----------------------------------------------------------------------------------------------------------


async def test_a_registered_deployment_takes_new_invocations(server: Any, deploy: Any) -> None:
    assert (await greet(server)).status == 404
    deployed = await deploy(greeter(), counter())
    answer = await server.admin.post("/deployments", {"uri": deployed.uri, "metadata": {"git": "a1"}})
    registered = answer.json()
    parse_ulid("dp", registered["id"])
    assert (answer.status, answer.headers["location"]) == (201, f"deployments/{registered['id']}")
    assert {(each["name"], each["ty"], each["revision"]) for each in registered["services"]} == {
        ("Greeter", "Service", 1),
        ("Counter", "VirtualObject", 1),
    }
    assert {each["deployment_id"] for each in registered["services"]} == {registered["id"]}
    assert (await greet(server)).json() == "hello Ann"
    assert (await server.ingress.post("/Counter/k/add", 2)).json() == 2
    shown = (await server.admin.get(f"/deployments/{registered['id']}")).json()
    assert shown.pop("created_at").endswith("000000Z")
    assert shown.pop("sdk_version").startswith("restate-sdk-python/")
    assert named(shown.pop("services")) == named(registered["services"])
    assert shown == {
        "id": registered["id"],
        "uri": f"{deployed.uri}/",
        "protocol_type": "BidiStream",
        "http_version": "HTTP/2.0",
        "metadata": {"git": "a1"},
        "min_protocol_version": 5,
        "max_protocol_version": 7,
    }
    (listed,) = (await deployments(server)).values()
    assert named(listed["services"]) == {name: {"name": name, "revision": 1} for name in ("Counter", "Greeter")}


async def test_a_deployment_survives_a_restart(tmp_path: Path, start_server: Any, deploy: Any) -> None:
    deployed = await deploy(greeter())
    first = await start_server(data=tmp_path)
    registered = await first.register(deployed.uri)
    before = (await first.admin.get(f"/deployments/{registered['id']}")).json()
    await first.stop()
    second = await start_server(data=tmp_path)
    assert (await second.admin.get(f"/deployments/{registered['id']}")).json() == before
    assert (await greet(second)).json() == "hello Ann"


async def test_registering_an_address_again_changes_nothing(server: Any, deploy: Any) -> None:
    deployed = await deploy(greeter())
    registered = await server.register(deployed.uri)
    deployed.app = (await deploy(counter())).app
    for uri in (deployed.uri, f"{deployed.uri}/"):
        again = await server.admin.post("/v4/deployments", {"uri": uri})
        assert (again.status, again.json()) == (200, registered)
        assert again.headers["location"] == f"deployments/{registered['id']}"


async def test_force_writes_a_deployment_anew(server: Any, deploy: Any) -> None:
    deployed = await deploy(greeter(), counter())
    registered = await server.register(deployed.uri)
    created_at = (await deployments(server))[registered["id"]]["created_at"]
    patched = await server.admin.patch("/services/Greeter", {"journal_retention": "5s"})
    assert patched.json()["journal_retention"] == "5s"
    deployed.app = (await deploy(greeter("hi"))).app
    forced = await server.admin.post("/deployments", {"uri": deployed.uri, "force": True})
    assert forced.status == 200
    body = forced.json()
    assert body["id"] == registered["id"]
    assert [(each["name"], each["revision"]) for each in body["services"]] == [("Greeter", 2)]
    assert body["services"][0]["journal_retention"] == "1d"
    assert "Counter" in body["info"][0]["message"]
    assert (await deployments(server))[registered["id"]]["created_at"] > created_at
    assert (await greet(server)).json() == "hi Ann"
    assert (await server.ingress.post("/Counter/k/add", 1)).status == 404


async def test_another_address_is_the_latest_revision(server: Any, deploy: Any) -> None:
    old = await server.register((await deploy(greeter(), counter())).uri)
    new = await server.register((await deploy(greeter("hi"))).uri)
    assert (new["services"][0]["revision"], new["id"] == old["id"]) == (2, False)
    assert (await greet(server)).json() == "hi Ann"
    services = named((await server.admin.get("/services")).json()["services"])
    assert (services["Greeter"]["deployment_id"], services["Counter"]["deployment_id"]) == (new["id"], old["id"])
    kept = named((await server.admin.get(f"/deployments/{old['id']}")).json()["services"])
    assert kept["Greeter"]["revision"] == 1
    removed = await server.admin.ask("DELETE", f"/deployments/{new['id']}?force=true")
    assert removed.status == 202
    assert (await greet(server)).json() == "hello Ann"


async def test_a_dry_run_stores_nothing(server: Any, deploy: Any) -> None:
    deployed = await deploy(greeter())
    before = server.engine.stats()["applied_lsn"]
    answer = await server.admin.post("/deployments", {"uri": deployed.uri, "dry_run": True})
    assert (answer.status, answer.json()["services"][0]["revision"]) == (201, 1)
    assert server.engine.stats()["applied_lsn"] == before
    assert await deployments(server) == {}
    await server.register(deployed.uri)
    forced = await server.admin.post("/deployments", {"uri": deployed.uri, "force": True, "dry_run": True})
    assert (forced.status, forced.json()["services"][0]["revision"]) == (200, 2)
    assert (await server.admin.get("/services/Greeter")).json()["revision"] == 1


async def test_a_service_changes_its_type_only_when_that_is_allowed(server: Any, deploy: Any) -> None:
    await server.register((await deploy(greeter())).uri)
    other = await deploy(greeter_object())
    refused = await server.admin.post("/deployments", {"uri": other.uri})
    assert (refused.status, refused.json()["restate_code"]) == (409, "META0006")
    assert (await server.admin.get("/services/Greeter")).json()["ty"] == "Service"
    dry = await server.admin.post("/deployments", {"uri": other.uri, "breaking": True, "dry_run": True})
    assert dry.status == 201
    allowed = await server.admin.post("/deployments", {"uri": other.uri, "breaking": True})
    assert allowed.status == 201
    assert (await server.ingress.post("/Greeter/k/greet", "Ann")).json() == "Ann"


async def test_a_service_of_the_servers_own_app_is_not_taken_over(start_server: Any, deploy: Any) -> None:
    local = perdure.Service("Greeter")

    @local.handler(name="greet")
    async def _(ctx: perdure.Context, name: str) -> str:
        return f"here {name}"

    server = await start_server(app=perdure.app([local]))
    deployed = await deploy(greeter(), counter())
    for options in ({}, {"force": True}, {"breaking": True}, {"dry_run": True}):
        refused = await server.admin.post("/deployments", {"uri": deployed.uri, **options})
        assert (refused.status, "'Greeter'" in refused.json()["message"]) == (409, True)
    assert (await greet(server)).json() == "here Ann"
    other = await server.register((await deploy(counter())).uri)
    listed = await deployments(server)
    assert (len(listed), set(named(listed[other["id"]]["services"]))) == (2, {"Counter"})
    (here,) = listed.keys() - {other["id"]}
    assert (await server.admin.ask("DELETE", f"/deployments/{here}?force=true")).status == 409
    assert (await server.admin.patch(f"/deployments/{here}", {})).status == 409
    assert (await server.admin.patch("/services/Greeter", {"public": False})).status == 409


async def test_one_change_at_a_time(server: Any, deploy: Any) -> None:
    deployed, other = await deploy(greeter()), await deploy(greeter("hi"))
    answers = await asyncio.gather(
        *(server.admin.post("/deployments", {"uri": each.uri}) for each in (deployed, other) for _ in range(3))
    )
    assert sorted(answer.status for answer in answers) == [200, 200, 200, 200, 201, 201]
    assert len({answer.json()["id"] for answer in answers}) == 2
    revisions = [each["services"][0]["revision"] for each in (await deployments(server)).values()]
    assert sorted(revisions) == [1, 2]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"uri": "nope"}, 400, "The request field 'uri' is invalid. Reason: The provided uri nope is not absolute"),
        ({"uri": "ftp://x/"}, 400, "The request field 'uri' is invalid."),
        ({"uri": "http://127.0.0.1:99999"}, 400, "The request field 'uri' is invalid."),
        ({"arn": "arn:aws:lambda:eu-central-1:1:function:x:1"}, 400, "this server runs no AWS Lambda deployments"),
        ({"uri": "http://x", "auth": {"GoogleIdToken": {}}}, 400, "this server asks nobody for Google id tokens"),
        ({}, 422, "Failed to deserialize the JSON body into the target type: data did not match any variant"),
        ({"uri": 1}, 422, "Failed to deserialize the JSON body into the target type:"),
        ({"uri": ""}, 422, "Failed to deserialize the JSON body into the target type: data did not match any variant"),
        ({"uri": "no uri"}, 422, "Failed to deserialize the JSON body into the target type: data did not match any"),
        ({"uri": "http://"}, 422, "Failed to deserialize the JSON body into the target type: data did not match any"),
        ({"uri": "http:///x"}, 422, "Failed to deserialize the JSON body into the target type: data did not match any"),
        ({"uri": "http://x/a b"}, 422, "Failed to deserialize the JSON body into the target type: data did not match"),
        ({"uri": "http://["}, 422, "Failed to deserialize the JSON body into the target type: data did not match any"),
        ({"uri": "a/b"}, 422, "Failed to deserialize the JSON body into the target type: data did not match any"),
        ({"uri": "/x"}, 400, "The request field 'uri' is invalid. Reason: The provided uri /x is not absolute"),
        (b"{", 400, "Failed to parse the request body as JSON:"),
    ],
)
async def test_what_is_no_registration(server: Any, body: object, status: int, message: str) -> None:
    answer = await server.admin.post("/deployments", body)
    assert answer.status == status
    plain = answer.headers["content-type"].startswith("text/plain")
    assert (answer.body.decode() if plain else answer.json()["message"]).startswith(message)
    assert plain == (status == 422 or body == b"{")


async def test_a_registration_is_json(server: Any) -> None:
    answer = await server.admin.ask("POST", "/deployments", b"{}", {"content-type": "text/plain"})
    assert (answer.status, answer.body) == (415, b"Expected request with `Content-Type: application/json`")


@pytest.mark.slow
async def test_an_address_where_nobody_is(server: Any) -> None:
    answer = await server.admin.post("/deployments", {"uri": "http://127.0.0.1:1"})
    assert (answer.status, answer.json()["restate_code"]) == (500, "META0003")
    assert answer.json()["message"].startswith("[META0003] error when calling 'http://127.0.0.1:1/': ")


# --- versions of the API ----------------------------------------------------------------------------------------------------


async def test_version_2_overwrites_unless_told_otherwise(server: Any, deploy: Any) -> None:
    deployed = await deploy(greeter())
    assert (await server.admin.post("/v2/deployments", {"uri": deployed.uri})).status == 201
    again = await server.admin.post("/v2/deployments", {"uri": deployed.uri})
    assert (again.status, again.json()["services"][0]["revision"]) == (201, 2)
    kept = await server.admin.post("/v2/deployments", {"uri": deployed.uri, "force": False})
    assert kept.status == 409
    for version in ("", "/v3", "/v4"):
        unchanged = await server.admin.post(f"{version}/deployments", {"uri": deployed.uri})
        assert (unchanged.status, unchanged.json()["services"][0]["revision"]) == (200, 2)


async def test_put_is_of_version_2(server: Any, deploy: Any) -> None:
    registered = await server.register((await deploy(greeter())).uri)
    for version, status in (("", 405), ("/v2", 200), ("/v3", 405), ("/v4", 405)):
        answer = await server.admin.ask("PUT", f"{version}/deployments/{registered['id']}", {})
        assert answer.status == status


# --- changes ----------------------------------------------------------------------------------------------------------------


async def test_headers_are_sent_with_each_request(server: Any, deploy: Any) -> None:
    deployed = await deploy(greeter())
    registered = await server.register(deployed.uri, additional_headers={"x-token": "one"})
    await greet(server)
    assert {request.get("x-token") for request in deployed.requests} == {"one"}
    deployed.requests.clear()
    patched = await server.admin.patch(f"/deployments/{registered['id']}", {"additional_headers": {"x-token": "two"}})
    assert (patched.status, patched.json()["additional_headers"]) == (200, {"x-token": "two"})
    assert patched.json()["services"][0]["revision"] == 1
    assert (await greet(server)).status == 200
    assert [request.get("x-token") for request in deployed.requests] == ["two"]


async def test_an_update_of_nothing_changes_nothing(server: Any, deploy: Any) -> None:
    registered = await server.register((await deploy(greeter())).uri)
    before, lsn = (await deployments(server)), server.engine.stats()["applied_lsn"]
    assert (await server.admin.patch(f"/deployments/{registered['id']}", {})).status == 200
    assert (await deployments(server), server.engine.stats()["applied_lsn"]) == (before, lsn)


async def test_a_deployment_moves_to_another_address(server: Any, deploy: Any) -> None:
    registered = await server.register((await deploy(greeter())).uri)
    new, other = await deploy(greeter("moved")), await deploy(greeter(), counter())
    path = f"/deployments/{registered['id']}"
    dry = await server.admin.patch(path, {"uri": new.uri, "dry_run": True})
    assert (dry.status, dry.json()["uri"]) == (200, f"{new.uri}/")
    assert (await greet(server)).json() == "hello Ann"
    moved = await server.admin.patch(path, {"uri": new.uri})
    assert (moved.json()["id"], moved.json()["uri"]) == (registered["id"], f"{new.uri}/")
    assert moved.json()["services"][0]["revision"] == 1
    assert (await greet(server)).json() == "moved Ann"
    refused = await server.admin.patch(path, {"uri": other.uri})
    assert (refused.status, refused.json()["restate_code"]) == (400, "META0016")
    forced = await server.admin.patch(path, {"uri": other.uri, "overwrite": True})
    assert (forced.status, set(named(forced.json()["services"]))) == (200, {"Counter", "Greeter"})
    second = await server.register((await deploy(greeter())).uri)
    both = await server.admin.patch(f"/deployments/{second['id']}", {"uri": new.uri})
    assert (both.status, both.json()["uri"]) == (200, f"{new.uri}/")


async def test_a_deployment_over_http_1(server: Any, deploy: Any) -> None:
    deployed = await deploy(greeter())
    registered = await server.register(deployed.uri, use_http_11=True)
    shown = (await server.admin.get(f"/deployments/{registered['id']}")).json()
    assert (shown["http_version"], shown["protocol_type"]) == ("HTTP/1.1", "RequestResponse")
    assert shown["services"][0]["inactivity_timeout"] == "0s"
    assert (await greet(server)).json() == "hello Ann"


async def test_removal_takes_force(server: Any, deploy: Any) -> None:
    registered = await server.register((await deploy(greeter())).uri)
    path = f"/v4/deployments/{registered['id']}"
    kept = await server.admin.ask("DELETE", path)
    assert (kept.status, kept.body) == (501, b"")
    removed = await server.admin.ask("DELETE", f"{path}?force=true")
    assert (removed.status, removed.body) == (202, b"")
    assert (await greet(server)).status == 404
    assert (await server.admin.get(path)).status == 404
    assert (await server.admin.ask("DELETE", f"{path}?force=true")).status == 404


@pytest.mark.parametrize(
    ("wanted", "status"), [(UNKNOWN, 404), ("dp_x", 400), ("inv_1kWHPJ8EdIa67slYDwAjggtZU5n9JnhLWN", 400)]
)
async def test_deployments_that_are_not_there(server: Any, wanted: str, status: int) -> None:
    for method, query, body in (("GET", "", None), ("PATCH", "", {}), ("DELETE", "?force=true", None)):
        answer = await server.admin.ask(method, f"/deployments/{wanted}{query}", body)
        assert answer.status == status
        if status == 400:
            assert answer.body.decode().startswith("Invalid URL: Cannot parse `deployment` with value `")
        else:
            assert (wanted in answer.json()["message"], answer.json()["restate_code"]) == (True, None)
            if method == "PATCH":
                assert answer.json()["message"] == f"not found in the schema registry: {wanted}"


async def test_a_handler_may_go(server: Any, deploy: Any) -> None:
    await server.register((await deploy(counter())).uri)
    smaller = restate.VirtualObject("Counter")

    @smaller.handler()
    async def add(ctx: restate.ObjectContext, number: int) -> int:
        return number

    new = await server.admin.post("/deployments", {"uri": (await deploy(smaller)).uri})
    assert (new.status, [each["name"] for each in new.json()["services"][0]["handlers"]]) == (201, ["add"])
    gone = await server.ingress.get("/Counter/k/get")
    assert (gone.status, "the handler 'get' was not found" in gone.json()["message"]) == (404, True)


async def test_the_query_of_an_address_is_sent_along_and_names_no_other_deployment(server: Any, deploy: Any) -> None:
    deployed = await deploy(greeter())
    first = await server.admin.post(
        "/deployments", {"uri": f"{deployed.uri}?a=b#c", "additional_headers": {"X-A": "B"}}
    )
    again = await server.admin.post("/deployments", {"uri": f"{deployed.uri}/?a=c"})
    assert (first.status, again.status, again.json()["id"]) == (201, 200, first.json()["id"])
    shown = (await server.admin.get(f"/deployments/{first.json()['id']}")).json()
    assert (shown["uri"], shown["additional_headers"]) == (f"{deployed.uri}/?a=b", {"x-a": "B"})
    assert (await greet(server)).json() == "hello Ann"


@pytest.mark.parametrize("body", [[], {"uri": 1}, {"uri": ""}, {"uri": "http://h", "force": "x"}])
async def test_a_body_that_registers_nothing(server: Any, body: Any) -> None:
    answer = await server.admin.post("/deployments", body)
    assert (answer.status, answer.body.decode()) == (
        422,
        "Failed to deserialize the JSON body into the target type: "
        "data did not match any variant of untagged enum RegisterDeploymentRequest",
    )
