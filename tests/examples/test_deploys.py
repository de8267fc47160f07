"""Deploys: a parcel waits, the server is killed, the gate judges new code, and the parcel goes on under it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from perdure.testing.process import ServerProcess

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def serve(version: str, tmp_path: Path) -> ServerProcess:
    server = ServerProcess([f"examples.deploys.{version}:app"], tmp_path / "data", directory=ROOT)
    server.start()
    server.wait_ready()
    return server


def perdure(*words: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "perdure", *words]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == code, result.stdout + result.stderr
    return result.stdout


def url(server: ServerProcess) -> str:
    return f"http://127.0.0.1:{server.admin_port}"


def until(server: ServerProcess, parcel: str, kind: str) -> Any:
    deadline = time.monotonic() + 30
    while True:
        shown = json.loads(perdure("invocations", "describe", parcel, "--json", "--admin-url", url(server)))
        if [wait["kind"] for wait in shown["waits_for"]] == [kind]:
            return shown
        assert time.monotonic() < deadline, shown["waits_for"]


def ship(server: ServerProcess) -> str:
    parcel = server.ingress().until_answered("POST", "/Parcel/7/ship/send", "a chair").invocation_id
    until(server, parcel, "signal")
    return parcel


def finish(server: ServerProcess, parcel: str) -> object:
    perdure("invocations", "signal", parcel, "paid", "--admin-url", url(server))
    return server.ingress().until_answered("GET", f"/restate/invocation/{parcel}/attach").json()


EXPECTED = ["reserved a chair", "sent a chair", "thanked for a chair"]


def test_the_gate_judges_and_the_better_code_goes_on(tmp_path: Path) -> None:
    server = serve("first", tmp_path)
    parcel = ship(server)
    server.kill()
    data = str(tmp_path / "data")
    said = perdure("replay", "examples.deploys.broken:app", "--data", data, code=1)
    assert "BREAKS" in said and parcel in said
    assert 'the journal says run "reserve" (in this code at ' in said
    assert 'broken.py:13), the code now issues run "check address"' in said
    assert "1 would break" not in perdure("replay", "examples.deploys.better:app", "--data", data)
    server = serve("better", tmp_path)
    try:
        until(server, parcel, "signal")
        assert finish(server, parcel) == EXPECTED, "what was reserved is not reserved again"
    finally:
        server.kill()


def test_a_broken_deploy_pauses_and_loses_nothing(tmp_path: Path) -> None:
    server = serve("first", tmp_path)
    parcel = ship(server)
    server.kill()
    server = serve("broken", tmp_path)
    perdure("invocations", "signal", parcel, "paid", "--admin-url", url(server))
    shown = until(server, parcel, "person")
    assert shown["status"] == "paused" and "journal mismatch at command 1" in shown["last_error"]["message"]
    server.kill()
    server = serve("better", tmp_path)
    try:
        perdure("invocations", "resume", parcel, "--admin-url", url(server))
        assert server.ingress().until_answered("GET", f"/restate/invocation/{parcel}/attach").json() == EXPECTED
    finally:
        server.kill()
