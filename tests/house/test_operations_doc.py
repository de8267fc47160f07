"""Every code block of docs/operations.md runs: the commands in their order against one real server, the program by itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from perdure.testing.process import ServerProcess

pytestmark = pytest.mark.slow
PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
BLOCKS = re.findall(r"^```(\w+)([^\n]*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_commands_run_one_after_the_other(tmp_path: Path) -> None:
    app, *rest = [code for language, _, code in BLOCKS if language == "python"]
    assert len(rest) == 1
    (tmp_path / "shop.py").write_text(app)
    server = ServerProcess(["shop:app"], tmp_path / "data", directory=tmp_path)
    server.start()
    try:
        server.wait_ready()
        large, small = place(server, "7", 500), place(server, "8", 20)
        until(server, small, "paused")
        (tmp_path / "bank").touch()
        done = place(server, "9", 1)
        until(server, done, "completed")
        variables = {"ID": large, "DONE": done, "PERDURE_ADMIN_URL": f"http://127.0.0.1:{server.admin_port}"}
        blocks = [code for language, when, code in BLOCKS if language == "sh" and not when]
        for block in blocks:
            if "pause --service" in block:
                place(server, "10", 500)
                until(server, place(server, "11", 500), "running")
            run(block, variables, tmp_path)
        assert len(blocks) == 9
        kept = place(server, "12", 1)
        until(server, kept, "completed")
        server.stop()
        back_up_and_restore(kept, tmp_path)
    finally:
        if server.running:
            server.kill()


def back_up_and_restore(kept: str, directory: Path) -> None:
    (block,) = [code for _, when, code in BLOCKS if when == " stopped"]
    run(block, {"DATA": "data", "BACKUP": "backup"}, directory)
    restored = ServerProcess(["shop:app"], directory / "backup", directory=directory)
    restored.start()
    try:
        restored.wait_ready()
        until(restored, kept, "completed")
    finally:
        restored.kill()


def run(block: str, variables: dict[str, str], directory: Path) -> None:
    commands = f'perdure() {{ "{sys.executable}" -m perdure "$@"; }}\nset -eu\n{block}'
    environment = {**os.environ, **variables}
    result = subprocess.run(
        ["bash", "-c", commands], cwd=directory, env=environment, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, f"{block}\n{result.stdout}\n{result.stderr}"


def place(server: ServerProcess, order: str, amount: int) -> str:
    answer: Any = server.ingress().try_once("POST", f"/Order/{order}/place/send", amount).json()
    return str(answer["invocationId"])


def until(server: ServerProcess, invocation_id: str, status: str) -> None:
    caller = server.ingress()
    caller.port = server.admin_port
    deadline = time.monotonic() + 20
    while True:
        shown: Any = caller.try_once("GET", f"/perdure/invocations/{invocation_id}").json()
        if shown["status"] == status:
            return
        assert time.monotonic() < deadline, shown
        time.sleep(0.02)


def test_the_program_runs(tmp_path: Path) -> None:
    program = [code for language, _, code in BLOCKS if language == "python"][-1]
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0].startswith("paused ['somebody who resumes")
    assert result.stdout.splitlines()[1] == "come in"
