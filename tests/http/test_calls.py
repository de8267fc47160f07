"""Calls and sends: what comes back, and what the handler saw."""

from __future__ import annotations

import re
from typing import Any

import pytest

from perdure.model.ids import parse_invocation_id

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("path", "body", "result"),
    [
        ("/Echo/say", b'"hi"', b'"hi"'),
        ("/Echo/say/", b'"hi"', b'"hi"'),
        ("/Echo/say?x=1", b'"hi"', b'"hi"'),
        ("/restate/call/Echo/say", b'"hi"', b'"hi"'),
        ("/Counter/k/add", b"2", b"2"),
        ("/restate/call/Counter/k/add", b"2", b"2"),
        ("/Signup/ann/run", b'"Ann"', b'"welcome Ann"'),
    ],
)
async def test_a_call_returns_what_the_handler_returned(world: Any, path: str, body: bytes, result: bytes) -> None:
    answer = await world.ingress.request("POST", path, body, JSON)
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, result, "application/json")
    parse_invocation_id(answer.headers["x-restate-id"])
    assert "idempotency-expires" not in answer.headers


async def test_bytes_come_back_as_they_are(world: Any) -> None:
    data = bytes(range(256))
    answer = await world.ingress.request("POST", "/Echo/raw", data, {"content-type": "application/octet-stream"})
    assert (answer.status, answer.body) == (200, data)
    assert answer.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize(
    ("segment", "key"), [("a%20b", "a b"), ("%E2%82%AC", "\u20ac"), ("a%2Fb", "a/b"), ("a+b", "a+b"), ("send", "send")]
)
async def test_keys_are_decoded(world: Any, segment: str, key: str) -> None:
    answer = await world.ingress.get(f"/Counter/{segment}/key")
    assert (answer.status, answer.json()) == (200, key)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_handler_without_input_and_output(world: Any, method: str) -> None:
    answer = await world.ingress.request(method, "/Echo/nothing")
    assert (answer.status, answer.body) == (200, b"")
    assert "content-type" not in answer.headers


async def test_the_handler_sees_the_headers(world: Any) -> None:
    answer = await world.ingress.request(
        "POST", "/Echo/headers?a=b%20c", None, {"x-mine": "1", "idempotency-key": "k", "x-restate-ingress-path": "/no"}
    )
    assert answer.json()[0] == ["x-restate-ingress-path", "/Echo/headers?a=b%20c"]
    assert answer.json()[1:] == [["x-mine", "1"]]


@pytest.mark.parametrize(
    "path", ["/Echo/say/send", "/restate/send/Echo/say", "/Counter/k/add/send", "/restate/send/Counter/k/add"]
)
async def test_a_send_is_accepted(world: Any, path: str) -> None:
    answer = await world.ingress.request("POST", path, b"1" if "Counter" in path else b'"x"', JSON)
    assert answer.status == 202
    assert answer.json() == {"invocationId": answer.headers["x-restate-id"], "status": "Accepted"}
    attached = await world.ingress.get(f"/restate/attach/{answer.json()['invocationId']}")
    assert (attached.status, attached.headers["x-restate-id"]) == (200, answer.headers["x-restate-id"])


@pytest.mark.parametrize("delay", ["PT60S", "60s", "1%20hour", "60000", "Delay"])
async def test_a_delayed_send_says_when(world: Any, delay: str) -> None:
    query = "DeLaY=1m" if delay == "Delay" else f"delay={delay}"
    answer = await world.ingress.request("POST", f"/Echo/say/send?{query}", b'"x"', JSON)
    assert answer.status == 202
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}000000Z", answer.json()["executionTime"])
    output = await world.ingress.get(f"/restate/output/{answer.json()['invocationId']}")
    assert output.status == 470


async def test_an_idempotency_key_makes_calls_one(world: Any) -> None:
    first = await world.ingress.post("/Counter/k/add", 1, idempotency_key="once")
    second = await world.ingress.post("/Counter/k/add", 1, idempotency_key="once")
    third = await world.ingress.post("/Counter/k/add", 1, idempotency_key="twice")
    assert (first.json(), second.json(), third.json()) == (1, 1, 2)
    assert first.headers["x-restate-id"] == second.headers["x-restate-id"] != third.headers["x-restate-id"]
    expires = second.headers["idempotency-expires"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", expires)


async def test_a_second_send_with_the_key_was_accepted_before(world: Any) -> None:
    first = await world.ingress.post("/Echo/say/send", "a", idempotency_key="k")
    second = await world.ingress.post("/Echo/say/send", "a", idempotency_key="k")
    assert (first.json()["status"], second.json()["status"]) == ("Accepted", "PreviouslyAccepted")
    assert first.json()["invocationId"] == second.json()["invocationId"]


async def test_a_workflow_runs_once(world: Any) -> None:
    first = await world.ingress.post("/Signup/ann/run", "Ann")
    second = await world.ingress.post("/Signup/ann/run", "Ann")
    sent = await world.ingress.post("/Signup/ann/run/send", "Ann")
    assert first.status == 200
    assert (second.status, second.json()) == (
        409,
        {"code": 409, "message": "the workflow method was already invoked", "source": "invocation"},
    )
    assert (sent.status, sent.json()["status"]) == (202, "PreviouslyAccepted")


@pytest.mark.parametrize(
    ("code", "status"),
    [(418, 418), (404, 404), (500, 500), (599, 599), (700, 700), (999, 999), (204, 500), (101, 500), (5, 500)],
)
async def test_a_terminal_error_is_the_reply(world: Any, code: int, status: int) -> None:
    answer = await world.ingress.post("/Echo/fail", code)
    assert answer.status == status
    assert answer.json() == {
        "code": code,
        "message": "it cannot be done",
        "source": "invocation",
        "metadata": {"why": "because"},
    }
    assert answer.headers["x-restate-error-source"] == "invocation"
    assert answer.headers["content-type"] == "application/json"
    parse_invocation_id(answer.headers["x-restate-id"])


async def test_a_traceparent_is_kept(world: Any) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = await world.ingress.post("/Echo/say", "x", traceparent=parent, tracestate="a=1")
    row = world.engine.find(parse_invocation_id(answer.headers["x-restate-id"]))
    assert (row.traceparent, row.tracestate) == (parent, "a=1")


@pytest.mark.parametrize("path", ["/Echo/say", "/Nope/nope", "/restate/health"])
async def test_every_reply_has_the_cors_headers(world: Any, path: str) -> None:
    answer = await world.ingress.request("POST", path, b'"x"', {**JSON, "origin": "https://a.example"})
    assert answer.headers["access-control-allow-origin"] == "https://a.example"
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["vary"] == "origin, access-control-request-method, access-control-request-headers"


async def test_a_preflight_is_allowed(world: Any) -> None:
    answer = await world.ingress.request(
        "OPTIONS",
        "/Echo/say",
        None,
        {
            "origin": "https://a.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "x-a,x-b",
        },
    )
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["access-control-allow-origin"] == "https://a.example"
    assert answer.headers["access-control-allow-methods"] == "POST"
    assert answer.headers["access-control-allow-headers"] == "x-a,x-b"
    assert answer.headers["access-control-allow-credentials"] == "true"


async def test_health_names_the_services(world: Any) -> None:
    answer = await world.ingress.get("/restate/health")
    assert (answer.status, answer.json()) == (200, {"services": ["Counter", "Echo", "Hidden", "Signup"]})
