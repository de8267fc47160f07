"""A real `perdure serve` process for the benchmarks."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serve(data: Path, ingress: int, admin: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "perdure", "serve", "benchmarks.services:app", "--data", str(data)]
    command += ["--ingress", f"127.0.0.1:{ingress}", "--admin", f"127.0.0.1:{admin}"]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def seconds_to_first_answer(ingress: int, began: float) -> float:
    """From `began` to the first answered call."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{ingress}/bench/echo", b"{}", {"content-type": "application/json"}, method="POST"
    )
    while time.perf_counter() - began < 60:
        with contextlib.suppress(OSError):
            with urllib.request.urlopen(request, timeout=30) as answer:
                answer.read()
            return time.perf_counter() - began
        time.sleep(0.002)
    raise TimeoutError("the server did not answer within 60 s")
