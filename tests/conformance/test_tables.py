"""SQL: what the tables say of invocations in every status, and of every kind of entry."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from .conftest import World

pytestmark = pytest.mark.slow


def row(world: World, invocation_id: str) -> dict[str, Any]:
    return world.sql(f"select * from sys_invocation where id = '{invocation_id}'")[0]


def entries(world: World, invocation_id: str, column: str = "entry_json") -> list[Any]:
    rows = world.sql(f"select {column} from sys_journal where id = '{invocation_id}' order by index")
    return [json.loads(each[column]) for each in rows]


@pytest.mark.parametrize("verb", ["cancel", "kill"])
@pytest.mark.parametrize("waits", ["for its time", "for its key"])
def test_what_never_started_leaves_nothing(world: World, key: str, verb: str, waits: str) -> None:
    path, body = f"/Holder/{key}/hold/send?delay=1h", 1
    if waits == "for its key":
        path, body = f"/Blocker/{key}/pings/send", None
        world.send(f"/Blocker/{key}/block", "awakeable")
        assert world.held(key) == "blocked"
    invocation_id = world.call(path, body, idempotency_key=key).json()["invocationId"]
    world.until_status(invocation_id, "scheduled", "pending")
    assert world.patch(f"/invocations/{invocation_id}/{verb}").status_code == 200
    world.until_status(invocation_id, None)
    assert world.ingress.get(f"/restate/invocation/{invocation_id}/output").status_code == 404
    again = world.call(path, body, idempotency_key=key)
    assert (again.status_code, again.json()["status"]) == (202, "Accepted")


def test_one_that_backs_off(world: World, key: str) -> None:
    invocation_id = world.send("/Util/flaky", {"name": key, "failures": 1000})
    world.until_status(invocation_id, "backing-off")
    seen = row(world, invocation_id)
    assert seen["last_failure"].startswith("[500 Internal] ")
    assert (seen["last_failure_error_code"], seen["journal_size"]) == ("RT0007", 1)
    assert seen["last_attempt_deployment_id"].startswith("dp_1")
    assert "/" in seen["last_attempt_server"] and seen["retry_count"] >= 1 and "next_retry_at" in seen
    assert "pinned_deployment_id" not in seen
    assert world.patch(f"/invocations/{invocation_id}/kill").status_code == 200


def test_one_whose_step_is_tried_again(world: World, key: str) -> None:
    invocation_id = world.send("/Util/flaky_step", {"name": key, "failures": 1000})
    world.until(lambda: row(world, invocation_id).get("retry_count", 0) >= 3)
    seen = row(world, invocation_id)
    assert seen["last_failure_related_command_index"] == 1
    assert (seen["last_failure_related_command_name"], seen["last_failure_related_command_type"]) == ("body", "Run")
    assert not [name for name in seen if name.startswith("last_failure_related_entry")]
    assert world.patch(f"/invocations/{invocation_id}/kill").status_code == 200


def events(world: World, invocation_id: str) -> list[tuple[str, int, dict[str, Any]]]:
    """Type, place and content; of a stack trace only that there is one, of a message the end, which is the author's."""
    rows = world.sql(
        "select event_type, after_journal_entry_index, event_json from sys_journal_events "
        f"where id = '{invocation_id}' order by appended_at"
    )
    found = []
    for each in rows:
        shown = json.loads(each["event_json"])
        assert shown.pop("ty") == each["event_type"]
        for error in (shown, shown.get("last_failure", {})):
            if "error_message" in error:
                error["error_message"] = re.search("try [0-9]+", error["error_message"])[0]  # type: ignore[index]
                assert error.pop("error_stacktrace")
        found.append((each["event_type"], each["after_journal_entry_index"], shown))
    return found


def error(message: str, **more: object) -> dict[str, Any]:
    return {"error_code": 500, "error_message": message, "restate_doc_error_code": "RT0007", **more}


def test_how_attempts_ended_before_it_succeeded(world: World, key: str) -> None:
    invocation_id = world.send("/Util/flaky", {"name": key, "failures": 2})
    assert world.attach(invocation_id).status_code == 200
    assert events(world, invocation_id) == [
        ("TransientError", 0, error("try 1")),
        ("TransientError", 0, error("try 2")),
    ]


def test_how_the_tries_of_a_step_ended(world: World, key: str) -> None:
    invocation_id = world.send("/Util/flaky_step", {"name": key, "failures": 2})
    assert world.attach(invocation_id).status_code == 200
    step = {"related_command_index": 1, "related_command_name": "body", "related_command_type": "Run"}
    assert events(world, invocation_id) == [
        ("TransientError", 1, error("try 1", **step)),
        ("TransientError", 1, error("try 2", **step)),
    ]


