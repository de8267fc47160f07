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
    # The step that ran has been recorded, and its attempt suspended: nothing failed, nothing is retried.
    row = next(row for row in restate.sql("select * from sys_invocation") if row["id"] == sleeper)
    assert (row["status"], row.get("retry_count")) in (("suspended", None), ("suspended", 0), ("suspended", 1)), row
    endpoint.start()
    endpoint.wait_ready()
    assert engine.outcome(invocation).json() == [1, 1, 1]
    assert touched(f"{name}-one-waiting") == 1
    engine.cancel(sleeper)
    assert engine.outcome(sleeper).status_code == 409


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
