"""`perdure endpoint` as its users see it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.components import ROOT
from tests.endpoint.restate_server import Endpoint, ask

pytestmark = pytest.mark.slow
APP = "tests.endpoint.services:app"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "perdure", "endpoint", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_what_cannot_be_served_is_refused() -> None:
    missing = run("tests.endpoint.services:missing")
    assert missing.returncode == 1 and "PD0504" in missing.stderr
    assert run().returncode == 2
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = run(APP, "--port", port)
    assert refused.returncode == 1 and f"cannot listen on 127.0.0.1:{port}" in refused.stderr


def test_without_the_extra_it_says_what_to_install() -> None:
    hide = "import sys; sys.modules['restate'] = None; from perdure.cli import main; main()"
    command = [sys.executable, "-c", hide, "endpoint", APP]
    missing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert missing.returncode == 1
    assert "PD0419" in missing.stderr and "perdure[restate]" in missing.stderr


def test_it_says_where_it_listens_and_stops_in_order(tmp_path: Path) -> None:
    endpoint = Endpoint(APP, tmp_path / "output", {})
    endpoint.start()
    try:
        endpoint.wait_ready()
        assert ask(f"{endpoint.url}/health") == (200, b'{"status":"ok"}')
        endpoint.signal(signal.SIGTERM)
        assert endpoint.wait() == 0
        assert f"perdure endpoint: {endpoint.url}" in endpoint.output.read_text()
    finally:
        endpoint.signal(signal.SIGKILL)
