"""Services over the admin API: what they choose, what an operator changes, and what their OpenAPI says."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import restate

from perdure.http.admin.durations import in_ms, in_words

from .services import counter, greeter


def chooser() -> restate.Service:
    """A service and handlers that choose policies."""
    service = restate.Service("Chooser", journal_retention=timedelta(hours=2), metadata={"team": "a"})
    policy = restate.InvocationRetryPolicy(
        initial_interval=timedelta(milliseconds=10), max_attempts=2, on_max_attempts="pause"
    )

    @service.handler(
        inactivity_timeout=timedelta(seconds=5), journal_retention=timedelta(0), invocation_retry_policy=policy
    )
    async def own(ctx: restate.Context) -> None:
        return None

    @service.handler()
    async def plain(ctx: restate.Context, name: str) -> str:
        return name

    @service.handler(ingress_private=True)
    async def hidden(ctx: restate.Context) -> None:
        return None

    return service


async def handlers(server: Any) -> Any:
    listed = (await server.admin.get("/services/Chooser/handlers")).json()["handlers"]
    return {handler["name"]: handler for handler in listed}


async def test_handlers_show_what_they_choose_themselves(server: Any, deploy: Any) -> None:
    await server.register((await deploy(chooser())).uri)
    service = (await server.admin.get("/services/Chooser")).json()
    assert (service["journal_retention"], service["inactivity_timeout"]) == ("2h", "1m")
    assert service["metadata"] == {"team": "a"}
    shown = await handlers(server)
    assert shown["own"] == {
        "name": "own",
        "public": True,
        "input_description": "none",
        "output_description": "none",
        "inactivity_timeout": "5s",
        "journal_retention": "0s",
        "retry_policy": {"initial_interval": "10ms", "max_attempts": 2, "on_max_attempts": "Pause"},
    }
    assert shown["plain"] == {
        "name": "plain",
        "public": True,
        "input_description": "JSON string",
        "output_description": "JSON string",
        "input_json_schema": {"type": "string"},
        "output_json_schema": {"type": "string"},
        "retry_policy": {"max_attempts": None},
    }
    assert shown["hidden"]["public"] is False


async def test_an_inactivity_timeout_that_has_no_effect_is_told(server: Any, deploy: Any) -> None:
    answer = await server.register((await deploy(chooser())).uri, use_http_11=True)
    (service,) = answer["services"]
    told = {handler["name"]: handler["info"][0]["code"] for handler in service["handlers"] if "info" in handler}
    assert told == {"own": "RT0021"}
    assert service["inactivity_timeout"] == "0s"
    own = (await server.admin.get("/services/Chooser/handlers/own")).json()
    assert "inactivity_timeout" not in own
    why = "because the handler is exposed in Request/Response mode."
    assert own["info"] == [
        {"message": f"The configured inactivity_timeout 5s will not be applied {why}", "code": "RT0021"}
    ]


async def test_an_operator_changes_settings_of_a_service(server: Any, deploy: Any) -> None:
    deployed = await deploy(chooser())
    await server.register(deployed.uri)
    changed = await server.admin.patch(
        "/v4/services/Chooser",
        {
            "public": None,
            "journal_retention": "P1DT2H",
            "inactivity_timeout": "2s",
            "abort_timeout": "1m 30s",
            "idempotency_retention": "PT1H",
        },
    )
    service = changed.json()
    assert changed.status == 200
    assert {name: service[name] for name in ("public", "journal_retention", "inactivity_timeout", "abort_timeout")} == {
        "public": True,
        "journal_retention": "1d 2h",
        "inactivity_timeout": "2s",
        "abort_timeout": "1m 30s",
    }
    assert service["revision"] == 1
    assert (await handlers(server))["own"]["inactivity_timeout"] == "5s"
    own, plain = (server.engine.resolve("Chooser", name)[1] for name in ("own", "plain"))
    assert (own.inactivity_timeout_ms, plain.inactivity_timeout_ms) == (5_000, 2_000)
    assert (own.journal_retention_ms, plain.journal_retention_ms) == (0, 26 * 3_600_000)
    again = await server.admin.patch("/services/Chooser", {"abort_timeout": "5s"})
    assert (again.json()["abort_timeout"], again.json()["inactivity_timeout"]) == ("5s", "2s")
    await server.register(deployed.uri, force=True)
    assert (await server.admin.get("/services/Chooser")).json()["inactivity_timeout"] == "1m"


async def test_changed_settings_survive_a_restart(tmp_path: Any, start_server: Any, deploy: Any) -> None:
    deployed = await deploy(chooser())
    first = await start_server(data=tmp_path)
    await first.register(deployed.uri)
    await first.admin.patch("/services/Chooser", {"public": False, "journal_retention": "5s"})
    shown = (await first.admin.get("/services/Chooser")).json()
    await first.stop()
    second = await start_server(data=tmp_path)
    assert (await second.admin.get("/services/Chooser")).json() == shown
    assert (shown["public"], shown["journal_retention"]) == (False, "5s")


async def test_a_service_that_is_made_private_is_not_reached_from_outside(server: Any, deploy: Any) -> None:
    await server.register((await deploy(greeter())).uri)
    assert (await server.ingress.post("/Greeter/greet", "Ann")).status == 200
    assert (await server.admin.patch("/services/Greeter", {"public": False})).json()["public"] is False
    refused = await server.ingress.post("/Greeter/greet", "Ann")
    assert (refused.status, refused.json()["message"]) == (400, "the invoked service is not public")
    shown = (await server.admin.get("/services/Greeter")).json()
    assert [handler["public"] for handler in shown["handlers"]] == [False]
    await server.admin.patch("/services/Greeter", {"public": True})
    assert (await server.ingress.post("/Greeter/greet", "Ann")).status == 200


async def test_a_handler_that_says_it_is_public_is_private_with_its_service(server: Any, deploy: Any) -> None:
    service = restate.Service("Open")

    @service.handler(ingress_private=False)
    async def seen(ctx: restate.Context) -> None:
        return None

    await server.register((await deploy(service)).uri)
    await server.admin.patch("/services/Open", {"public": False})
    assert (await server.ingress.ask("POST", "/Open/seen")).status == 400
    await server.admin.patch("/services/Open", {"public": True})
    assert (await server.ingress.ask("POST", "/Open/seen")).status == 200


async def test_a_public_handler_in_a_private_service_is_refused(server: Any, deploy: Any) -> None:
    service = restate.Service("Odd", ingress_private=True)

    @service.handler(ingress_private=False)
    async def seen(ctx: restate.Context) -> None:
        return None

    answer = await server.admin.post("/deployments", {"uri": (await deploy(service)).uri})
    assert answer.status == 400
    assert answer.json()["message"].startswith("The service Odd is private, but the seen is explicitly set as public.")


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("Chooser", {"workflow_completion_retention": "5s"}, 400),
        ("Nope", {"public": False}, 404),
        ("Chooser", {"journal_retention": "soon"}, 422),
        ("Chooser", {"journal_retention": "5"}, 422),
        ("Chooser", {"public": "x"}, 422),
        ("Chooser", b"{", 400),
    ],
)
async def test_what_cannot_be_changed(server: Any, deploy: Any, name: str, body: object, status: int) -> None:
    await server.register((await deploy(chooser())).uri)
    before = (await server.admin.get("/services/Chooser")).json()
    assert (await server.admin.patch(f"/services/{name}", body)).status == status
    assert (await server.admin.get("/services/Chooser")).json() == before


@pytest.mark.parametrize("path", ["/services/Nope", "/services/Nope/handlers", "/services/Nope/openapi"])
async def test_services_that_are_not_there(server: Any, path: str) -> None:
    answer = await server.admin.get(path)
    message = "The requested service 'Nope' does not exist"
    assert (answer.status, answer.json()) == (404, {"message": message, "restate_code": None})


async def test_the_openapi_of_a_service_names_its_public_routes(server: Any, deploy: Any) -> None:
    await server.register((await deploy(chooser(), counter())).uri)
    described = (await server.admin.get("/services/Chooser/openapi")).json()
    assert (described["openapi"], described["info"]["title"], described["info"]["version"]) == ("3.1.0", "Chooser", "1")
    assert set(described["paths"]) == {
        path
        for name in ("own", "plain")
        for path in (
            f"/restate/call/Chooser/{name}",
            f"/restate/send/Chooser/{name}",
            f"/restate/invocation/Chooser/{name}/{{idempotencyKey}}/attach",
            f"/restate/invocation/Chooser/{name}/{{idempotencyKey}}/output",
        )
    }
    tags = [
        ("call", "post", "", "Request Response"),
        ("send", "post", "", "Send"),
        ("invocation", "get", "/{idempotencyKey}/attach", "Attach"),
        ("invocation", "get", "/{idempotencyKey}/output", "Get Output"),
    ]
    for start, method, end, tag in tags:
        assert described["paths"][f"/restate/{start}/Chooser/plain{end}"][method]["tags"] == [tag]
    assert [tag["name"] for tag in described["tags"]] == [tag for *_, tag in tags]
    call = described["paths"]["/restate/call/Chooser/plain"]["post"]
    assert call["requestBody"]["content"] == {
        "application/json": {"schema": {"$ref": "#/components/schemas/plainRequest"}}
    }
    assert described["components"]["schemas"]["plainRequest"] == {"type": "string"}
    keyed = (await server.admin.get("/services/Counter/openapi")).json()
    assert "/restate/call/Counter/{key}/add" in keyed["paths"]


def test_durations_are_written_and_read_in_one_way() -> None:
    for ms in (0, 1, 500, 90_000, 26 * 3_600_000, 86_400_000):
        assert in_ms(in_words(ms)) == ms
    assert [in_words(ms) for ms in (0, 90_000, 93_600_000)] == ["0s", "1m 30s", "1d 2h"]
