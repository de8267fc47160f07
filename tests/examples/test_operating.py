"""Operating: what the README of the example says, command by command, with a kill -9 in the middle."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure.testing.process import ServerProcess

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
README = (ROOT / "examples" / "operating" / "README.md").read_text()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    cards = {"CARDS": str(tmp_path / "cards")}
    server = ServerProcess(["examples.operating.app:app"], tmp_path / "data", directory=ROOT, environment=cards)
    server.start()
    server.wait_ready()
    yield server
    if server.running:
        server.kill()


def perdure(server: ServerProcess, line: str) -> str:
    """A command of the README, ids filled in."""
    words = [word.strip("'") for word in line.split()]
    assert words[0] == "perdure"
    url = f"http://127.0.0.1:{server.admin_port}"
    result = subprocess.run(
        [sys.executable, "-m", *words, "--admin-url", url], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def until(server: ServerProcess, invocation_id: str, status: str, kind: str = "") -> Any:
    deadline = time.monotonic() + 20
    while True:
        shown = json.loads(perdure(server, f"perdure invocations describe {invocation_id} --json"))
        if shown["status"] == status or kind in [wait["kind"] for wait in shown["waits_for"]]:
            return shown
        assert time.monotonic() < deadline, shown
        time.sleep(0.05)


def send(server: ServerProcess, order: str, amount: int) -> str:
    answer: Any = server.ingress().try_once("POST", f"/Order/{order}/place/send", amount).json()
    return str(answer["invocationId"])


def test_the_commands_of_the_readme(server: ServerProcess, tmp_path: Path) -> None:
    commands = re.findall(r"^    (perdure (?:services|invocations|state).*)$", README, re.MULTILINE)
    services, listing, describe, resume, state, signal, attach, restart, pause, cancel, kill, *rest = commands
    put, clear, purge = rest
    assert "Order" in perdure(server, services)
    first, second = send(server, "1", 500), send(server, "2", 20)
    until(server, first, "-", "signal")
    until(server, second, "paused")
    listed = perdure(server, listing)
    assert first in listed and second in listed
    assert "the payment service is down" in perdure(server, describe.replace("ID", second))

    (tmp_path / "cards").mkdir()
    assert perdure(server, resume) == f"{second}  goes on\n"
    until(server, second, "completed")
    assert '"paid"' in perdure(server, state)

    server.kill()
    server.start()
    server.wait_ready()

    until(server, first, "-", "signal")
    perdure(server, signal.replace("ID", first))
    assert perdure(server, attach.replace("ID", first)) == '"order 1: 500 paid"\n'
    assert (tmp_path / "cards" / "charges").read_text() == "2 20\n1 500\n"
    _, again = perdure(server, restart.replace("ID", second)).split()
    moments = until(server, again, "completed")["timeline"]
    assert [moment["subject"] for moment in moments if moment["what"] == "run"] == ["reserve", "charge"]

    third, fourth = send(server, "3", 500), send(server, "4", 500)
    until(server, third, "-", "signal")
    perdure(server, pause.replace("ID", third))
    until(server, third, "paused")
    assert "was asked to end" in perdure(server, cancel.replace("ID", third))
    assert until(server, third, "completed")["result"]["code"] == 409
    until(server, fourth, "-", "signal")
    assert perdure(server, kill.replace("ID", fourth)) == f"{fourth}  killed\n"

    perdure(server, put)
    assert '"lost"' in perdure(server, "perdure state get Order 3")
    perdure(server, clear)
    assert "has no state" in perdure(server, "perdure state get Order 3")
    assert len(perdure(server, purge).splitlines()) == 5
    assert json.loads(perdure(server, "perdure invocations list --json"))["invocations"] == []
