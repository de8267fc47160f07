"""Every error of the ingress: its status and words, that nothing was stored, and that the server goes on."""

from __future__ import annotations

from typing import Any

import pytest

from perdure.model.ids import format_awakeable_id

JSON = {"content-type": "application/json"}
BAD_PATH = "bad path, expected either /:service-name/:handler or /:object-name/:object-key/:handler"
UNKNOWN = "inv_1kWHPJ8EdIa67slYDwAjggtZU5n9JnhLWN"
AWAKEABLE = format_awakeable_id(bytes(24), 17)
CANCEL_ID = format_awakeable_id(bytes(24), 1)

PATHS: list[tuple[str, str, int, str]] = [
    # method, path, status, beginning of the message
    ("POST", "/", 400, "bad path: /"),
    ("POST", "/Echo", 400, "bad path: /Echo"),
    ("POST", "/Echo/", 400, "bad path: /Echo"),
    ("POST", "/Echo//", 400, "bad path: /Echo"),
    ("POST", "/restate", 400, "bad path: /restate"),
    ("POST", "/openapi", 400, "bad path: /openapi"),
    ("GET", "/openapi/x", 404, "not found"),
    ("POST", "/a/b/c/d/e/f/g/h", 400, "bad path: /a/b/c/d/e/f/g/h"),
    ("POST", "/Nope/say", 404, "service 'Nope' not found, make sure to register the service before calling it."),
    ("POST", "/Nope/key/say/send", 404, "service 'Nope' not found"),
    ("POST", "//say", 400, "bad path: /say"),
    ("POST", "//Nope/say//", 404, "service 'Nope' not found"),
    ("POST", "/Counter//", 400, "bad path: /Counter"),
    (
        "POST",
        "/Echo/nope",
        404,
        "the service 'Echo' exists, but the handler 'nope' was not found, "
        "check that the handler exists in the latest registered service version.",
    ),
    ("POST", "/Echo/nope/send", 404, "the service 'Echo' exists, but the handler 'nope' was not found, "),
    ("POST", "/Counter/k/nope", 404, "the service 'Counter' exists, but the handler 'nope' was not found, "),
    ("POST", "/Counter/add", 400, BAD_PATH),
    ("POST", "/Counter/nope", 400, BAD_PATH),
    ("POST", "/Echo/key/say", 400, BAD_PATH),
    ("POST", "/Echo/say/sent", 400, BAD_PATH),
    ("POST", "/Counter/k/add/sent", 400, BAD_PATH),
    ("POST", "/Counter/k/add/send/x", 400, BAD_PATH),
    ("POST", "/Counter/%ff/add", 400, "bad path, cannot decode key"),
    ("POST", f"/Counter/{'k' * 65536}/add", 414, "the path and query are longer than 65535 bytes"),
    ("POST", "/Hidden/say_it", 400, "the invoked service is not public"),
    ("POST", "/Echo/secret", 400, "the invoked service is not public"),
    ("PUT", "/Echo/say", 405, "method not allowed"),
    ("DELETE", "/Echo/say", 405, "method not allowed"),
    ("PATCH", "/Counter/k/add", 405, "method not allowed"),
    (
        "POST",
        "/Echo/say?delay=1s",
        400,
        "cannot use the delay query parameter with calls. The delay is supported only with sends",
    ),
    ("POST", "/Echo/say?delay=x", 400, "bad delay query parameter, must be a ISO8601 duration: "),
    ("POST", "/Echo/say/send?delay=1y", 400, "bad delay query parameter, must be a ISO8601 duration: please use units"),
    (
        "POST",
        "/Echo/say?limit-key=a/b/c",
        400,
        "invalid limit-key: too many path components in the given limit-key (max 2)",
    ),
    ("POST", "/restate/call/Echo/say?delay=1s", 400, "cannot use the delay query parameter with calls. "),
    ("POST", "/Echo/say/send?delay=1M", 400, "bad delay query parameter, must be a ISO8601 duration: "),
    ("POST", "/Echo/say/send?delay=", 400, "bad delay query parameter, must be a ISO8601 duration: "),
    ("POST", "/Echo/say/send?delay=-5s", 400, "bad delay query parameter, must be a ISO8601 duration: "),
    ("POST", "/Echo/say?limit-key=a", 400, "limit-key requires a scope to be set"),
    ("POST", "/restate/scope/s/call/Echo/say", 400, "scoped invocations require vqueues to be enabled"),
    ("POST", "/restate/scope/s/send/Counter/k/add", 400, "scoped invocations require vqueues to be enabled"),
    ("POST", "/restate/scope/s/call/Nope/say", 404, "service 'Nope' not found"),
    (
        "POST",
        "/restate/scope/a%20b/call/Echo/say",
        400,
        "bad scope value: value contains characters outside the allowed",
    ),
    ("POST", f"/restate/scope/{'a' * 37}/call/Echo/say", 400, "bad scope value: value too long: 37 bytes (max 36)"),
    ("POST", "/restate/scope//call/Echo/say", 400, "bad scope value: value cannot be empty"),
    ("GET", "/restate/workflow/Flow/k/x/output", 404, "not found"),
    ("POST", "/restate/health/x", 405, "method not allowed"),
    ("POST", "/restate/scope/s", 400, "bad path, expected /restate/call/:service/:handler, "),
    ("POST", "/restate/scope/s/nope/Echo/say", 400, "bad path, expected /restate/call/:service/:handler, "),
    ("POST", "/restate/call/Echo", 400, "bad path, expected /restate/call/"),
    ("POST", "/restate/call/Echo/k/say", 400, "bad path, expected /restate/call/"),
    ("POST", "/restate/call/Echo/say/send", 400, "bad path, expected /restate/call/"),
    ("POST", "/restate/call/Counter/add", 400, "bad path, expected /restate/call/"),
    ("POST", "/restate/call/Nope/say", 404, "service 'Nope' not found"),
    ("POST", "/restate/nope", 404, "not found"),
    ("POST", "/restate/health", 405, "method not allowed"),
    ("POST", "/restate/awakeables/sign_1abc/resolve", 400, "bad awakeable id 'sign_1abc': bad length"),
    ("POST", "/restate/awakeables/nonsense/reject", 400, "bad awakeable id 'nonsense': bad format"),
    ("POST", f"/restate/awakeables/{CANCEL_ID}/resolve", 400, f"bad awakeable id '{CANCEL_ID}': "),
    ("GET", f"/restate/awakeables/{AWAKEABLE}/resolve", 405, "method not allowed"),
    ("POST", f"/restate/awakeables/{AWAKEABLE}/nope", 404, "not found"),
    ("POST", f"/restate/awakeables/{AWAKEABLE}", 400, "bad path, expected either /restate/awakeables/:id/resolve"),
    ("GET", "/restate/attach/inv_bad", 400, "bad invocation id 'inv_bad': unrecognized codec version"),
    ("GET", "/restate/output/inv_1x", 400, "bad invocation id 'inv_1x': bad length"),
    ("GET", "/restate/invocation/nope/attach", 400, "bad invocation id 'nope': "),
    ("GET", f"/restate/output/{UNKNOWN}", 404, "invocation not found"),
    ("GET", f"/restate/invocation/{UNKNOWN}/output", 404, "invocation not found"),
    ("GET", f"/restate/attach/{UNKNOWN}/x", 400, "bad path"),
    ("POST", f"/restate/attach/{UNKNOWN}", 405, "method not allowed"),
    ("GET", f"/restate/invocation/{UNKNOWN}/nope", 404, "not found"),
    ("GET", "/restate/invocation/x", 400, "bad path, expected either /restate/invocation/:invocation_id/output"),
    ("GET", "/restate/invocation/Nope/say/k/output", 404, "service 'Nope' not found"),
    ("GET", "/restate/invocation/Echo/say/k/output", 404, "invocation not found"),
    ("GET", "/restate/invocation/Echo/nope/k/output", 404, "invocation not found"),
    ("POST", "/restate/invocation/Echo/nope/k/output", 405, "method not allowed"),
    ("GET", "/restate/invocation/x/y", 404, "not found"),
    ("GET", "/restate/invocation/Echo/x/say/k/attach", 404, "not found"),
    ("GET", "/restate/invocation/Counter/add/k/output", 400, "bad path, expected either /restate/invocation/"),
    ("GET", "/restate/workflow/Signup/x/output", 404, "invocation not found"),
    ("GET", "/restate/workflow/Signup/x/nope", 404, "not found"),
    ("GET", "/restate/workflow/Signup/output", 400, "bad path, expected either /restate/workflow/"),
    ("GET", "/restate/workflow/Signup/%ff/output", 400, "bad path, cannot decode key"),
    ("GET", "/restate/workflow/Echo/x/output", 404, "invocation not found"),
    ("GET", "/restate/workflow/Nope/x/output", 404, "invocation not found"),
    ("GET", "/restate/lookup", 405, "method not allowed"),
    ("GET", "/restate/attach", 405, "method not allowed"),
    ("POST", "/restate/lookup/x", 400, "bad path"),
]


