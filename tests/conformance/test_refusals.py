"""What is refused from outside, to the word: requests that an unknown name, a wrong shape or a wrong status makes wrong."""

from __future__ import annotations

import pytest

from .conftest import World

pytestmark = pytest.mark.slow

SHAPE = "bad path, expected either /:service-name/:handler or /:object-name/:object-key/:handler"
NO_HANDLER = "check that the handler exists in the latest registered service version."
EMPTY = "input validation error: Expected body and content-type to be empty, but wasn't with content-type"
DELAY = "bad delay query parameter, must be a ISO8601 duration:"
INGRESS = [
    ("/Util/nope", {}, 404, f"the service 'Util' exists, but the handler 'nope' was not found, {NO_HANDLER}"),
    ("/Util/k/echo", {}, 400, SHAPE),
    ("/Counter/get", {}, 400, SHAPE),
    ("/Util/nothing", {"content-type": "text/plain"}, 400, f"{EMPTY} 'Some(\"text/plain\")'"),
    (
        "/Util/echo",
        {"content-type": "APPLICATION/JSON"},
        400,
        "input validation error: Content-type 'APPLICATION/JSON' does not match 'application/json'",
    ),
    ("/restate/scope/s/call/Util/echo", {}, 400, "scoped invocations require vqueues to be enabled"),
    ("/restate/scope//call/Util/echo", {}, 400, "bad scope value: value cannot be empty"),
    (
        "/Util/echo?limit-key=a/b/c",
        {},
        400,
        "invalid limit-key: too many path components in the given limit-key (max 2)",
    ),
    ("/Util/echo/send?delay=1y", {}, 400, f"{DELAY} please use units of days or smaller"),
    (
        "/Util/echo/send?delay=-1s",
        {},
        400,
        f"{DELAY} negative signed durations cannot be converted to an unsigned duration",
    ),
    ("/restate/a/inv_1x/resolve", {}, 400, "bad awakeable id 'inv_1x': id doesn't match the expected type"),
    ("/restate/health/x", {}, 405, "method not allowed"),
    ("/restate/workflow/Flow/k/x/output", {}, 404, "not found"),
]


def test_the_ingress(world: World) -> None:
    for path, headers, status, message in INGRESS:
        if path == "/Util/nothing" and world.language == "typescript":
            continue  # its SDK says nothing of inputs, so JSON is expected
        answer = world.ingress.post(path, headers=headers)
        assert (answer.status_code, answer.json()["message"]) == (status, message), path


def test_what_has_not_the_status(world: World, key: str) -> None:
    done = world.call("/Util/echo", 1).headers["x-restate-id"]
    later = world.send("/Util/echo/send?delay=1h", 1)
    for invocation_id, verb, status, message in (
        (done, "cancel", 409, f"The invocation '{done}' was already completed."),
        (done, "resume", 409, f"The invocation '{done}' is completed, cannot be resumed."),
        (done, "pause", 409, f"The invocation '{done}' is not running, cannot be paused."),
        (later, "pause", 409, f"The invocation '{later}' is not running, cannot be paused."),
        (later, "resume", 425, f"The invocation '{later}' is either inboxed or scheduled, cannot be resumed."),
        (later, "purge", 409, f"The invocation '{later}' is not yet completed."),
        (later, "restart-as-new", 425, f"The invocation '{later}' cannot be restarted because it's not running yet."),
    ):
        answer = world.patch(f"/invocations/{invocation_id}/{verb}")
        assert (answer.status_code, answer.json()["message"]) == (status, message), verb
    many = world.admin.post("/internal/invocations_batch_operations/kill", json={"invocation_ids": [done]})
    assert many.json()["failed"] == [{"invocation_id": done, "error": f"Invocation '{done}' was already completed"}]
    assert world.patch(f"/invocations/{later}/kill").status_code == 200


def test_sql(world: World) -> None:
    for query, status, message in (
        ("selec", 400, "Datafusion error: SQL error: ParserError("),
        ("select * from nope", 500, "Datafusion error: Error during planning: table 'restate.public.nope' not found"),
        ("select name, count(*) from sys_service", 500, "Datafusion error: Error during planning: Column in SELECT"),
        ("select name from sys_service limit -1", 500, "Datafusion error: Optimizer rule 'eliminate_limit' failed"),
    ):
        answer = world.admin.post("/query", json={"query": query}, headers={"accept": "application/json"})
        assert (answer.status_code, list(answer.json())) == (status, ["message"]), query
        assert answer.json()["message"].startswith(message), answer.text
