"""The ingress in front of deployments: bodies, content types, headers, failures, ids, privacy."""

from __future__ import annotations

from typing import Any

import pytest

from .services import counter, payloads, signup

JSON = {"content-type": "application/json"}


@pytest.fixture
async def world(server: Any, deploy: Any) -> Any:
    await server.register((await deploy(payloads(), counter(), signup())).uri)
    return server


@pytest.mark.parametrize(
    ("path", "body", "headers", "message"),
    [
        ("word", b'"x"', {}, "Empty content-type"),
        ("word", b'"x"', {"content-type": "text/plain"}, "Content-type 'text/plain' does not match 'application/json'"),
        ("word", b"", JSON, "Empty body not allowed"),
        ("raw", b"x", JSON, "Content-type 'application/json' does not match 'application/octet-stream'"),
        ("nothing", b"x", {"content-type": "text/plain"}, "Expected body and content-type to be empty, but wasn't"),
        (
            "nothing",
            b"",
            JSON,
            "Expected body and content-type to be empty, but wasn't with content-type 'Some(\"application",
        ),
    ],
)
async def test_bodies_that_do_not_fit(world: Any, path: str, body: bytes, headers: Any, message: str) -> None:
    before = world.engine.stats()["invocations"]
    for send in ("", "/send"):
        answer = await world.ingress.ask("POST", f"/Payloads/{path}{send}", body, headers or {"content-type": None})
        assert (answer.status, answer.json()["source"]) == (400, "ingress")
        assert answer.json()["message"].startswith(f"input validation error: {message}")
    assert world.engine.stats()["invocations"] == before


async def test_bodies_are_not_looked_into(world: Any) -> None:
    answer = await world.ingress.ask("POST", "/Payloads/word", b"{no json", JSON)
    assert (answer.status, answer.json()["source"]) == (500, "invocation")
    assert answer.headers["x-restate-id"].startswith("inv_1")


async def test_content_types_of_results(world: Any) -> None:
    word = await world.ingress.ask(
        "POST", "/Payloads/word", b'"x"', {"content-type": "application/json; charset=utf-8"}
    )
    assert (word.status, word.headers["content-type"], word.body) == (200, "application/json", b'"x"')
    raw = await world.ingress.ask("POST", "/Payloads/raw", b"\x00\xff", {"content-type": "application/octet-stream"})
    assert (raw.headers["content-type"], raw.body) == ("image/png", b"\x00\xff")
    for method in ("GET", "POST"):
        nothing = await world.ingress.ask(method, "/Payloads/nothing")
        assert (nothing.status, nothing.body, "content-type" in nothing.headers) == (200, b"", False)