def test_how_attempts_ended_before_it_paused_and_after(world: World, key: str) -> None:
    invocation_id = world.send("/Quick/paused", key)
    world.until_status(invocation_id, "paused")
    ended = [("TransientError", 0, error("try 1")), ("Paused", 0, {"last_failure": error("try 2")})]
    assert events(world, invocation_id) == ended
    assert world.patch(f"/invocations/{invocation_id}/resume").status_code == 200
    assert world.attach(invocation_id).status_code == 200
    assert events(world, invocation_id) == ended, "they stay"
    assert world.patch(f"/invocations/{invocation_id}/purge-journal").status_code == 200
    world.until(lambda: events(world, invocation_id) == [])


def test_the_error_that_ends_it_is_no_event(world: World, key: str) -> None:
    invocation_id = world.send("/Quick/killed", key)
    assert world.attach(invocation_id).status_code == 500
    assert events(world, invocation_id) == [
        ("TransientError", 0, error("try 1")),
        ("TransientError", 0, error("try 2")),
    ]


def test_a_pause_that_was_asked_for(world: World, key: str) -> None:
    invocation_id = world.send("/Util/flaky", {"name": key, "failures": 1000})
    world.until_status(invocation_id, "backing-off")
    assert world.patch(f"/invocations/{invocation_id}/pause").status_code in (200, 202)
    world.until_status(invocation_id, "paused")
    *_, failed, paused = events(world, invocation_id)
    assert failed[0] == "TransientError"
    assert paused == ("Paused", 0, {"last_failure": failed[2]})
    assert world.patch(f"/invocations/{invocation_id}/kill").status_code == 200


def test_a_suspension_is_an_event_from_version_7_on(world: World, key: str) -> None:
    invocation_id = world.send("/Quick/idles", key)
    name = world.held(key)
    world.until_status(invocation_id, "suspended")
    seen = row(world, invocation_id)
    (waits,) = json.loads(seen["suspended_waiting_future_json"]).values()
    assert {"Single": {"SignalIndex": 17}} in waits
    found = events(world, invocation_id)
    if seen["pinned_service_protocol_version"] < 7:
        assert found == []
    else:
        ((kind, _, content),) = found
        assert (kind, content) == ("Suspended", {"awaiting_on": json.loads(seen["suspended_waiting_future_json"])})
    assert world.call(f"/restate/awakeables/{name}/resolve", "on").status_code == 202
    assert world.attach(invocation_id).status_code == 200


def test_one_that_runs(world: World, key: str) -> None:
    invocation_id = world.send("/Util/awaits", key)
    name = world.held(key)
    world.until(lambda: "pinned_deployment_id" in row(world, invocation_id))
    seen = row(world, invocation_id)
    if seen["status"] == "running":
        assert seen["last_attempt_deployment_id"] == seen["pinned_deployment_id"]
        assert seen["last_attempt_server"].startswith("perdure/" if world.language == "perdure" else "restate-sdk-")
    assert world.call(f"/restate/awakeables/{name}/resolve", "on").status_code == 202
    assert world.attach(invocation_id).json() == "on"


def test_a_suspended_one_stays_so_when_it_is_to_be_paused(world: World, key: str) -> None:
    invocation_id = world.send("/Quick/idles", key)
    name = world.held(key)
    world.until_status(invocation_id, "suspended")
    assert row(world, invocation_id)["suspended_waiting_future_json"].startswith('{"')
    assert world.patch(f"/invocations/{invocation_id}/pause").status_code == 200
    assert world.status(invocation_id) == "suspended"
    assert world.call(f"/restate/awakeables/{name}/resolve", "on").status_code == 202
    assert world.attach(invocation_id).json() == "on"


def test_a_restarted_one_names_the_first_and_no_caller(world: World) -> None:
    first = world.call("/Util/echo", 1).headers["x-restate-id"]
    second = world.patch(f"/invocations/{first}/restart-as-new").json()["new_invocation_id"]
    assert world.attach(second).json() == 1
    seen = row(world, second)
    assert (seen["invoked_by"], seen["restarted_from"]) == ("restart_as_new", first)
    assert not {"invoked_by_id", "invoked_by_target", "invoked_by_service_name"} & set(seen)


def test_entries_of_cancellation(world: World, key: str) -> None:
    cancelled = world.send(f"/Blocker/{key}/block", "sleep")
    assert world.held(key) == "blocked"
    canceller = world.call("/Util/cancels", cancelled).headers["x-restate-id"]
    assert world.attach(cancelled).status_code == 409
    sent = {"target_invocation_id": cancelled, "signal_id": {"Index": 1}, "result": "Void", "name": ""}
    assert {"Command": {"SendSignal": sent}} in entries(world, canceller)
    assert {"Notification": {"Signal": {"id": {"Index": 1}, "result": "Void"}}} in entries(world, cancelled)
    sleeps = [entry for entry in entries(world, cancelled, "entry_lite_json") if "Sleep" in entry.get("Command", ())]
    assert [set(entry["Command"]["Sleep"]) for entry in sleeps] == [{"wake_up_time", "completion_id"}]


