"""The official `restate` command line, every command that asks a server, against a real one of ours and a real service."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure.model.ids import parse_invocation_id, parse_ulid
from perdure.testing.process import ServerProcess, free_ports
from tests.components import require
from tests.sdk_worker import SdkWorker

pytestmark = pytest.mark.slow

CODE = """
import restate
from datetime import timedelta

shop = restate.Service("Shop")
door = restate.VirtualObject("Door")
POLICY = restate.InvocationRetryPolicy(
    initial_interval=timedelta(milliseconds=10), max_attempts=2, on_max_attempts="pause"
)

@shop.handler()
async def greet(ctx: restate.Context, name: str) -> str:
    return "hello " + name

@shop.handler()
async def wait(ctx: restate.Context) -> None:
    await ctx.run_typed("begin", lambda: "begun")
    await ctx.sleep(timedelta(hours=1))

@shop.handler(invocation_retry_policy=POLICY)
async def broken(ctx: restate.Context) -> None:
    raise ValueError("out of paint")

@door.handler()
async def open(ctx: restate.ObjectContext, who: str) -> str:
    ctx.set("who", who)
    ctx.set("n", 7)
    return who

@door.handler()
async def hold(ctx: restate.ObjectContext) -> None:
    await ctx.sleep(timedelta(hours=1))

