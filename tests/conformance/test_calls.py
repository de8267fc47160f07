"""Calls and sends: from the ingress, from one handler to another, in order, delayed, and once per idempotency key."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from .conftest import World

pytestmark = pytest.mark.slow

VALUES: list[Any] = [
    "",
    "text",
    "ünïcödé ✓",
    0,
    -1,
    1.5,
    True,
    None,
    [],
    [1, [2]],
    {},
    {"a": {"b": [1, None]}},
    "x" * 100_000,
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: json.dumps(value)[:20])
def test_values_come_back(world: World, value: Any) -> None:
    sent = json.dumps(value).encode()
    assert world.ok("/Util/echo", sent, content_type="application/json") == value
    assert world.ok("/Proxy/call", {"service": "Util", "handler": "echo", "body": value}) == value


@pytest.mark.parametrize("data", [b"\x00\xff", b"x" * 1_000_000, b"{"])
def test_bytes_come_back(world: World, data: bytes) -> None:
    answer = world.call("/Util/raw", data, content_type="application/octet-stream")
    assert (answer.status_code, answer.content) == (200, data)


def test_a_void_handler(world: World) -> None:
    answer = world.call("/Util/nothing")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["x-restate-id"].startswith("inv_1")


def test_headers_reach_the_handler(world: World) -> None:
    seen = world.ok("/Util/headers", x_customer="ann", idempotency_key=f"h-{world.name}")
    assert seen["x-customer"] == "ann"
    assert seen["x-restate-ingress-path"] == "/Util/headers"
    assert "idempotency-key" not in seen and "host" not in seen
    assert world.ok("/Proxy/call", {"service": "Util", "handler": "headers"}).get("x-customer") is None


@pytest.mark.parametrize("path", ["/restate/call/Util/echo", "/Util/echo/"])
def test_other_paths_of_a_call(world: World, path: str) -> None:
    assert world.ok(path, "a") == "a"


def test_a_key_in_the_path_is_decoded(world: World, key: str) -> None:
    assert world.ok(f"/Counter/{key}%20%2F%C3%BC/add", 3) == {"old": 0, "new": 3}
    how = {"service": "Counter", "handler": "get", "key": f"{key} /ü"}
    assert world.ok("/Proxy/call", how) == 3


def test_no_key_is_the_empty_key(world: World) -> None:
    """The protocol has one way to write both."""
    how = {"service": "Counter", "handler": "add", "body": 1}
    first = world.ok("/Proxy/call", how)["new"]
    assert world.ok("/Proxy/call", {**how, "key": ""})["new"] == first + 1


def test_calls_to_one_key_are_in_order(world: World, key: str) -> None:
    """Sends and calls of one handler to one object run in the order in which they were issued."""
    target = {"service": "Counter", "key": key, "handler": "add"}
    hows = [{**target, "body": 10**at, "send": at % 2 == 0} for at in range(8)]
    answers = world.ok("/Proxy/many", hows)
    assert [answer["old"] for answer in answers] == [1, 111, 11111, 1111111]


def test_no_call_is_lost_or_doubled(world: World, key: str) -> None:
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: world.ok(f"/Counter/{key}/add", 1), range(100)))
    assert sorted(answer["old"] for answer in answers) == list(range(100))


def test_a_send_runs(world: World, key: str) -> None:
    answer = world.call(f"/Holder/{key}/hold/send", "sent")
    assert answer.status_code == 202
    body = answer.json()
    assert set(body) == {"invocationId", "status"} and body["status"] == "Accepted"
    assert answer.headers["x-restate-id"] == body["invocationId"]
    assert world.held(key) == "sent"


@pytest.mark.parametrize("delay", ["PT0.1S", "100ms", "0.1s", "1 sec"])
def test_a_delayed_send(world: World, key: str, delay: str) -> None:
    answer = world.call(f"/Holder/{key}/hold/send?delay={delay}", "later")
    assert answer.status_code == 202
    assert answer.json()["executionTime"].endswith("000000Z")
    assert world.held(key) == "later"


def test_a_delayed_send_is_scheduled(world: World, key: str) -> None:
    invocation_id = world.send(f"/Holder/{key}/hold/send?delay=1h", "later")
    world.until_status(invocation_id, "scheduled")
    answer = world.attached(
        invocation_id, lambda: world.patch(f"/invocations/{invocation_id}/cancel").raise_for_status()
    )
    assert (answer.status_code, answer.json()["message"]) == (409, "canceled")


def test_a_send_of_a_handler(world: World, key: str) -> None:
    how = {"service": "Holder", "handler": "hold", "key": key, "body": 7, "delay_ms": 20}
    assert world.ok("/Proxy/send", how).startswith("inv_1")
    assert world.held(key) == 7


def test_one_invocation_per_idempotency_key(world: World, key: str) -> None:
    first = world.call(f"/Counter/{key}/add", 1, idempotency_key=key)
    again = world.call(f"/Counter/{key}/add", 1, idempotency_key=key)
    assert first.json() == again.json() == {"old": 0, "new": 1}
    assert first.headers["x-restate-id"] == again.headers["x-restate-id"]
    assert "idempotency-expires" not in first.headers and "idempotency-expires" in again.headers
    other = world.call(f"/Counter/{key}/add", 1, idempotency_key=f"{key}-other")
    assert other.json() == {"old": 1, "new": 2}


def test_a_second_send_with_the_key(world: World, key: str) -> None:
    answers = [world.call(f"/Counter/{key}/add/send", 1, idempotency_key=key).json() for _ in range(2)]
    assert answers[0]["invocationId"] == answers[1]["invocationId"]
    assert [answer["status"] for answer in answers] == ["Accepted", "PreviouslyAccepted"]
    world.until(lambda: world.ok(f"/Counter/{key}/get") == 1)


def test_calls_of_handlers_with_a_key_join(world: World, key: str) -> None:
    how = {"service": "Counter", "handler": "add", "key": key, "body": 1, "idempotency_key": key}
    assert [world.ok("/Proxy/call", how) for _ in range(2)] == [{"old": 0, "new": 1}] * 2
    assert world.ok("/Proxy/send", how).startswith("inv_1")
    assert world.ok(f"/Counter/{key}/get") == 1


def test_results_by_id_and_by_key(world: World, key: str) -> None:
    invocation_id = world.call(f"/Counter/{key}/add", 5, idempotency_key=key).headers["x-restate-id"]
    paths = [f"{invocation_id}", f"Counter/{key}/add/{key}"]
    for path in paths:
        for verb in ("attach", "output"):
            answer = world.ingress.get(f"/restate/invocation/{path}/{verb}")
            assert (answer.status_code, answer.json()) == (200, {"old": 0, "new": 5}), path
    assert world.ingress.get(f"/restate/attach/{invocation_id}").json() == {"old": 0, "new": 5}


def test_a_private_service_is_called_by_handlers_only(world: World) -> None:
    answer = world.call("/Secret/told")
    assert (answer.status_code, answer.json()["message"]) == (400, "the invoked service is not public")
    assert world.ok("/Util/tells") == "a secret"


@pytest.mark.parametrize("size", [100_000, 5_000_000])
def test_large_payloads(world: World, size: int) -> None:
    assert len(world.ok("/Util/big", size)) == size
    assert len(world.ok("/Util/echo", "x" * size)) == size


def test_a_request_without_a_key_counts_as_idempotent(world: World) -> None:
    """Its result is kept as long as one with a key, its journal no longer than that; of what a handler sends, not so."""
    world.admin.patch("/services/Right", json={"journal_retention": "2h", "idempotency_retention": "10m"})
    columns = "idempotency_key, completion_retention, journal_retention"
    plain = world.call("/Right/a/turn", 0).headers["x-restate-id"]
    sent = world.ok("/Proxy/send", {"service": "Right", "handler": "turn", "key": "a", "body": 0})
    again = world.patch(f"/invocations/{plain}/restart-as-new").json()["new_invocation_id"]
    for each in (plain, sent, again):
        world.until_status(each, "completed")
    rows = {
        each: world.sql(f"select {columns} from sys_invocation where id = '{each}'")[0] for each in (plain, sent, again)
    }
    assert len(rows[plain].pop("idempotency_key")) == 26
    kept = {"completion_retention": "PT600S", "journal_retention": "PT600S"}
    assert rows == {plain: kept, again: kept, sent: {"completion_retention": "PT7200S", "journal_retention": "PT7200S"}}


def test_a_result_is_there_without_its_journal(world: World) -> None:
    world.admin.patch("/services/Left", json={"journal_retention": "0"})
    sent = world.send("/Left/a/turn", 0)
    assert world.attach(sent).json() == ["left a"]
    world.until_status(sent, "completed")
    query = f"select status, journal_retention, journal_size from sys_invocation where id = '{sent}'"
    assert world.sql(query) == [{"status": "completed", "journal_retention": "P0D", "journal_size": 0}]
    assert world.ingress.get(f"/restate/invocation/{sent}/output").json() == ["left a"]