def test_the_target_of_a_call_to_a_workflow(world: World, key: str) -> None:
    how = {"service": "Flow", "handler": "peek", "key": key}
    invocation_id = world.call("/Proxy/call", how).headers["x-restate-id"]
    (called,) = [
        entry["Command"]["Call"] for entry in entries(world, invocation_id) if "Call" in entry.get("Command", ())
    ]
    target = {"name": "Flow", "key": key, "handler": "peek", "handler_ty": "Shared", "scope": None}
    assert called["request"]["invocation_target"] == {"Workflow": target}


JSON = '{"name": "tea", "n": 3, "x": 1.5, "big": 1e3, "ok": true, "none": null, "list": [1, "two"], "deep": {"in": "side"}}'


LOOKS: dict[str, object] = {
    "json_get_str(t, 'name')": "tea",
    "json_get_str(t, 'n')": None,
    "json_get_str(t, 'gone')": None,
    "json_get_str('no json', 'name')": None,
    "json_get_int(t, 'n')": 3,
    "json_get_int(t, 'x')": None,
    "json_get_float(t, 'x')": 1.5,
    "json_get_float(t, 'n')": 3.0,
    "json_get_float(t, 'big')": 1000.0,
    "json_get_bool(t, 'ok')": True,
    "json_get_bool(t, 'name')": None,
    "json_get_json(t, 'list')": '[1, "two"]',
    "json_get_json(t, 'name')": '"tea"',
    "json_get_json(t, 'none')": "null",
    "json_as_text(t, 'name')": "tea",
    "json_as_text(t, 'n')": "3",
    "json_as_text(t, 'deep')": '{"in": "side"}',
    "json_as_text(t, 'none')": None,
    "json_get_str(json_get_json(t, 'deep'), 'in')": "side",
    "json_get_int(json_get_json(t, 'list'), 0)": 1,
    "json_get_str(json_get_json(t, 'list'), 1)": "two",
    "json_get_int(json_get_json(t, 'list'), 9)": None,
    "json_get_str(json_get_json(t, 'list'), 'name')": None,
    "json_length(t)": 8,
    "json_length('[1, 2]')": 2,
    "json_length('3')": None,
    "json_object_keys(json_get_json(t, 'deep'))": ["in"],
    "json_object_keys('[]')": None,
    "json_get_str(t, 'deep', 'in')": "side",
    "json_get_int(t, 'list', 0)": 1,
    "json_as_text(t, 'list', 1)": "two",
    "json_length(t, 'list')": 2,
    "json_object_keys(t, 'deep')": ["in"],
    "json_get_array(t, 'list')": ["1", '"two"'],
    "json_get_array(t, 'deep')": None,
    "json_contains(t, 'deep', 'in')": True,
    "json_contains(t, 'none')": True,
    "json_contains(t, 'gone')": False,
    "json_contains('no json', 'name')": False,
    "json_get(t, 'n')::int": 3,
    "json_get(t, 'name')::text": "tea",
    "cast(t -> 'x' as double)": 1.5,
    "t -> 'gone' is null": True,
    "t ->> 'name'": "tea",
    "t ->> 'none'": None,
    "t ->> 'deep'": '{"in": "side"}',
    "t -> 'deep' ->> 'in'": "side",
    "(t -> 'deep') ->> 'in'": "side",
    "t->'list'->>1": "two",
    "t ->> lower('NAME')": "tea",
    "upper(t ->> 'name') || '!'": "TEA!",
    "t ->> 'n' in ('3', '4')": True,
    "case when t ->> 'ok' = 'true' then 1 end": 1,
    "t ? 'name'": True,
    "t ? 'gone'": False,
}


def test_functions_that_look_into_json(world: World) -> None:
    columns = ", ".join(f"{expression} as c{index}" for index, expression in enumerate(LOOKS))
    (found,) = world.sql(f"select {columns} from (select '{JSON}' as t)")
    assert {expression: found.get(f"c{index}") for index, expression in enumerate(LOOKS)} == LOOKS
    named = world.sql(f"select t -> 'deep' ->> 'in', s.t ->> 'n', t ? 'x' from (select '{JSON}' as t) as s")
    assert named == [{"t -> 'deep' ->> 'in'": "side", "t ->> 'n'": "3", "t ? 'x'": True}]
