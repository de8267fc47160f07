"""Endpoints and servers that are killed, stopped or slow: what was recorded counts, and nothing recorded runs again."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.components import require
from tests.endpoint.conftest import Engine
from tests.endpoint.restate_server import Endpoint, RestateServer, wait_until
from tests.endpoint.services import touch, touched

pytestmark = pytest.mark.slow
APP = "tests.endpoint.services:app"


@pytest.fixture
def name() -> str:
    return uuid.uuid4().hex[:12]


@pytest.fixture
def endpoint(restate: RestateServer, touch_directory: Path, tmp_path: Path) -> Iterator[Endpoint]:
    endpoint = Endpoint(APP, tmp_path / "output", {"PERDURE_TEST_DIR": str(touch_directory)})
    endpoint.start()
    try:
        endpoint.wait_ready()
        restate.register(endpoint.url)
        yield endpoint
    finally:
        endpoint.kill()


def test_kill_9_of_the_endpoint_in_the_middle(endpoint: Endpoint, restate: RestateServer, name: str) -> None:
    engine = Engine("bidi", restate.ingress, restate.admin)
    invocation = engine.send("/Work/survives", name)
    for killed in (1, 2):
        wait_until(lambda: touched(f"{name}-one-waiting") == killed)  # noqa: B023
        endpoint.kill()
        endpoint.start()
    wait_until(lambda: touched(f"{name}-one-waiting") == 3)
    touch(f"{name}-one-released")
    assert engine.outcome(invocation).json() == [1, 1, 1]


def test_sigterm_lets_steps_finish_and_attempts_go_on_elsewhere(
    endpoint: Endpoint, restate: RestateServer, name: str
) -> None:
    engine = Engine("bidi", restate.ingress, restate.admin)
    invocation = engine.send("/Work/survives", name)
    sleeper = engine.send("/Target/wait_for_ever", name)
    wait_until(lambda: touched(f"{name}-one-waiting") == 1 and touched(f"{name}-started") == 1)
    endpoint.signal(signal.SIGTERM)
    touch(f"{name}-one-released")
    assert endpoint.wait() == 0
    # Nothing failed, and nothing is retried.
    row = restate.row(sleeper)
    assert row["status"] == "suspended" and "last_failure" not in row, row
    assert restate.row(invocation).get("last_failure_error_code", "RT0010") == "RT0010"  # nobody listens any more
    endpoint.start()
    endpoint.wait_ready()
    assert engine.outcome(invocation).json() == [1, 1, 1]
    assert touched(f"{name}-one-waiting") == 1
    engine.cancel(sleeper)
    assert engine.outcome(sleeper).status_code == 409


def test_changed_code_is_stopped_and_goes_on_with_the_right_one(
    endpoint: Endpoint, restate: RestateServer, name: str
) -> None:
    engine = Engine("bidi", restate.ingress, restate.admin)
    invocation = engine.send("/Work/changing", name)
    wait_until(lambda: touched(f"{name}-waiting") == 1)
    endpoint.kill()
    endpoint.start(CHANGED="two")
    wait_until(lambda: "mismatch" in restate.row(invocation).get("last_failure", ""))
    assert restate.row(invocation)["last_failure_error_code"] == "RT0016"
    touch(f"{name}-released")
    endpoint.kill()
    endpoint.start()
    endpoint.wait_ready()
    engine.resume(invocation)
    assert engine.outcome(invocation).json() == ["one", "ended"]


def test_killing_an_invocation_stops_its_step(endpoint: Endpoint, restate: RestateServer, name: str) -> None:
    engine = Engine("bidi", restate.ingress, restate.admin)
    invocation = engine.send("/Work/interrupted", name)
    wait_until(lambda: touched(f"{name}-running") == 1)
    engine.patch(invocation, "kill")
    wait_until(lambda: touched(f"{name}-stopped") == 1)
    assert engine.outcome(invocation).status_code == 409


def test_paused_when_the_policy_says_so_and_resumed_by_hand(
    restate: RestateServer, touch_directory: Path, tmp_path: Path, name: str
) -> None:
    environment = {"PERDURE_TEST_DIR": str(touch_directory)}
    endpoint = Endpoint("tests.endpoint.services:paused", tmp_path / "output", environment)
    endpoint.start()
    try:
        endpoint.wait_ready()
        restate.register(endpoint.url)
        engine = Engine("bidi", restate.ingress, restate.admin)
        invocation = engine.send("/Work/fails_until_fixed", name)
        wait_until(lambda: restate.status(invocation) == "paused")
        assert "there is a bug here" in restate.events(invocation)
        endpoint.kill()
        endpoint.start(FIXED="1")
        endpoint.wait_ready()
        engine.resume(invocation)
        assert engine.outcome(invocation).json() == 1
    finally:
        endpoint.kill()


def test_inactivity_suspends_and_what_is_awaited_resumes(
    restate: RestateServer, touch_directory: Path, tmp_path: Path, name: str
) -> None:
    environment = {"PERDURE_TEST_DIR": str(touch_directory)}
    endpoint = Endpoint("tests.endpoint.services:hasty", tmp_path / "output", environment)
    endpoint.start()
    try:
        endpoint.wait_ready()
        restate.register(endpoint.url)
        engine = Engine("bidi", restate.ingress, restate.admin)
        invocation = engine.send(f"/Cell/{name}/awaits", 2)
        wait_until(lambda: restate.status(invocation) == "suspended")
        first, second = engine.answer(f"/Cell/{name}/ids")  # type: ignore[misc]
        engine.http.post(f"/restate/awakeables/{second}/resolve", json=2)
        engine.http.post(f"/restate/awakeables/{first}/resolve", json=1)
        assert engine.outcome(invocation).json() == [1, 2]
        assert engine.answer("/Work/order", name)
        assert engine.answer("/Work/timeouts") == ["timeout", "wait_for", "['fast'] 1", "8", "1", "0", "b"]
    finally:
        endpoint.kill()


def test_kill_9_of_the_server(touch_directory: Path, tmp_path: Path, name: str) -> None:
    server = RestateServer(require("restate-server"), tmp_path / "data")
    endpoint = Endpoint(APP, tmp_path / "output", {"PERDURE_TEST_DIR": str(touch_directory)})
    server.start()
    endpoint.start()
    try:
        server.wait_ready()
        endpoint.wait_ready()
        server.register(endpoint.url)
        engine = Engine("bidi", server.ingress, server.admin)
        invocation = engine.send("/Work/survives", name)
        wait_until(lambda: touched(f"{name}-one-waiting") == 1)
        server.kill()
        server.start()
        server.wait_ready()
        wait_until(lambda: touched(f"{name}-one-waiting") == 2)
        touch(f"{name}-one-released")
        assert engine.outcome(invocation).json() == [1, 1, 1]
    finally:
        endpoint.kill()
        server.kill()
