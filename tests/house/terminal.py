"""`Terminal`: shell blocks of the documents that need a server, typed as a reader would type them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import TracebackType

import pytest

from perdure.testing.process import ServerProcess


class Terminal:
    """`perdure serve` stands for a second window: it starts the server and goes on to the next line; `kill -9` kills it.
    Every other line runs in bash, against the ports of that server, and has to succeed: curl with a status below 400."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._server: ServerProcess | None = None

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._server is not None and self._server.running:
            self._server.kill()

    def type(self, block: str) -> None:
        for line in block.splitlines():
            if line.startswith("perdure serve "):
                self._serve(line.split()[2])
            elif line.startswith("kill -9 "):
                assert self._server is not None
                self._server.kill()
            elif line.strip():
                self._run(line)

    def _serve(self, app: str) -> None:
        if self._server is None:
            self._server = ServerProcess([app], self._directory / "perdure-data", directory=self._directory)
        self._server.start()
        self._server.wait_ready()

    def _run(self, line: str) -> None:
        if line.startswith("curl") and shutil.which("curl") is None:
            pytest.skip("there is no curl here")
        server = self._server
        assert server is not None, "a block is typed beside a server"
        (self._directory / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\n")
        line = line.replace("localhost:8080", f"127.0.0.1:{server.ingress_port}")
        line = line.replace("localhost:9070", f"127.0.0.1:{server.admin_port}")
        environment = {
            **os.environ,
            "CURL_HOME": str(self._directory),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PERDURE_ADMIN_URL": f"http://127.0.0.1:{server.admin_port}",
        }
        done = subprocess.run(
            ["bash", "-euc", line], cwd=self._directory, env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
