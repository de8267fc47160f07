"""Every operation of the context answers the same on perdure and on a real Restate server, however it is served there."""

from __future__ import annotations

import uuid

import pytest

from tests.endpoint.conftest import Engine
from tests.endpoint.restate_server import wait_until
from tests.endpoint.services import touched

pytestmark = pytest.mark.slow


@pytest.fixture
def name() -> str:
    return uuid.uuid4().hex[:12]


def test_input_and_output(engine: Engine) -> None:
    assert engine.answer("/Work/hello", "Ann") == "Hello Ann!"
    assert engine.answer("/Work/nothing") is None
    asked = engine.http.post(
        "/Work/asked", content=b'{"a": 1}', headers={"x-mine": "1", "content-type": "application/json"}
    )
    on_restate = True if engine.name != "perdure" else asked.json()["attempt"]
    assert asked.json() == {"id": True, "header": "1", "body": '{"a": 1}', "attempt": on_restate}


def test_steps_under_native_asyncio(engine: Engine) -> None:
    assert engine.answer("/Work/steps", 8) == [0, 2, 4, 6, 8, 10, 12, 14, 56]
    assert engine.answer("/Work/in_a_process", 21) == 42


def test_the_order_of_what_finishes_is_the_journals(engine: Engine) -> None:
    expected = sorted(f"{letter}{number}" for letter in "abc" for number in range(6))
    assert engine.answer("/Work/order", "x") == expected


def test_what_only_perdure_has_is_named(engine: Engine) -> None:
    answer = engine.answer("/Work/epoch")
    assert answer == "True" if engine.name == "perdure" else "no attempt_epoch" in str(answer)


def test_a_step_that_uses_the_context_pauses_with_the_code(engine: Engine) -> None:
    """At once on perdure, and under the policy on a Restate server, which has no such thing as pausing at once."""
    invocation_id = engine.send("/Work/context_in_a_step")
    paused = f"where id = '{invocation_id}' and event_type = 'Paused'"
    wait_until(lambda: engine.sql(f"select 1 as one from sys_journal_events {paused}"))
    (event,) = engine.sql(
        f"select event_json -> 'last_failure' ->> 'error_message' as why from sys_journal_events {paused}"
    )
    assert "PD0412" in event["why"] and "services.py:" in event["why"]
    failed = f"where id = '{invocation_id}' and event_type = 'TransientError'"
    (attempts,) = engine.sql(f"select count(*) as failed from sys_journal_events {failed}")
    assert attempts["failed"] == (0 if engine.name == "perdure" else 1)
    engine.patch(invocation_id, "kill")


def test_timeouts(engine: Engine) -> None:
    assert engine.answer("/Work/timeouts") == ["timeout", "wait_for", "['fast'] 1", "8", "1", "0", "b"]


def test_a_timer_is_never_early(engine: Engine) -> None:
    took = engine.answer("/Work/timer_is_not_early")
    assert isinstance(took, float) and took >= 0.7 - 0.001, "times are whole milliseconds"


def test_random_and_time(engine: Engine) -> None:
    assert engine.answer("/Work/the_same") is True
    apart = engine.answer("/Work/now")
    assert isinstance(apart, float) and apart < 5


def test_terminal_errors(engine: Engine) -> None:
    response = engine.call("/Work/terminal", 456)
    assert (response.status_code, response.json()["message"]) == (456, "it is over")
    assert engine.answer("/Work/terminal_of_a_step") == "418 the step says no"
    assert engine.answer("/Work/failing_call") == "455 it is over"
    response = engine.call("/Work/group")
    assert (response.status_code, response.json()["message"]) == (444, "one")


def test_input_that_does_not_fit(engine: Engine) -> None:
    for body in (b"{", b'{"not": "text"}'):
        response = engine.http.post("/Work/length", content=body, headers={"content-type": "application/json"})
        assert response.status_code == 400, response.text


def test_steps_are_retried(engine: Engine, name: str) -> None:
    assert engine.answer("/Work/flaky", name) == 3
    assert engine.answer("/Work/hopeless", f"{name}-h") == "RuntimeError: never 10"
    assert touched(f"{name}-h") == 3
    outcomes = engine.answer("/Work/two_hopeless", name)
    assert outcomes == ["RuntimeError: never a", "RuntimeError: never b", "20"]


