"""`perdure deployments` against a real server, and a server that registers deployments by itself when it starts."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure.testing.process import ServerProcess, free_ports
from tests.sdk_worker import SdkWorker

pytestmark = pytest.mark.slow

CODE = """
import restate
from datetime import timedelta

greeter = restate.Service("Greeter")

@greeter.handler()
async def greet(ctx: restate.Context, name: str) -> str:
    return f"hello {name}"

@greeter.handler()
async def wait(ctx: restate.Context) -> None:
    await ctx.run_typed("begin", lambda: None)
    await ctx.sleep(timedelta(hours=1))

app = restate.app([greeter])
"""


class Desk:
    """A plain server, a worker, and somebody at a terminal."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.server = ServerProcess([], directory / "data")
        self.worker = SdkWorker(directory, CODE, free_ports(1)[0])

    def run(self, *arguments: str, answer: str = "", code: int = 0) -> str:
        """What it printed; of a failure, what it said on stderr."""
        result = subprocess.run(
            [sys.executable, "-m", "perdure", "deployments", *arguments],
            env={"PATH": "/usr/bin:/bin", "PERDURE_ADMIN_URL": f"127.0.0.1:{self.server.admin_port}"},
            input=answer,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert result.returncode == code, f"{arguments}: {result.returncode}\n{result.stdout}{result.stderr}"
        return result.stdout if code == 0 else result.stderr

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    desk.server.start()
    desk.worker.start()
    desk.server.wait_ready()
    try:
        yield desk
    finally:
        desk.worker.stop()
        if desk.server.running:
            desk.server.kill()


def test_a_server_without_handlers_says_how_it_gets_some(desk: Desk) -> None:
    desk.run("register", desk.worker.uri, "-y")
    desk.server.stop()
    assert "no handlers yet: name an app" in desk.server.output_tail()
    desk.server.start()
    desk.server.wait_ready()
    desk.server.stop()
    assert desk.server.output_tail().count("no handlers yet") == 1


def test_a_deployment_from_its_registration_to_its_removal(desk: Desk) -> None:
    uri = desk.worker.uri
    assert desk.run("list") == "no deployments: register one with `perdure deployments register URL`\n"
    assert "Greeter" in desk.run("register", uri, "--dry-run")
    assert desk.json("list") == {"deployments": []}

    assert "Register this? [y/N]" in desk.run("register", uri, answer="n\n", code=1)
    assert desk.json("list") == {"deployments": []}

    said = desk.run("register", uri.removeprefix("http://"), "--metadata", "git=a1", answer="y\n")
    assert said.splitlines()[0].split() == ["service", "type", "revision", "handlers"]
    assert said.splitlines()[1].split() == ["Greeter", "Service", "1", "greet,", "wait"]
    deployment_id = said.splitlines()[-1].removeprefix("registered as ")
    assert desk.server.ingress().try_once("POST", "/Greeter/greet", "Ann").json() == "hello Ann"

    again = desk.run("register", uri, "-y")
    assert again == f"registered already as {deployment_id}, nothing was changed; --force writes it anew\n"
    assert desk.json("register", uri, "-y", "--force")["services"][0]["revision"] == 2

    heads, row = desk.run("list").splitlines()
    assert heads.split() == ["id", "address", "services", "status", "in", "flight", "created"]
    assert row.split()[:6] == [deployment_id, f"{uri}/", "Greeter", "2", "active", "0"]
    described = desk.run("describe", deployment_id)
    assert described.startswith(f"{deployment_id}  {uri}/\n")
    assert "  speaks: HTTP/2.0, streams\n" in described and "Greeter" in described
    assert desk.json("describe", deployment_id)["services"][0]["revision"] == 2

    assert "Remove" in desk.run("remove", deployment_id, answer="n\n", code=1)
    assert desk.run("remove", deployment_id, "-y") == f"removed {deployment_id}\n"
    assert desk.json("list") == {"deployments": []}
    assert "does not exist" in desk.run("describe", deployment_id, code=1)


def test_what_is_under_way_keeps_a_deployment(desk: Desk) -> None:
    deployment_id = desk.json("register", desk.worker.uri, "-y")["id"]
    sent = desk.server.ingress().try_once("POST", "/Greeter/wait/send")
    assert sent.status == 202
    deadline = time.monotonic() + 30
    while desk.json("list")["deployments"][0]["in_flight"] != 1:
        assert time.monotonic() < deadline
    refused = desk.run("remove", deployment_id, "-y", code=1)
    assert f"1 invocations are pinned to {deployment_id}" in refused
    assert [each["status"] for each in desk.json("list")["deployments"]] == ["active"]
    assert desk.run("remove", deployment_id, "-y", "--force") == f"removed {deployment_id}\n"


def test_refusals_are_told(desk: Desk) -> None:
    assert "META0003" in desk.run("register", "http://127.0.0.1:1", "-y", code=1)
    assert "not NAME=VALUE" in desk.run("register", desk.worker.uri, "--header", "x", code=2)
    assert "Invalid URL" in desk.run("remove", "dp_x", "-y", code=1)


def test_a_server_registers_what_it_is_told_at_its_start(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.server = ServerProcess(["--register", desk.worker.uri], tmp_path / "data")
    desk.server.start()
    try:
        desk.server.wait_ready()
        assert desk.json("list") == {"deployments": []}
        desk.worker.start()
        deadline = time.monotonic() + 60
        while not desk.json("list")["deployments"]:
            assert time.monotonic() < deadline, desk.server.output_tail()
        assert desk.server.ingress().try_once("POST", "/Greeter/greet", "Ann").json() == "hello Ann"
        desk.server.kill()
        desk.server.start()
        desk.server.wait_ready()
        assert [each["services"][0]["revision"] for each in desk.json("list")["deployments"]] == [1]
    finally:
        desk.worker.stop()
        desk.server.kill()
