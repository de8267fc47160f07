"""A service of the official Python SDK in a process of its own, on hypercorn: for tests that look from outside."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from pathlib import Path

from tests.processes import Process, wait_until


class SdkWorker(Process):
    """`code` is a program that has an ASGI application `app`. It keeps its port from one start to the next."""

    def __init__(self, directory: Path, code: str, port: int, *, name: str = "worker") -> None:
        self.uri = f"http://127.0.0.1:{port}"
        self._program = directory / f"{name}.py"
        self.change(code)
        super().__init__(
            [sys.executable, "-m", "hypercorn", f"{name}:app", "-b", f"127.0.0.1:{port}"],
            directory / f"{name}.output",
            {"PYTHONPATH": str(directory)},
            directory=directory,
            own_session=True,  # hypercorn serves from a process of its own
        )

    def change(self, code: str) -> None:
        """Another program for the next start."""
        self._program.write_text(code)

    def start(self, **environment: str) -> None:
        """Until it answers."""
        super().start(**environment)
        wait_until(self._answers, self.check_alive)

    def stop(self) -> None:
        if self.running:
            self.kill()

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.uri}/restate/health", timeout=5).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True
