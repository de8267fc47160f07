"""A web application under uvicorn, in a process of its own, to be called and killed."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perdure.testing.process import Answer, Caller, free_ports

ROOT = Path(__file__).parents[2]


class WebProcess:
    """Keeps its port from one start to the next."""

    def __init__(self, application: str, environment: dict[str, str]) -> None:
        (self.port,) = free_ports(1)
        self._command = [sys.executable, "-m", "uvicorn", application, "--port", str(self.port)]
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Caller:
        self._process = subprocess.Popen(self._command, cwd=ROOT, env=self._environment)
        caller = Caller(self.port, timeout_s=30)
        deadline = time.monotonic() + 30
        while True:
            try:
                if caller.try_once("GET", "/durable/restate/health").status == 200:
                    return caller
            except (OSError, http.client.HTTPException):
                assert self._process.poll() is None, "the application ended"
                assert time.monotonic() < deadline, "the application does not answer"
                time.sleep(0.02)

    def end(self, how: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(how)
        return self._process.wait(30)


@contextmanager
def web(application: str, **environment: str) -> Iterator[WebProcess]:
    process = WebProcess(application, environment)
    try:
        yield process
    finally:
        process.end(signal.SIGKILL)


def said(answer: Answer) -> tuple[int, object]:
    return answer.status, answer.json()
