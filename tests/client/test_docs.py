"""Every Python block of docs/clients.md and docs/drop-in.md runs, those over HTTP against a server of the page's own app."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from perdure.testing.process import ServerProcess

DOCS = Path(__file__).parents[2] / "docs"
FENCE = re.compile(r"^```python ?([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(name: str) -> list[tuple[str, str]]:
    """(what stands behind the language, code)"""
    return FENCE.findall((DOCS / name).read_text())


def write_files(directory: Path) -> None:
    for info, code in blocks("clients.md"):
        if info.startswith("file="):
            (directory / info.removeprefix("file=")).write_text(code)


def run(code: str, directory: Path, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=directory,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


PLAIN = [code for name in ("clients.md", "drop-in.md") for info, code in blocks(name) if info == ""]
OVER_HTTP = [code for info, code in blocks("clients.md") if info == "server"]


def test_there_are_some_of_each() -> None:
    assert len(PLAIN) >= 4 and len(OVER_HTTP) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("code", PLAIN)
def test_blocks_run(code: str, tmp_path: Path) -> None:
    write_files(tmp_path)
    run(code, tmp_path)


@pytest.mark.slow
def test_blocks_that_call_a_server_run(tmp_path: Path) -> None:
    write_files(tmp_path)
    server = ServerProcess(["shop:app"], tmp_path / "data", directory=tmp_path)
    server.start()
    try:
        server.wait_ready()
        for code in OVER_HTTP:
            run(
                code,
                tmp_path,
                INGRESS=f"http://127.0.0.1:{server.ingress_port}",
                ADMIN=f"http://127.0.0.1:{server.admin_port}",
            )
    finally:
        server.kill()
