"""The engines that the same handlers run on: perdure, and a real restate-server with the handlers as its deployment.

One server for a worker of the tests; the handlers are registered anew for each way of serving them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from perdure.testing.harness import test_harness
from tests.components import require
from tests.endpoint import services
from tests.endpoint.restate_server import RestateServer, Served, register

APP = "tests.endpoint.services:app"


@pytest.fixture(scope="session")
def touch_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("touched")
    os.environ["PERDURE_TEST_DIR"] = str(directory)
    yield directory
    del os.environ["PERDURE_TEST_DIR"]


@pytest.fixture(scope="session")
def restate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestateServer]:
    server = RestateServer(require("restate-server"), tmp_path_factory.mktemp("restate") / "data")
    server.start()
    try:
        server.wait_ready()
        yield server
    finally:
        server.kill()


class Engine:
    """Where calls go. `name` says which engine answers them, and how the handlers are served to it."""

    def __init__(self, name: str, ingress: str, admin: str) -> None:
        self.name = name
        self.admin = admin
        self.http = httpx.Client(base_url=ingress, timeout=20)

    def call(self, path: str, body: object = None, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is None:
            return self.http.post(path, headers=named)
        return self.http.post(path, json=body, headers=named)

    def answer(self, path: str, body: object = None) -> object:
        response = self.call(path, body)
        assert response.status_code == 200, response.text
        return response.json() if response.content else None

    def send(self, path: str, body: object = None) -> str:
        response = self.call(f"{path}/send", body)
        assert response.status_code in (200, 202), response.text
        sent: str = response.json()["invocationId"]
        return sent

    def cancel(self, invocation_id: str) -> None:
        self.patch(invocation_id, "cancel")

    def resume(self, invocation_id: str) -> None:
        """Of a paused one; one that is about to be tried again goes on by itself (409)."""
        response = httpx.patch(f"{self.admin}/invocations/{invocation_id}/resume")
        assert response.status_code in (200, 202, 409), response.text

    def patch(self, invocation_id: str, what: str) -> None:
        response = httpx.patch(f"{self.admin}/invocations/{invocation_id}/{what}")
        assert response.status_code in (200, 202), response.text

    def sql(self, query: str) -> list[dict[str, Any]]:
        answer = httpx.post(
            f"{self.admin}/query", json={"query": query}, headers={"accept": "application/json"}, timeout=60
        )
        assert answer.status_code == 200, answer.text
        rows: list[dict[str, Any]] = answer.json()["rows"]
        return rows

    def outcome(self, invocation_id: str) -> httpx.Response:
        return self.http.get(f"/restate/invocation/{invocation_id}/attach")


HOW = {
    "bidi": ("perdure", "endpoint", APP, "--port", "PORT"),
    "request_response": ("perdure", "endpoint", APP, "--port", "PORT"),
    "uvicorn": ("uvicorn", APP, "--port", "PORT", "--log-level", "warning"),
    "lambda": ("tests.endpoint.lambda_bridge", "PORT"),
    "perdure_remote": ("perdure", "endpoint", APP, "--port", "PORT"),
}
"""How the handlers are served to a server; the last one's server is perdure, in Restate's place."""


@pytest.fixture(scope="module", params=["perdure", *HOW])
def engine(
    request: pytest.FixtureRequest, touch_directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    if request.param == "perdure":
        with test_harness(services.app) as server:
            yield Engine("perdure", server.ingress_url, server.admin_api_url)
        return
    output = tmp_path_factory.mktemp("endpoint") / "output"
    served = Served(HOW[request.param], output, {"PERDURE_TEST_DIR": str(touch_directory)})
    served.start()
    try:
        served.wait_ready()
        if request.param == "perdure_remote":
            with test_harness([]) as server:
                register(server.admin_api_url, served.url)
                yield Engine(request.param, server.ingress_url, server.admin_api_url)
        else:
            restate: RestateServer = request.getfixturevalue("restate")
            restate.register(served.url, http_1=request.param != "bidi")
            yield Engine(request.param, restate.ingress, restate.admin)
    finally:
        served.kill()
