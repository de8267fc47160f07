"""The admin API's own routes, and the control that changes more than a status: lists, timelines, signals, state, restart."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .test_admin import UNKNOWN, finished, patch, scheduled, waiting

EMPTY = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"
BOB = "tDqA04Lj3_qJ-PgNPTecXDGZgpwy6jm2Ni2BYqJIthM"


async def post_state(world: Any, service: str, body: object, content_type: str = "application/json") -> Any:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await world.admin.request("POST", f"/v4/services/{service}/state", sent, {"content-type": content_type})


async def state(world: Any, place: str) -> Any:
    return (await world.admin.get(f"/perdure/state/{place}")).json()


async def test_a_list_is_filtered_and_paged(world: Any) -> None:
    for number in range(5):
        await world.ingress.post(f"/Counter/k{number}/add", number)
    later = await scheduled(world)
    newest = (await world.admin.get("/perdure/invocations?limit=2")).json()
    assert [each["target"] for each in newest["invocations"]] == ["Echo/say", "Counter/k4/add"]
    assert (newest["invocations"][0]["id"], newest["invocations"][0]["status"]) == (later, "scheduled")
    following = (await world.admin.get(f"/perdure/invocations?limit=1000&after={newest['after']}")).json()
    assert [each["key"] for each in following["invocations"]] == ["k3", "k2", "k1", "k0"]
    assert following["after"] is None
    one = (await world.admin.get("/perdure/invocations?service=Counter&handler=add&key=k2&status=completed")).json()
    assert [each["target"] for each in one["invocations"]] == ["Counter/k2/add"]
    for query, count in {
        "service=Echo": 1,
        "service=Counter": 5,
        "handler=say": 1,
        "handler=add": 5,
        "key=k2": 1,
    }.items():
        found = (await world.admin.get(f"/perdure/invocations?{query}")).json()
        assert len(found["invocations"]) == count, query
    both = (await world.admin.get("/perdure/invocations?status=scheduled,failed&status=paused")).json()
    assert [each["id"] for each in both["invocations"]] == [later]


@pytest.mark.parametrize("query", ["status=asleep", "limit=0", "limit=1001", "limit=x", "limit=-1", "after=x"])
async def test_a_list_that_makes_no_sense(world: Any, query: str) -> None:
    answer = await world.admin.get(f"/perdure/invocations?{query}")
    assert (answer.status, list(answer.json())) == (400, ["message", "restate_code"])


async def test_a_failed_invocation_is_listed_with_its_failure(world: Any) -> None:
    await world.ingress.post("/Echo/fail", 418)
    (failed,) = (await world.admin.get("/perdure/invocations?status=failed")).json()["invocations"]
    assert failed["failure"] == {"code": 418, "message": "it cannot be done"}


async def test_what_waits_says_for_what(world: Any) -> None:
    running = await waiting(world)
    shown = (await world.admin.get(f"/perdure/invocations/{running}")).json()
    (wait,) = shown["waits_for"]
    assert (shown["status"], wait["kind"], wait["name"]) == ("running", "awakeable", await world.told.first())
    assert [moment["what"] for moment in shown["timeline"]] == ["input"]
    assert (await world.admin.get(f"/perdure/invocations/{UNKNOWN}")).status == 404


async def test_restart_as_new(world: Any) -> None:
    done, running, later = await finished(world), await waiting(world), await scheduled(world)
    answer = await patch(world, done, "restart-as-new?from=0")
    assert answer.status == 200
    new = answer.json()["new_invocation_id"]
    attached = await world.ingress.get(f"/restate/attach/{new}")
    assert (attached.status, attached.json()) == (200, "x")
    shown = (await world.admin.get(f"/perdure/invocations/{new}")).json()
    assert shown["origin"] == {"kind": "restart_as_new", "invocation_id": done, "target": "Echo/say"}
    assert (await patch(world, running, "restart-as-new")).status == 409
    assert (await patch(world, later, "restart-as-new")).status == 425
    assert (await patch(world, done, "restart-as-new?from=2")).status == 400
    assert (await patch(world, done, "restart-as-new?from=x")).status == 400
    assert (await patch(world, done, "restart-as-new?deployment=nope")).status == 400
    workflow = await world.ingress.post("/Signup/ann/run", "Ann")
    assert (await patch(world, workflow.headers["x-restate-id"], "restart-as-new")).status == 422
    assert (await patch(world, done, "purge-journal")).status == 200
    assert (await patch(world, done, "restart-as-new")).status == 410
    assert (await world.ingress.get(f"/restate/output/{done}")).json() == "x"
    assert (await patch(world, running, "purge-journal")).status == 409
    assert (await patch(world, UNKNOWN, "restart-as-new")).status == 404


async def test_the_older_form_of_ending_an_invocation(world: Any) -> None:
    running = await waiting(world)

    async def delete(query: str) -> int:
        answer = await world.admin.request("DELETE", f"/invocations/{running}{query}")
        status: int = answer.status
        return status

    assert [await delete("?mode=purge"), await delete("?mode=Kill"), await delete("")] == [202, 202, 202]
    assert await delete("?mode=shoot") == 400
    assert (await world.ingress.get(f"/restate/attach/{running}")).json()["message"] == "killed"


async def test_named_signals(world: Any) -> None:
    async def signal(invocation_id: str, rest: str, body: bytes = b"") -> int:
        answer = await world.admin.request("POST", f"/perdure/invocations/{invocation_id}/signals/{rest}", body)
        status: int = answer.status
        return status

    for answer, body, path, expected in (
        (b'"hi"', b'"hi"', "word", (200, "hi")),
        (None, b"not today", "word/reject", (500, "not today")),
    ):
        sent = await world.ingress.request("POST", "/Echo/listen/send")
        invocation_id = sent.json()["invocationId"]
        assert await signal(invocation_id, path, body) == 202
        attached = await world.ingress.get(f"/restate/attach/{invocation_id}")
        said = attached.json() if answer is not None else attached.json()["message"]
        assert (attached.status, said) == expected
        assert await signal(invocation_id, "word", b"1") == 409
    assert await signal(await scheduled(world), "word") == 425
    assert await signal(UNKNOWN, "word") == 404
    assert await signal("x", "word") == 400
    assert await signal(UNKNOWN, "word", b"x" * 100_001) == 413
    assert await signal(UNKNOWN, "word/reject", b"\xff") == 400


async def test_state_is_read_and_replaced_under_its_version(world: Any) -> None:
    assert await state(world, "Counter/a%2Fb") == {
        "service": "Counter",
        "key": "a/b",
        "version": EMPTY,
        "held_by": None,
        "state": {},
    }
    bob = {"object_key": "k", "new_state": {"name": list(b"bob")}}
    answer = await post_state(world, "Counter", bob)
    assert (answer.status, answer.body) == (202, b"")
    assert (await state(world, "Counter/k"))["version"] == BOB
    other = {"object_key": "k", "new_state": {"total": "5", "raw": [0, 255]}}  # text counts as its bytes
    assert (await post_state(world, "Counter", {**other, "version": EMPTY})).status == 202
    assert (await state(world, "Counter/k"))["state"] == {"name": "bob"}, "made for another state"
    assert (await post_state(world, "Counter", {**other, "version": BOB})).status == 202
    assert (await state(world, "Counter/k"))["state"] == {"raw": {"base64": "AP8="}, "total": "5"}
    assert (await world.ingress.post("/Counter/k/add", 2)).json() == 7


async def test_state_that_is_refused(world: Any) -> None:
    good = {"object_key": "k", "new_state": {}}
    refused = await post_state(world, "Echo", good)
    assert (refused.status, refused.json()["message"]) == (400, "Cannot modify state for service type Service")
    assert (await post_state(world, "Nope", good)).status == 404
    assert (await post_state(world, "Counter", good, "text/plain")).status == 415
    assert (await post_state(world, "Counter", b"{")).status == 400
    assert (await post_state(world, "Counter", {"object_key": "k"})).status == 422
    assert (await post_state(world, "Counter", {"object_key": "k", "new_state": {"a": [256]}})).status == 422
    assert (await post_state(world, "Counter", b" " * 600_000)).status == 413
    assert (await world.admin.get("/perdure/state/Echo/k")).status == 400
    assert (await world.admin.get("/perdure/state/Nope/k")).status == 404
