"""Operators: cancel, kill, pause, resume, restart, purge; and what lists and SQL say of it."""

from __future__ import annotations

import pytest

from .conftest import World

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("how", ["sleep", "awakeable", "call"])
def test_cancel(world: World, key: str, how: str) -> None:
    invocation_id = world.send(f"/Blocker/{key}/block", how)
    assert world.held(key) == "blocked"
    if how == "call":
        assert world.held(f"{key}-child") == "blocked"
    assert world.patch(f"/invocations/{invocation_id}/cancel").status_code == 202
    answer = world.attach(invocation_id)
    assert (answer.status_code, answer.json()["source"]) == (409, "invocation")
    assert world.held(f"{key}-undone") == 409
    if how == "call":
        assert world.held(f"{key}-child-undone") == 409
    assert world.ok(f"/Blocker/{key}/pings") == "free"


def test_cancel_spares_what_was_sent(world: World, key: str) -> None:
    invocation_id = world.send(f"/Blocker/{key}/block", "send")
    assert world.held(f"{key}-child") == "blocked"
    assert world.patch(f"/invocations/{invocation_id}/cancel").status_code == 202
    assert world.attach(invocation_id).status_code == 409
    rows = world.sql(f"select id, status from sys_invocation where target = 'Blocker/{key}-child/block'")
    assert len(rows) == 1 and rows[0]["status"] != "completed"
    assert world.patch(f"/invocations/{rows[0]['id']}/kill").status_code == 200


def test_cancel_from_a_handler(world: World, key: str) -> None:
    invocation_id = world.send(f"/Blocker/{key}/block", "awakeable")
    assert world.held(key) == "blocked"
    world.ok("/Util/cancels", invocation_id)
    assert world.attach(invocation_id).status_code == 409


@pytest.mark.parametrize("how", ["sleep", "call", "send"])
def test_kill(world: World, key: str, how: str) -> None:
    invocation_id = world.send(f"/Blocker/{key}/block", how)
    child = how != "sleep"
    assert world.held(f"{key}-child" if child else key) == "blocked"
    assert world.patch(f"/invocations/{invocation_id}/kill").status_code == 200
    answer = world.attach(invocation_id)
    assert (answer.status_code, answer.json()["message"]) == (409, "killed")
    assert world.ok(f"/Blocker/{key}/pings") == "free"
    if child:
        assert world.ok(f"/Blocker/{key}-child/pings") == "free"
    assert world.ok(f"/Holder/{key}-undone/get") is None


def test_who_waits_for_a_key_is_cancelled_at_once(world: World, key: str) -> None:
    holder = world.send(f"/Blocker/{key}/block", "awakeable")
    assert world.held(key) == "blocked"
    waiting = world.send(f"/Blocker/{key}/pings")
    world.until_status(waiting, "pending")
    assert world.patch(f"/invocations/{waiting}/resume").status_code == 425
    answer = world.attached(waiting, lambda: world.patch(f"/invocations/{waiting}/cancel").raise_for_status())
    assert (answer.status_code, answer.json()["message"]) == (409, "canceled")
    assert world.patch(f"/invocations/{holder}/kill").status_code == 200


@pytest.mark.parametrize("verb", ["cancel", "kill", "pause", "resume"])
def test_what_is_finished_is_left_alone(world: World, verb: str) -> None:
    invocation_id = world.call("/Util/echo", 1).headers["x-restate-id"]
    assert world.patch(f"/invocations/{invocation_id}/{verb}").status_code == 409


@pytest.mark.parametrize("verb", ["cancel", "kill", "pause", "resume", "purge", "purge-journal", "restart-as-new"])
def test_what_is_unknown(world: World, verb: str) -> None:
    assert world.patch(f"/invocations/inv_1{'0' * 33}/{verb}").status_code == 404
    assert world.patch(f"/invocations/nonsense/{verb}").status_code == 400


def test_pause_and_resume(world: World, key: str) -> None:
    invocation_id = world.send("/Util/awaits", key)
    name = world.held(key)
    assert world.patch(f"/invocations/{invocation_id}/pause").status_code in (200, 202)
    world.until_status(invocation_id, "paused", "suspended")
    assert world.call(f"/restate/awakeables/{name}/resolve", "late").status_code == 202
    assert world.patch(f"/invocations/{invocation_id}/resume").status_code in (200, 409)
    assert world.attach(invocation_id).json() == "late"


