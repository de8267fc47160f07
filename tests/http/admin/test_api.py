"""The admin API as a whole: versions, compression, and what other servers have and this one has not."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from .services import counter, greeter

SUBSCRIPTION = "sub_1" + "0" * 22
INVOCATION = "inv_1kWHPJ8EdIa67slYDwAjggtZU5n9JnhLWN"


async def test_replies_are_compressed_only_for_those_who_ask(server: Any, deploy: Any) -> None:
    await server.register((await deploy(greeter(), counter())).uri)
    plain = await server.admin.get("/services")
    assert "content-encoding" not in plain.headers
    zipped = await server.admin.ask("GET", "/services", None, {"accept-encoding": "gzip"})
    assert zipped.headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(zipped.body)) == plain.json()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/deployments/", 404),
        ("GET", "/v4/deployments/", 404),
        ("GET", "/v5/deployments", 404),
        ("GET", "/nope", 404),
        ("POST", "/services", 405),
        ("DELETE", "/v2/services", 405),
    ],
)
async def test_routes_that_are_not_there_have_no_body(server: Any, method: str, path: str, status: int) -> None:
    answer = await server.admin.ask(method, path)
    assert (answer.status, answer.body) == (status, b"")


async def test_a_refused_method_is_told_all_that_are_served(server: Any) -> None:
    for prefix in ("", "/v4"):
        answer = await server.admin.ask("DELETE", f"{prefix}/services/Any")
        assert answer.status == 405
        assert set(answer.headers["allow"].replace(" ", "").split(",")) == {"GET", "HEAD", "PATCH"}


async def test_version_1_is_refused(server: Any) -> None:
    for method, path in (("GET", "/v1/deployments"), ("POST", "/v1/nope")):
        answer = await server.admin.ask(method, path)
        assert answer.status == 400
        assert answer.body == b"Unsupported Admin API version V1. This server supports versions between V2 and V4."


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/subscriptions", {"subscriptions": []}),
        ("/subscriptions?sink=service://A/b&source=kafka://c/t", {"subscriptions": []}),
        ("/kafka-clusters", {"clusters": []}),
        ("/cluster-health", {"cluster_name": "localcluster", "metadata_cluster_health": {"members": [1]}}),
    ],
)
async def test_lists_of_what_is_not_there(server: Any, path: str, shown: object) -> None:
    answer = await server.admin.get(f"/v4{path}")
    assert (answer.status, answer.json()) == (200, shown)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("GET", "/subscriptions/sub_x", None, 400, None),
        (
            "GET",
            f"/subscriptions/{SUBSCRIPTION}",
            None,
            404,
            f"The requested subscription '{SUBSCRIPTION}' does not exist",
        ),
        ("DELETE", f"/subscriptions/{SUBSCRIPTION}", None, 404, "The requested subscription"),
        ("POST", "/subscriptions", {"source": "x", "sink": "y"}, 400, "[META0009] invalid source URI 'x'"),
        (
            "POST",
            "/subscriptions",
            {"source": "kafka://c/t", "sink": "service://Nope/greet"},
            400,
            "[META0009] invalid sink URI 'service://Nope/greet': cannot find service/handler",
        ),
        (
            "POST",
            "/subscriptions",
            {"source": "kafka://c/t", "sink": "service://Greeter/greet"},
            400,
            "Kafka cluster 'c' not found. Available clusters: []",
        ),
        ("GET", "/kafka-clusters/c", None, 404, "The requested Kafka cluster 'c' does not exist"),
        ("POST", "/kafka-clusters", {"name": "c", "properties": {}}, 400, "this server reads no Kafka topics"),
        ("PATCH", "/kafka-clusters/c", {"properties": {}}, 404, "not found in the schema registry: kafka cluster 'c'"),
        (
            "DELETE",
            "/kafka-clusters/c?force=true",
            None,
            404,
            "not found in the schema registry: kafka cluster named 'c'",
        ),
        ("PUT", "/limits/rules", [{"pattern": "*", "limits": {"concurrency": 5}}], 400, "this server has no rules"),
        ("POST", "/vqueues/q/pause", None, 400, "The request field 'vqueue_id' is invalid. Reason: bad format"),
        ("POST", "/vqueues/q/resume", None, 400, "The request field 'vqueue_id' is invalid. Reason: bad format"),
    ],
)
async def test_what_this_server_has_not(
    server: Any, deploy: Any, method: str, path: str, body: object, status: int, message: str | None
) -> None:
    if "Greeter" in json.dumps(body):
        await server.register((await deploy(greeter())).uri)
    answer = await server.admin.ask(method, path, body)
    assert answer.status == status
    if message is not None:
        assert answer.json()["message"].startswith(message)


async def test_no_rules_is_what_there_is(server: Any) -> None:
    assert (await server.admin.ask("PUT", "/limits/rules", [])).json() == []
    deleted = await server.admin.post("/limits/rules/bulk-delete", [{"pattern": "a", "expected_version": 1}])
    assert (deleted.status, deleted.json()) == (200, [])


async def test_the_older_form_of_control(server: Any) -> None:
    for query, status in (
        ("", 202),
        ("?mode=cancel", 202),
        ("?mode=Kill", 202),
        ("?mode=purge", 202),
        ("?mode=KILL", 400),
        ("?mode=", 400),
    ):
        assert (await server.admin.ask("DELETE", f"/invocations/{INVOCATION}{query}")).status == status
    assert (await server.admin.ask("DELETE", "/invocations/bad?mode=kill")).status == 400


BATCHES = ("cancel", "kill", "purge", "purge-journal", "pause", "resume", "restart-as-new")


@pytest.mark.parametrize("name", BATCHES)
async def test_batches(server: Any, deploy: Any, name: str) -> None:
    await server.register((await deploy(greeter())).uri)
    done = (await server.ingress.post("/Greeter/greet", "Ann")).headers["x-restate-id"]
    later = (await server.ingress.post("/Greeter/greet/send?delay=1h", "Ann")).json()["invocationId"]
    path = f"/internal/invocations_batch_operations/{name}"
    answer = await server.admin.post(path, {"invocation_ids": [done, later, INVOCATION]})
    body = answer.json()
    failed = {each["invocation_id"] for each in body["failed"]}
    of_the_done = name in ("purge", "purge-journal", "restart-as-new")
    expected = {"cancel": {done}, "kill": {done}, "pause": {done, later}, "resume": {done, later}}
    assert answer.status == 200
    assert failed == {INVOCATION} | ({later} if of_the_done else expected[name])
    assert len(body["succeeded"]) == 3 - len(failed)
    too_many = await server.admin.post(path, {"invocation_ids": [done] * 1001})
    assert (too_many.status, too_many.json()["message"]) == (
        400,
        "Batch size 1001 exceeds maximum allowed size of 1000",
    )
    assert (await server.admin.post(path, {"invocation_ids": ["bad"]})).status == 422
