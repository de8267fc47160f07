"""A service of the official Python SDK in a process of its own, on hypercorn: for tests that look from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from perdure.testing.process import NoAnswer, ServerDied

READY_S = 60.0


class SdkWorker:
    """`code` is a program that has an ASGI application `app`. It keeps its port from one start to the next."""

    def __init__(self, directory: Path, code: str, port: int, *, name: str = "worker") -> None:
        self.uri = f"http://127.0.0.1:{port}"
        self._directory = directory
        self._name = name
        self._process: subprocess.Popen[bytes] | None = None
        self.change(code)

    def change(self, code: str) -> None:
        """Another program for the next start."""
        (self._directory / f"{self._name}.py").write_text(code)

    def start(self) -> None:
        output = (self._directory / f"{self._name}.output").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hypercorn", f"{self._name}:app", "-b", self.uri.removeprefix("http://")],
            cwd=self._directory,
            env={**os.environ, "PYTHONPATH": str(self._directory)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # hypercorn serves from a process of its own, which has to end with it
        )
        output.close()
        deadline = time.monotonic() + READY_S
        while not self._answers():
            if self._process.poll() is not None:
                raise ServerDied((self._directory / f"{self._name}.output").read_text(errors="replace"))
            if time.monotonic() > deadline:
                raise NoAnswer(f"{self.uri} does not answer after {READY_S} s")
            time.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.uri}/restate/health", timeout=5).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True
