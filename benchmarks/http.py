"""Over HTTP: echo invocations with 1 and 64 connections, and the time from process start to the first answer."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import median
from benchmarks.server import free_port, seconds_to_first_answer, serve
from benchmarks.services import PAYLOAD


def _load(port: int, clients: int, seconds: float) -> dict[str, float]:
    arguments = {
        "port": port,
        "path": "/bench/echo",
        "body": json.dumps(PAYLOAD),
        "clients": clients,
        "seconds": seconds,
    }
    command = [sys.executable, "-m", "benchmarks.http_load", json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def echo(seconds: float = 10) -> None:
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=".") as directory:
        port = free_port()
        with serve(Path(directory), port, free_port()):
            seconds_to_first_answer(port, time.perf_counter())
            _load(port, 64, 1)
            for clients in (1, 64):
                figures = _load(port, clients, seconds)
                print(
                    f"HTTP echo, {clients} connection(s): {figures['per_s']:,.0f} invocations/s, "
                    f"p50 {figures['p50_ms']:.2f} ms, p99 {figures['p99_ms']:.2f} ms"
                )


def start(rounds: int = 7) -> None:
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=".") as directory:
        figures: dict[str, list[float]] = {"empty": [], "existing": []}
        for turn in range(rounds):
            for kind in figures:
                port = free_port()
                began = time.perf_counter()
                with serve(Path(directory) / str(turn), port, free_port()):
                    figures[kind].append(seconds_to_first_answer(port, began))
        for kind, seconds in figures.items():
            print(f"process start to first answered call, {kind} data: {median(seconds) * 1e3:.0f} ms")


if __name__ == "__main__":
    echo() if sys.argv[1] == "echo" else start()
