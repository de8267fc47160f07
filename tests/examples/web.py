"""A web application under uvicorn, in a process of its own, to be called and killed."""

from __future__ import annotations

import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from perdure.testing.process import Answer, Caller

ROOT = Path(__file__).parents[2]


class WebProcess:
    """Keeps its port from one start to the next."""

    def __init__(self, application: str, environment: dict[str, str]) -> None:
        self.port = free_port()
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


def free_port() -> int:
    """One below those that the system gives to outgoing connections, which could take it while the server is down."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                trial.bind(("127.0.0.1", port))
                return port


@contextmanager
def web(application: str, **environment: str) -> Iterator[WebProcess]:
    process = WebProcess(application, environment)
    try:
        yield process
    finally:
        process.end(signal.SIGKILL)


def said(answer: Answer) -> tuple[int, object]:
    return answer.status, answer.json()
