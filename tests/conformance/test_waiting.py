"""Sleeps, awakeables, combinations of them, suspension, and attaching to others."""

from __future__ import annotations

import time

import pytest

from .conftest import World

pytestmark = pytest.mark.slow


def test_sleeps_side_by_side(world: World) -> None:
    began = time.monotonic()
    assert world.ok("/Util/sleeps", [200] * 20) == 20
    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize("route", ["awakeables", "a"])
def test_an_awakeable_from_outside(world: World, key: str, route: str) -> None:
    waiting = world.send("/Util/awaits", key)
    answer = world.call(f"/restate/{route}/{world.held(key)}/resolve", {"x": 1})
    assert (answer.status_code, answer.content) == (202, b"")
    assert world.attach(waiting).json() == {"x": 1}


def test_an_awakeable_rejected_from_outside(world: World, key: str) -> None:
    waiting = world.send("/Util/awaits", key)
    answer = world.call(f"/restate/awakeables/{world.held(key)}/reject", b"no way", content_type="text/plain")
    assert answer.status_code == 202
    assert world.attach(waiting).json() == "rejected: no way"


@pytest.mark.parametrize(("how", "said"), [({"value": [1]}, [1]), ({"reject": "no"}, "rejected: no")])
def test_an_awakeable_from_a_handler(world: World, key: str, how: dict[str, object], said: object) -> None:
    waiting = world.send("/Util/awaits", key)
    world.ok("/Util/resolves", {"id": world.held(key), **how})
    assert world.attach(waiting).json() == said


@pytest.mark.parametrize(
    ("reason", "said"),
    [(b"", "rejected: "), (b'"quoted"', 'rejected: "quoted"'), (b"\xff", "rejected: \ufffd")],
)
def test_reasons_of_a_rejection(world: World, key: str, reason: bytes, said: str) -> None:
    invocation_id = world.send("/Util/awaits", key)
    assert world.call(f"/restate/awakeables/{world.held(key)}/reject", reason).status_code == 202
    assert world.attach(invocation_id).json() == said


def test_an_awakeable_that_nobody_waits_for_any_more(world: World, key: str) -> None:
    waiting = world.send("/Util/awaits", key)
    name = world.held(key)
    for value in ("first", "second"):
        assert world.call(f"/restate/awakeables/{name}/resolve", value).status_code == 202
    assert world.attach(waiting).json() == "first"
    assert world.call(f"/restate/awakeables/{name}/resolve", "third").status_code == 202
    assert world.call("/restate/awakeables/prom_x/resolve", "third").status_code == 400


def test_the_first_of_two(world: World, key: str) -> None:
    assert world.ok("/Util/first_of", {"key": key, "ms": 50}) == "slept"
    waiting = world.send("/Util/first_of", {"key": f"{key}2", "ms": 3_600_000})
    assert world.call(f"/restate/awakeables/{world.held(f'{key}2')}/resolve", "v").status_code == 202
    assert world.attach(waiting).json() == "value v"


def test_all_of_several(world: World) -> None:
    names = ["c", "b", "a"]
    assert world.ok("/Util/all_of", names) == names


def test_what_idles_is_suspended(world: World, key: str) -> None:
    waiting = world.send("/Quick/idles", key)
    name = world.held(key)
    world.until_status(waiting, "suspended")
    assert world.call(f"/restate/awakeables/{name}/resolve", "woken").status_code == 202
    assert world.attach(waiting).json() == "woken"


def test_what_suspends_at_every_wait(world: World) -> None:
    assert world.ok("/Quick/always_suspends", [1, 2, 3]) == ["slept 1", "slept 2", "slept 3"]


def test_attaching_from_a_handler(world: World, key: str) -> None:
    waiting = world.send("/Util/awaits", key)
    attached = world.send("/Util/attaches", waiting)
    assert world.call(f"/restate/awakeables/{world.held(key)}/resolve", 7).status_code == 202
    assert world.attach(attached).json() == 7
    assert world.ok("/Util/attaches", waiting) == 7
    unknown = "inv_1" + "0" * 33
    assert world.ok("/Util/attaches", unknown) == "404 not found"


def test_output_before_and_after(world: World, key: str) -> None:
    waiting = world.send("/Util/awaits", key)
    answer = world.ingress.get(f"/restate/invocation/{waiting}/output")
    assert (answer.status_code, answer.json()["code"]) == (470, 470)
    assert world.call(f"/restate/awakeables/{world.held(key)}/resolve", 7).status_code == 202
    assert world.attach(waiting).json() == 7
    assert world.ingress.get(f"/restate/invocation/{waiting}/output").json() == 7


def test_a_call_joins_the_one_under_way(world: World, key: str) -> None:
    waiting = world.send("/Util/awaits", key, idempotency_key=key)
    name = world.held(key)
    answer = world.waited_for(
        lambda: world.call(f"/restate/awakeables/{name}/resolve", 7).raise_for_status(),
        "POST",
        "/Util/awaits",
        json=key,
        headers={"idempotency-key": key},
    )
    assert (answer.json(), answer.headers["x-restate-id"]) == (7, waiting)