@pytest.mark.parametrize(("method", "path", "status", "message"), PATHS, ids=[f"{m} {p[:60]}" for m, p, _, _ in PATHS])
async def test_paths(world: Any, method: str, path: str, status: int, message: str) -> None:
    await refused(world, status, message, method, path, b'"x"' if method == "POST" else None, JSON)


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "message"),
    [
        ("/Echo/say", b'"x"', {}, 400, "input validation error: Empty content-type"),
        ("/Echo/say", b'"x"', {"content-type": "text/plain"}, 400, "input validation error: Content-type 'text/plain' does"),
        ("/Echo/say", b"{not json", JSON, 400, "input validation error: "),
        ("/Echo/say", b"\xff", JSON, 400, "input validation error: "),
        ("/Echo/say", b"5", JSON, 400, "input validation error: "),
        ("/Counter/k/add/send", b'"five"', JSON, 400, "input validation error: "),
        ("/Echo/nothing", b"x", {"content-type": "a/b"}, 400, "input validation error: "),
        ("/Echo/say", b'"x"', {**JSON, "x-name": "J\u00fcrgen"}, 400, "bad header x-name: "),
        ("/Echo/say", b'"x"', {**JSON, "x-restate-limit-key": "a"}, 400, "limit-key requires a scope to be set"),
        ("/Signup/ann/run", b'"x"', {**JSON, "idempotency-key": "k"}, 400, "cannot use the idempotency key with workflow"),
        ("/Echo/say", b'"' + b"x" * 100_000 + b'"', JSON, 413, "the request body is larger than the limit of 100000"),
        ("/restate/lookup", b"{", JSON, 500, "cannot read body: invalid lookup body"),
        ("/restate/lookup", b"[]", JSON, 500, "cannot read body: invalid lookup body"),
        ("/restate/attach", b'{"target":"nope"}', JSON, 500, "cannot read body: invalid request body"),
        ("/restate/output", b'{"target":"workflow"}', JSON, 500, "cannot read body: invalid request body"),
        ("/restate/lookup", b'{"target":"invocation","invocationId":"x"}', JSON, 400, "bad invocation id 'x'"),
        (
            "/restate/lookup",
            b'{"target":"workflow","workflowName":"Signup","workflowKey":"a","scope":"s"}',
            JSON,
            400,
            "scoped invocations require vqueues to be enabled",
        ),
        (f"/restate/a/{AWAKEABLE}/resolve", b"x" * 100_001, {}, 413, "the request body is larger than the limit of 100000"),
    ],
)  # fmt: skip
async def test_bodies_and_headers(
    world: Any, path: str, body: bytes, headers: dict[str, str], status: int, message: str
) -> None:
    await refused(world, status, message, "POST", path, body, headers)