def test_a_failed_attempt_is_retried_and_runs_no_step_again(engine: Engine, name: str) -> None:
    assert engine.answer("/Work/fails_once", name) == 1
    assert touched(name) == 2 and touched(f"{name}-step") == 1


def test_state(engine: Engine, name: str) -> None:
    expected = [None, "none", [], 1, {"c": [1, 2]}, {"c": [1, 2]}, ["a", "b"], None, ["b"], None, [], "é", name]
    assert engine.answer(f"/Cell/{name}/state") == expected
    assert [engine.answer(f"/Cell/{name}/add", by) for by in (1, 2, 3)] == [1, 3, 6]
    assert engine.answer(f"/Cell/{name}/read") == 6


def test_one_writer_at_a_time(engine: Engine, name: str) -> None:
    sent = [engine.send(f"/Cell/{name}/slow_add", 1) for _ in range(10)]
    assert sorted(engine.outcome(each).json() for each in sent) == list(range(1, 11))


def test_calls(engine: Engine, name: str) -> None:
    echoed = {"n": name, "header": "work"}
    expected = [echoed, '{"b":1,"header":null}', [1, 3, 6], [1, 1], 5, True, {"q": 1, "header": None}]
    assert engine.answer("/Work/calls", name) == expected


def test_sends_now_and_later(engine: Engine, name: str) -> None:
    took = engine.answer("/Work/sends", name)
    assert isinstance(took, float) and 0.29 <= took < 20
    wait_until(lambda: [touched(f"{name}-{when}") for when in ("now", "later", "bare")] == [1, 1, 1])


def test_cancelling_a_call(engine: Engine, name: str) -> None:
    assert engine.answer("/Work/cancels", name) == "409 child: cancelled"
    assert touched(f"{name}-compensated") == 1


def test_cancelling_reaches_the_called_once_and_leaves_room_to_undo(engine: Engine, name: str) -> None:
    invocation = engine.send("/Work/parent", name)
    wait_until(lambda: all(touched(f"{name}-{number}-started") for number in (1, 2)))
    engine.cancel(invocation)
    response = engine.outcome(invocation)
    ended = "['child: cancelled', 'child: cancelled']"
    assert (response.status_code, response.json()["message"]) == (409, f"cancelled; {ended}")
    assert [touched(f"{name}-{what}") for what in ("undone", "1-compensated", "2-compensated")] == [1, 1, 1]


def test_awakeables(engine: Engine, name: str) -> None:
    assert engine.answer("/Work/own_awakeable") == [[2], "461 no"]
    invocation = engine.send(f"/Cell/{name}/awaits", 3)
    ids: list[str] = []

    def there() -> bool:
        ids[:] = engine.answer(f"/Cell/{name}/ids") or []  # type: ignore[call-overload]
        return len(ids) == 3

    wait_until(there)
    engine.http.post(f"/restate/awakeables/{ids[2]}/resolve", json={"third": 3})
    engine.http.post(f"/restate/awakeables/{ids[0]}/reject", content="first")
    engine.http.post(f"/restate/awakeables/{ids[1]}/resolve", json="second")
    assert engine.outcome(invocation).json() == ["500 first", "second", {"third": 3}]


def test_signals(engine: Engine) -> None:
    assert engine.answer("/Work/signalled") == [{"n": 1}, "462 stopped"]


def test_a_workflow(engine: Engine, name: str) -> None:
    run = engine.send(f"/Flow/{name}/run", "order")
    wait_until(lambda: engine.answer(f"/Flow/{name}/phase") == "waiting")
    assert engine.answer(f"/Flow/{name}/approve", "yes") == "once"
    assert engine.outcome(run).json() == ["order", None, "yes", "yes", name]
    assert engine.answer(f"/Flow/{name}/phase") == "done"


def test_a_rejected_promise(engine: Engine, name: str) -> None:
    run = engine.send(f"/Flow/{name}/run", "order")
    engine.answer(f"/Flow/{name}/reject", "too late")
    response = engine.outcome(run)
    assert (response.status_code, response.json()["message"]) == (463, "too late")


def test_large_payloads(engine: Engine) -> None:
    size = 10 * 1024 * 1024 - 2  # and two quotes
    assert engine.answer("/Work/length", "x" * size) == size
    assert engine.answer("/Work/big", size) == "y" * size
