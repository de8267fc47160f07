"""Failures that are results, failures that are tried again, and what becomes of those that go on failing."""

from __future__ import annotations

import pytest

from .conftest import World

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("code", [400, 404, 409, 418, 500, 599])
def test_a_terminal_failure_is_the_answer(world: World, code: int) -> None:
    answer = world.call("/Util/fail", {"message": "it cannot be done", "code": code})
    assert answer.status_code == code
    body = answer.json()
    assert (body["code"], body["message"], body["source"]) == (code, "it cannot be done", "invocation")
    assert answer.headers["x-restate-error-source"] == "invocation"
    assert answer.headers["x-restate-id"].startswith("inv_1")


def test_a_terminal_failure_reaches_the_caller(world: World) -> None:
    how = {"service": "Util", "handler": "fail", "body": {"message": "no", "code": 418}}
    assert world.ok("/Proxy/call", how) == {"error": "no", "code": 418}


def test_a_failure_is_a_stored_result(world: World, key: str) -> None:
    answers = [world.call("/Util/fail", {"message": key, "code": 418}, idempotency_key=key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [418, 418]
    assert answers[0].headers["x-restate-id"] == answers[1].headers["x-restate-id"]


def test_a_step_that_fails_terminally(world: World) -> None:
    assert world.ok("/Util/failing_step", "oh") == "418 oh"


def test_a_step_is_tried_again(world: World, key: str) -> None:
    assert world.ok("/Util/flaky_step", {"name": key, "failures": 3}) == "ok at try 4"


def test_a_step_gives_up(world: World, key: str) -> None:
    answer = world.ok("/Util/flaky_step", {"name": key, "failures": 99, "max_attempts": 3})
    assert answer.startswith("gave up: ") and "try 3" in answer
    assert world.ok("/Util/tries_of", key) == 3


def test_a_handler_is_tried_again(world: World, key: str) -> None:
    assert world.ok("/Util/flaky", {"name": key, "failures": 2}) == 3


def test_steps_run_once(world: World, key: str) -> None:
    names = [f"{key}-{at}" for at in range(5)]
    assert world.ok("/Util/steps", names) == [f"{name} done" for name in names]
    assert [world.ok("/Util/tries_of", name) for name in names] == [1] * 5


def test_attempts_that_are_used_up_end_it(world: World, key: str) -> None:
    answer = world.call("/Quick/killed", key)
    assert answer.status_code == 500
    assert "try 3" in answer.json()["message"]
    assert world.ok("/Util/tries_of", key) == 3


def test_attempts_that_are_used_up_pause_it(world: World, key: str) -> None:
    invocation_id = world.send("/Quick/paused", key)
    world.until_status(invocation_id, "paused")
    assert world.ok("/Util/tries_of", key) == 2
    assert world.patch(f"/invocations/{invocation_id}/resume").status_code == 200
    assert world.attach(invocation_id).json() == "ok at try 3"


def test_what_is_drawn_stays_drawn(world: World, key: str) -> None:
    first, second = world.ok("/Util/drawn")
    assert first != second
    assert world.ok("/Util/drawn") != [first, second]


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/Nope/echo", 404, "service 'Nope' not found"),
        ("/Util/nope", 404, "the service 'Util' exists, but the handler 'nope' was not found"),
        ("/Util", 400, "bad path"),
        ("/Util/a/b/c/d/e/f/g", 400, "bad path"),
        ("/Counter/add", 400, "bad path"),
        ("/restate/nope", 404, "not found"),
        ("/openapi/x", 404, "not found"),
    ],
)
def test_paths_that_lead_nowhere(world: World, path: str, status: int, message: str) -> None:
    answer = world.call(path, 1)
    assert answer.status_code == status, answer.text
    assert answer.json()["message"].startswith(message)
    assert answer.json()["source"] == "ingress" == answer.headers["x-restate-error-source"]


@pytest.mark.parametrize("delay", ["5", "1M", "soon", "-1s"])
def test_delays_that_are_none(world: World, delay: str) -> None:
    if world.server == "perdure" and delay == "5":
        return  # taken as milliseconds, because the official Python client sends it so
    answer = world.call(f"/Util/echo/send?delay={delay}", 1)
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("bad delay query parameter")


def test_a_call_has_no_delay(world: World) -> None:
    answer = world.call("/Util/echo?delay=1s", 1)
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("cannot use the delay query parameter with calls")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_other_methods(world: World, method: str) -> None:
    answer = world.ingress.request(method, "/Util/echo")
    assert (answer.status_code, answer.json()["message"]) == (405, "method not allowed")


def test_input_of_the_wrong_type(world: World) -> None:
    answer = world.call("/Util/echo", b"x", content_type="text/plain")
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("input validation error: ")


@pytest.mark.parametrize("invocation_id", ["inv_bad", "x", "inv_1" + "0" * 33])
def test_ids_that_name_nothing(world: World, invocation_id: str) -> None:
    answer = world.ingress.get(f"/restate/invocation/{invocation_id}/output")
    assert answer.status_code == (404 if len(invocation_id) == 38 else 400), answer.text