app = restate.app([shop, door])
"""


class Terminal:
    """A server, a service, and somebody who types commands."""

    def __init__(self, directory: Path) -> None:
        self.restate = require("restate")
        self.server = ServerProcess([], directory / "data")
        self.worker = SdkWorker(directory, CODE, free_ports(1)[0])
        self.admin_url = f"http://127.0.0.1:{self.server.admin_port}"
        self._environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(directory),
            "EDITOR": "true",
            "RESTATE_ADMIN_URL": self.admin_url,
            "RESTATE_CLI_CONFIG_HOME": str(directory / "config"),
        }

    def run(self, *arguments: str, code: int = 0) -> str:
        """What it says, on both streams."""
        result = subprocess.run(
            [str(self.restate), *arguments], env=self._environment, capture_output=True, text=True, timeout=60
        )
        assert result.returncode == code, f"{arguments}: {result.returncode}\n{result.stdout}\n{result.stderr}"
        return result.stdout + result.stderr

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.admin_url}{path}") as answer:
            return json.load(answer)

    def send(self, path: str, body: object = None) -> str:
        sent = self.server.ingress().try_once("POST", f"{path}/send", body)
        assert sent.status == 202
        return sent.invocation_id

    def call(self, path: str, body: object) -> str:
        answer = self.server.ingress().try_once("POST", path, body)
        assert answer.status == 200
        return answer.invocation_id

    def until(self, invocation_id: str, *statuses: str) -> Any:
        deadline = time.monotonic() + 30
        while (shown := self.get(f"/perdure/invocations/{invocation_id}"))["status"] not in statuses:
            assert time.monotonic() < deadline, shown
            time.sleep(0.01)
        return shown


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """Nothing is registered."""
    terminal = Terminal(tmp_path_factory.mktemp("restate-cli"))
    terminal.server.start()
    terminal.worker.start()
    terminal.server.wait_ready()
    yield terminal
    terminal.worker.stop()
    terminal.server.kill()


@pytest.fixture
def terminal(plain: Terminal) -> Terminal:
    """The service is registered."""
    plain.run("deployments", "register", plain.worker.uri, "--yes")
    return plain


def test_whoami(plain: Terminal) -> None:
    said = plain.run("whoami")
    assert f"[OK]: Admin Service '{plain.admin_url}/' is healthy!" in said
    assert f"http://127.0.0.1:{plain.server.ingress_port}/" in said


def test_deployments(plain: Terminal) -> None:
    uri = plain.worker.uri
    first = plain.run("deployments", "register", uri, "--yes", "--metadata", "git=a1")
    assert "[OK]: DEPLOYMENT:" in first or "already exists" in first
    (deployment,) = plain.get("/deployments")["deployments"]
    deployment_id = deployment["id"]
    parse_ulid("dp", deployment_id)
    again = plain.run("deployments", "register", uri, "--yes")
    assert f"Deployment already exists with id {deployment_id}" in again
    forced = plain.run("deployments", "register", uri, "--yes", "--force")
    assert "SERVICES THAT WILL BE UPDATED" in forced and "already known to the server" in forced
    listed = plain.run("deployments", "list", "--extra")
    assert f"{uri}/" in listed and deployment_id in listed and "Active" in listed
    described = plain.run("deployments", "describe", deployment_id, "--extra")
    assert all(word in described for word in ("Bidirectional Stream", "restate-sdk-python/", "[5, 7]", "Door", "Shop"))
    assert "can use --force" in plain.run("deployments", "remove", deployment_id, "--yes", code=1)
    removed = plain.run("deployments", "remove", deployment_id, "--yes", "--force")
    assert f"[OK]: Deployment {deployment_id} removed successfully" in removed
    assert "No deployments were found!" in plain.run("deployments", "list")
    assert "does not exist" in plain.run("deployments", "describe", deployment_id, code=1)
    refused = plain.run("deployments", "register", "http://127.0.0.1:1", "--yes", code=1)
    assert "META0003" in refused and "500 Internal Server Error" in refused


def test_services(terminal: Terminal) -> None:
    listed = terminal.run("services", "list")
    assert "Door" in listed and "Shop" in listed and "[public]" in listed
    described = terminal.run("services", "describe", "Shop")
    assert all(word in described for word in ("Shop", "greet", "JSON string", terminal.worker.uri))
    shown = terminal.run("services", "config", "view", "Shop")
    assert "Idempotent requests retention:  1d" in shown and "Initial interval: 10ms" in " ".join(shown.split())
    terminal.run("services", "config", "patch", "Shop", "--journal-retention", "2h", "--abort-timeout", "5s", "--yes")
    service = terminal.get("/services/Shop")
    assert (service["journal_retention"], service["abort_timeout"]) == ("2h", "5s")
    assert "No changes requested" in terminal.run("services", "config", "edit", "Shop", "--yes")


def test_the_status_of_services(terminal: Terminal) -> None:
    holder = terminal.send("/Door/status/hold")
    queued = terminal.send("/Door/status/open", "Ann")
    terminal.until(holder, "running", "suspended")
    for arguments in ((), ("Door",)):
        said = terminal.run("services", "status", *arguments)
        assert "Active Keys" in said and holder in said and "status" in said
    terminal.run("invocations", "kill", holder, "--yes")
    terminal.until(queued, "completed")


def test_invocations_are_listed_and_described(terminal: Terminal) -> None:
    waiting = terminal.send("/Shop/wait")
    terminal.until(waiting, "running", "suspended")
    broken = terminal.send("/Shop/broken")
    terminal.until(broken, "paused")
    done = terminal.call("/Shop/greet", "Ann")
    listed = terminal.run("invocations", "list")
    assert waiting in listed and broken in listed and done not in listed
    assert done in terminal.run("invocations", "list", "--all")
    described = terminal.run("invocations", "describe", waiting)
    assert all(word in described for word in ("Command: Input", "Command: Run [begin]", "Command: Sleep until"))
    assert "paused" in terminal.run("invocations", "describe", broken)
    for each in (waiting, broken):
        terminal.run("invocations", "kill", each, "--yes")


def test_invocations_are_operated(terminal: Terminal) -> None:
    waiting, broken = terminal.send("/Shop/wait"), terminal.send("/Shop/broken")
    terminal.until(broken, "paused")
    terminal.until(waiting, "running", "suspended")
    assert "[OK]: Paused 1 invocations" in terminal.run("invocations", "pause", waiting, "--yes")
    terminal.until(waiting, "paused")
    assert "[OK]: Resumed 1 invocations" in terminal.run("invocations", "resume", waiting, "--yes")
    terminal.until(waiting, "running", "suspended")
    assert "[OK]: Cancelled 1 invocations" in terminal.run("invocations", "cancel", waiting, "--yes")
    assert terminal.until(waiting, "completed")["result"]["code"] == 409
    assert "[OK]: Resumed 1 invocations" in terminal.run("invocations", "resume", broken, "--yes")
    assert "[OK]: Killed 1 invocations" in terminal.run("invocations", "kill", "Shop/broken", "--yes")
    assert terminal.until(broken, "completed")["result"]["message"] == "killed"
    done = terminal.call("/Shop/greet", "Ann")
    said = terminal.run("invocations", "restart-as-new", done, "--yes")
    assert "[OK]: Restarted 1 invocations" in said
    new = next(word for word in said.split() if word.startswith("inv_") and word != done)
    parse_invocation_id(new)
    terminal.until(new, "completed")
    assert "[OK]: Purged 1 invocations" in terminal.run("invocations", "purge", done, "--yes")
    assert "found" in terminal.run("invocations", "describe", done, code=1)


def test_state(terminal: Terminal) -> None:
    terminal.call("/Door/k/open", "Bob")

    def state() -> Any:
        return json.loads(terminal.run("state", "get", "Door", "k", "--plain"))

    assert state() == {"who": "Bob", "n": 7}
    assert '"Bob"' in terminal.run("kv", "get", "Door", "k")
    assert "Successfully submitted" in terminal.run("state", "edit", "Door", "k", "--yes")
    patch = json.dumps([{"op": "replace", "path": "/n", "value": 9}])
    assert "Successfully submitted" in terminal.run("state", "patch", "Door", "k", "--patch", patch, "--yes")
    assert state() == {"who": "Bob", "n": 9}
    assert "Enqueued successfully" in terminal.run("state", "clear", "Door/k", "--yes")
    assert state() == {}


def test_sql(terminal: Terminal) -> None:
    done = terminal.call("/Shop/greet", "Ann")
    table = terminal.run("sql", f"select id, target, status from sys_invocation where id = '{done}'")
    assert done in table and "Shop/greet" in table and "completed" in table
    rows = terminal.run("sql", f"select count(*) c from sys_invocation where id = '{done}'", "--json")
    assert '[{"c":1}]' in rows


def test_what_this_server_has_not_is_said(terminal: Terminal) -> None:
    assert "No subscriptions registered." in terminal.run("subscriptions", "list")
    assert "No Kafka clusters registered." in terminal.run("kafka-clusters", "list")
    assert "No rules defined." in terminal.run("rules", "list")
    assert "No virtual queues found." in terminal.run("vqueues", "list")
    refused = terminal.run("subscriptions", "create", "--yes", "kafka://c/t", "service://Shop/greet", code=1)
    assert "Kafka cluster 'c' not found" in refused
    refused = terminal.run("kafka-clusters", "create", "--yes", "c", "bootstrap.servers=broker:9092", code=1)
    assert "this server reads no Kafka topics" in refused
    refused = terminal.run("rules", "set", "*", "--concurrency", "5", "--yes", code=1)
    assert "this server has no rules for concurrency" in refused