async def test_a_body_that_does_not_fit_names_the_field(world: Any) -> None:
    answer = await world.ingress.post("/Counter/k/add", "five")
    assert "int" in answer.json()["message"]


async def test_attach_to_what_nobody_knows_is_the_invocations_error(world: Any) -> None:
    for path in (
        f"/restate/attach/{UNKNOWN}",
        "/restate/workflow/Signup/x/attach",
        "/restate/invocation/Echo/say/k/attach",
    ):
        answer = await world.ingress.get(path)
        assert answer.json() == {"code": 404, "message": "not found", "source": "invocation"}
        assert (answer.status, answer.headers["x-restate-error-source"]) == (404, "invocation")


async def refused(
    world: Any, status: int, message: str, method: str, path: str, body: bytes | None, headers: dict[str, str]
) -> None:
    before = world.stored()
    answer = await world.ingress.request(method, path, body, headers)
    told = answer.json()
    assert (answer.status, told["code"], told["source"]) == (status, status, "ingress"), told
    assert told["message"].startswith(message), told["message"]
    assert set(told) == {"code", "message", "source"}
    assert answer.headers["x-restate-error-source"] == "ingress"
    assert answer.headers["content-type"] == "application/json"
    assert "x-restate-id" not in answer.headers
    assert world.stored() == before, "nothing is stored of a request that is refused"
    good = await world.ingress.post("/Echo/say", "on")
    assert (good.status, good.json()) == (200, "on")