def test_purge(world: World) -> None:
    invocation_id = world.call("/Util/echo", 1).headers["x-restate-id"]
    assert world.status(invocation_id) == "completed"
    assert world.patch(f"/invocations/{invocation_id}/purge").status_code == 200
    world.until_status(invocation_id, None)
    assert world.attach(invocation_id).status_code == 404


def test_purge_of_what_runs(world: World, key: str) -> None:
    invocation_id = world.send(f"/Blocker/{key}/block", "awakeable")
    assert world.held(key) == "blocked"
    for verb in ("purge", "purge-journal", "restart-as-new"):
        assert world.patch(f"/invocations/{invocation_id}/{verb}").status_code == 409, verb
    assert world.patch(f"/invocations/{invocation_id}/kill").status_code == 200


def test_restart_as_new(world: World, key: str) -> None:
    first = world.call(f"/Counter/{key}/add", 1).headers["x-restate-id"]
    answer = world.patch(f"/invocations/{first}/restart-as-new")
    assert answer.status_code == 200
    second = answer.json()["new_invocation_id"]
    assert second != first
    assert world.attach(second).json() == {"old": 1, "new": 2}


def test_restart_of_a_workflow_is_refused(world: World, key: str) -> None:
    later = world.send(f"/Flow/{key}-later/run/send?delay=1h", "in")
    assert world.patch(f"/invocations/{later}/restart-as-new").status_code == 425
    invocation_id = world.send(f"/Flow/{key}/run", "in")
    assert world.patch(f"/invocations/{invocation_id}/restart-as-new").status_code == 409
    world.ok(f"/Flow/{key}/resolve", 1)
    assert world.attach(invocation_id).status_code == 200
    assert world.patch(f"/invocations/{invocation_id}/restart-as-new").status_code == 422


def test_where_a_paused_one_goes_on_that_is_pinned_to_none(world: World, key: str) -> None:
    """To the latest deployment it may, where it goes in any case, and to no other."""
    invocation_id = world.send("/Quick/paused", key)
    world.until_status(invocation_id, "paused")
    (service,) = world.sql("select deployment_id from sys_service where name = 'Quick'")
    refused = world.patch(f"/invocations/{invocation_id}/resume", deployment=service["deployment_id"])
    assert (refused.status_code, "deployment id cannot be changed" in refused.json()["message"]) == (409, True)
    assert world.patch(f"/invocations/{invocation_id}/resume", deployment="latest").status_code == 200
    assert world.attach(invocation_id).json() == "ok at try 3"


def test_what_sql_says_of_an_invocation(world: World, key: str) -> None:
    invocation_id = world.call(f"/Counter/{key}/add", 1, idempotency_key=key).headers["x-restate-id"]
    (row,) = world.sql(
        "select target, target_service_name, target_service_key, target_handler_name, target_service_ty, "
        "idempotency_key, status, invoked_by, completion_result, journal_size "
        f"from sys_invocation where id = '{invocation_id}'"
    )
    assert row == {
        "target": f"Counter/{key}/add",
        "target_service_name": "Counter",
        "target_service_key": key,
        "target_handler_name": "add",
        "target_service_ty": "virtual_object",
        "idempotency_key": key,
        "status": "completed",
        "invoked_by": "ingress",
        "completion_result": "success",
        "journal_size": 4,
    }
    entries = world.sql(f"select index, entry_type, name from sys_journal where id = '{invocation_id}' order by index")
    assert [entry["entry_type"] for entry in entries] == [
        "Command: Input",
        "Command: GetEagerState",
        "Command: SetState",
        "Command: Output",
    ]


def test_what_a_failed_one_says(world: World) -> None:
    invocation_id = world.call("/Util/fail", {"message": "no", "code": 418}).headers["x-restate-id"]
    (row,) = world.sql(f"select completion_result, completion_failure from sys_invocation where id = '{invocation_id}'")
    assert row == {"completion_result": "failure", "completion_failure": "[418] no"}


def test_batches(world: World, key: str) -> None:
    ids = [world.send(f"/Blocker/{key}-{at}/block", "awakeable") for at in range(3)]
    for at in range(3):
        assert world.held(f"{key}-{at}") == "blocked"
    answer = world.admin.post(
        "/internal/invocations_batch_operations/kill", json={"invocation_ids": [*ids, f"inv_1{'0' * 33}"]}
    )
    assert answer.status_code == 200, answer.text
    assert sorted(answer.json()["succeeded"]) == sorted(ids)
    assert len(answer.json()["failed"]) == 1
