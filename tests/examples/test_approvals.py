"""Approvals: the script of the README waits across a SIGKILL of the server, the boss POSTs to the mailed address."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure.testing.process import Caller, ServerProcess
from tests.processes import wait_until

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    outbox = {"APPROVALS_OUTBOX": str(tmp_path / "outbox.txt")}
    server = ServerProcess(["examples.approvals.app:app"], tmp_path / "data", directory=ROOT, environment=outbox)
    server.start()
    server.wait_ready()
    yield server
    if server.running:
        server.kill()


def ask(server: ServerProcess, who: str, amount: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "examples.approvals.ask", f"http://127.0.0.1:{server.ingress_port}", who]
    return subprocess.Popen(
        [*command, str(amount)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def mailed(tmp_path: Path, count: int) -> list[str]:
    outbox = tmp_path / "outbox.txt"
    wait_until(lambda: outbox.exists() and len(outbox.read_text().splitlines()) >= count)
    return outbox.read_text().splitlines()


def until_it_waits(server: ServerProcess) -> None:
    """Before, the step that mails may not be recorded yet, and would run again after a kill."""
    admin = Caller(server.admin_port)

    def waits(invocation_id: str) -> bool:
        described: Any = admin.try_once("GET", f"/perdure/invocations/{invocation_id}").json()
        return [wait["kind"] for wait in described["waits_for"]] == ["awakeable"]

    def one_waits() -> bool:
        listed: Any = admin.try_once("GET", "/perdure/invocations?status=open").json()
        return any(waits(each["id"]) for each in listed["invocations"])

    wait_until(one_waits)


def post(url: str, body: bytes) -> int:
    with urllib.request.urlopen(urllib.request.Request(url, body, {"content-type": "application/json"})) as answer:
        return int(answer.status)


def test_an_answer_after_a_kill_reaches_the_script(server: ServerProcess, tmp_path: Path) -> None:
    asking = ask(server, "Ann", 500)
    [line] = mailed(tmp_path, 1)
    until_it_waits(server)
    server.kill()
    server.start()
    server.wait_ready()
    who, amount, url = line.split()
    assert (who, amount) == ("Ann", "500")
    assert url.startswith(f"http://127.0.0.1:{server.ingress_port}/restate/awakeables/sign_1")
    assert post(url, b'{"approved": true, "by": "Eve"}') == 202
    said, _ = asking.communicate(timeout=60)
    assert (asking.returncode, said) == (0, "500 paid to Ann, approved by Eve\n")
    assert len(mailed(tmp_path, 1)) == 1, "the mail went out once"


def test_a_refusal_is_the_typed_error_in_the_script(server: ServerProcess, tmp_path: Path) -> None:
    asking = ask(server, "Bob", 900)
    url = mailed(tmp_path, 1)[0].split()[2]
    post(url, b'{"approved": false, "by": "Eve"}')
    _, said = asking.communicate(timeout=60)
    assert (asking.returncode, said) == (1, "Eve keeps the 900\n")


def test_small_claims_wait_for_nobody(server: ServerProcess) -> None:
    asking = ask(server, "Ann", 20)
    assert asking.communicate(timeout=60)[0] == "20 paid to Ann\n"
