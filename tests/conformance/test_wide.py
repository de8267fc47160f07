"""Wide, deep and large: hundreds of calls at once, long chains, megabytes through everything that holds a value."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from .conftest import World

pytestmark = pytest.mark.slow

TEN_MIB = 10 * 1024 * 1024


@pytest.mark.parametrize("width", [1, 200, 500])
def test_calls_at_the_same_time(world: World, width: int) -> None:
    assert world.ok("/Wide/fan_out", width) == width * (width - 1)


def test_many_steps(world: World) -> None:
    assert world.ok("/Wide/steps", 100) == 4950


def test_a_handler_that_calls_itself(world: World) -> None:
    assert world.ok("/Wide/deep", 30) == 30


def test_a_failure_comes_up_through_all_callers(world: World) -> None:
    answer = world.call("/Wide/fails_below", 10)
    assert (answer.status_code, answer.json()["message"]) == (418, "at the bottom")


def test_objects_that_call_each_other(world: World, key: str) -> None:
    said = world.ok(f"/Left/{key}/turn", 3)
    assert said == [f"left {key}", f"right {key}r", f"left {key}rl", f"right {key}rlr"]


def test_many_calls_from_outside(world: World) -> None:
    with ThreadPoolExecutor(32) as threads:
        assert list(threads.map(lambda number: world.ok("/Wide/double", number), range(200))) == [*range(0, 400, 2)]


def test_the_first_of_many(world: World) -> None:
    assert world.ok("/Wide/first_of", [60_000, 50, 60_000]) == 1


def test_what_came_of_each(world: World) -> None:
    assert world.ok("/Wide/settled", [1, 2, 3]) == ["ok 1", "422 2 is even", "ok 3"]


def test_a_wait_with_a_limit(world: World) -> None:
    assert world.ok("/Wide/waits_no_longer", 30) == "late"


def test_a_handler_cancels_what_it_called(world: World) -> None:
    assert world.ok("/Wide/cancels_what_it_called") == "409 cancelled"


def test_a_step_is_tried_for_so_long(world: World) -> None:
    assert world.ok("/Wide/gives_up_in_time", 100).startswith("gave up: ")


def test_headers_of_a_call(world: World) -> None:
    assert world.ok("/Wide/headers_passed_on", "on")["x-passed"] == "on"


def test_code_that_does_not_fit_its_journal(world: World, key: str) -> None:
    invocation_id = world.send("/Wide/changes", key)
    world.until_status(invocation_id, "paused")
    events = world.sql(
        f"select event_type, event_json from sys_journal_events where id = '{invocation_id}' order by appended_at"
    )
    assert events[-1]["event_type"] == "Paused"
    why = json.loads(events[-1]["event_json"])["last_failure"]
    if not world.name.startswith("perdure11"):  # there the step suspends it, and which attempt is the last is another
        assert (why["error_code"], why["restate_doc_error_code"]) == (570, "RT0016")
    assert world.patch(f"/invocations/{invocation_id}/kill").status_code == 200


def test_state_of_ten_mebibytes(world: World, key: str) -> None:
    world.ok(f"/Keeper/{key}/fill", TEN_MIB)
    assert world.ok(f"/Keeper/{key}/length") == TEN_MIB


def test_a_body_and_an_answer_of_ten_mebibytes(world: World) -> None:
    data = bytes(range(256)) * (TEN_MIB // 256)
    answer = world.call("/Util/raw", data, content_type="application/octet-stream")
    assert (answer.status_code, answer.content == data) == (200, True)


def test_a_step_and_a_call_of_ten_mebibytes(world: World) -> None:
    assert len(world.ok("/Util/big", TEN_MIB)) == TEN_MIB


def test_an_awakeable_of_ten_mebibytes(world: World, key: str) -> None:
    invocation_id = world.send("/Wide/length_of_awakeable", key)
    name = world.held(key)
    assert world.call(f"/restate/awakeables/{name}/resolve", "x" * TEN_MIB).status_code == 202
    assert world.attach(invocation_id).json() == TEN_MIB


def test_a_promise_of_ten_mebibytes(world: World, key: str) -> None:
    world.ok(f"/Envelope/{key}/deliver", TEN_MIB)
    assert world.ok(f"/Envelope/{key}/run") == TEN_MIB


def test_a_promise_rejected_before_the_run(world: World, key: str) -> None:
    world.ok(f"/Envelope/{key}/refuse")
    answer = world.call(f"/Envelope/{key}/run")
    assert answer.json()["message"] == "return to sender"
    rows = world.sql(f"select completed, completion_failure from sys_promise where service_key = '{key}'")
    assert rows == [{"completed": True, "completion_failure": f"[{code_of(world)}] return to sender"}]


def code_of(world: World) -> str:
    """The SDK for TypeScript rejects with a message alone."""
    return "500 Internal" if world.language == "typescript" else "404 Not found"


@pytest.mark.parametrize("letters", [1, 1000, 4000])
def test_long_keys(world: World, key: str, letters: int) -> None:
    name = f"{key}{'ü' * letters}"
    assert world.ok("/Proxy/call", {"service": "Counter", "handler": "add", "key": name, "body": 2}) == {
        "old": 0,
        "new": 2,
    }
    rows = world.sql(f"select value_utf8 from state where service_name = 'Counter' and service_key = '{name}'")
    assert rows == [{"value_utf8": "2"}]