async def test_headers_reach_the_handler(world: Any) -> None:
    headers = {"x-token": "t", "idempotency-key": "k", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    seen = (await world.ingress.ask("GET", "/Payloads/headers?x=1", None, headers)).json()
    assert (seen["x-restate-ingress-path"], seen["x-token"]) == ("/Payloads/headers?x=1", "t")
    assert not {"host", "connection", "idempotency-key"} & set(seen)


async def test_a_terminal_error_is_the_answer(world: Any) -> None:
    answer = await world.ingress.post("/Payloads/refuse", 418)
    assert answer.status == 418
    assert answer.json() == {
        "code": 418,
        "message": "it cannot be done",
        "source": "invocation",
        "metadata": {"why": "because"},
    }
    assert answer.headers["x-restate-error-source"] == "invocation"
    again = await world.ingress.get(f"/restate/output/{answer.headers['x-restate-id']}")
    assert (again.status, again.json()) == (418, answer.json())
    assert "idempotency-expires" in again.headers and "idempotency-expires" not in answer.headers


async def test_attempts_that_ended_in_an_error_leave_it_with_its_stacktrace(world: Any) -> None:
    answer = await world.ingress.ask("POST", "/Payloads/break_down")
    body = answer.json()
    assert (answer.status, body["code"], body["source"], "broken" in body["message"]) == (500, 500, "invocation", True)
    assert "ValueError" in body["stacktrace"]
    attached = await world.ingress.get(f"/restate/attach/{answer.headers['x-restate-id']}")
    assert attached.json() == body


async def test_keys(world: Any) -> None:
    for path in ("/Counter/a%2Fb/add", "/restate/call/Counter/a%2Fb/add"):
        assert (await world.ingress.post(path, 1)).status == 200
    assert (await world.ingress.get("/Counter/a%2Fb/get")).json() == 2
    for key in ("", "a%zz", "%E2%82%AC", "a b".replace(" ", "%20")):
        assert (await world.ingress.post(f"/Counter/{key}/add", 5)).json() == 5
        assert (await world.ingress.get(f"/Counter/{key}/get")).json() == 5


async def test_idempotent_requests_are_one_invocation(world: Any) -> None:
    first = await world.ingress.ask("POST", "/Counter/k/add", b"1", {**JSON, "idempotency-key": "once"})
    again = await world.ingress.ask("POST", "/Counter/k/add", b"1", {**JSON, "idempotency-key": "once"})
    sent = await world.ingress.ask("POST", "/Counter/k/add/send", b"1", {**JSON, "idempotency-key": "once"})
    assert (first.json(), again.json(), sent.json()["status"]) == (1, 1, "PreviouslyAccepted")
    assert first.headers["x-restate-id"] == again.headers["x-restate-id"] == sent.json()["invocationId"]
    assert "idempotency-expires" in again.headers
    target = {
        "target": "idempotentInvocation",
        "service": "Counter",
        "key": "k",
        "handler": "add",
        "idempotencyKey": "once",
    }
    assert (await world.ingress.post("/restate/lookup", target)).json() == {"invocationId": sent.json()["invocationId"]}
    assert (await world.ingress.post("/restate/output", target)).json() == 1
    assert (await world.ingress.get("/restate/invocation/Counter/k/add/once/attach")).json() == 1


async def test_a_workflow_runs_once(world: Any) -> None:
    first = await world.ingress.post("/Signup/ann/run", "Ann")
    assert first.json() == "welcome Ann"
    again = await world.ingress.post("/Signup/ann/run", "Ann")
    assert (again.status, again.json()["message"]) == (409, "the workflow method was already invoked")
    assert again.json()["source"] == "invocation"
    sent = await world.ingress.post("/Signup/ann/run/send", "Ann")
    assert (sent.status, sent.json()["status"]) == (202, "PreviouslyAccepted")
    keyed = await world.ingress.ask("POST", "/Signup/bob/run", b'"Bob"', {**JSON, "idempotency-key": "k"})
    assert (keyed.status, keyed.json()["source"]) == (400, "ingress")
    named = {"target": "workflow", "workflowName": "Signup", "workflowKey": "ann"}
    assert (await world.ingress.post("/restate/attach", named)).json() == "welcome Ann"
    assert (await world.ingress.get("/restate/workflow/Signup/ann/output")).json() == "welcome Ann"
    assert (await world.ingress.get("/Signup/ann/name")).json() == "ann"


@pytest.mark.parametrize(
    "target",
    [
        {"target": "workflow", "workflowName": "Nope", "workflowKey": "k"},
        {"target": "idempotentInvocation", "service": "Nope", "handler": "x", "idempotencyKey": "k"},
        {"target": "idempotentInvocation", "service": "Counter", "handler": "nope", "idempotencyKey": "k"},
    ],
)
async def test_ids_are_looked_up_of_what_does_not_exist(world: Any, target: object) -> None:
    found = await world.ingress.post("/restate/lookup", target)
    invocation_id = found.json()["invocationId"]
    assert (found.status, invocation_id[:5]) == (200, "inv_1")
    output = await world.ingress.post("/restate/output", target)
    assert (output.status, output.json()["message"], output.json()["source"]) == (
        404,
        "invocation not found",
        "ingress",
    )
    attached = await world.ingress.post("/restate/attach", target)
    assert (attached.status, attached.json()["message"], attached.json()["source"]) == (404, "not found", "invocation")
    assert attached.headers["x-restate-id"] == invocation_id


async def test_health_names_the_services(world: Any) -> None:
    health = await world.ingress.get("/restate/health")
    assert (health.status, health.json()) == (200, {"services": ["Counter", "Payloads", "Signup"]})
