"""What the ingress costs: CPU of the server per call, and calls per second, over 64 kept-alive connections.

    python -m benchmarks.ingress [--seconds 5] [--connections 64]

Each row is a server process of its own, asked by this one. `uvicorn` answers with the same bytes and does nothing else:
what the ingress adds is the difference to it. `echo engine` answers calls at once from memory, so that the row is HTTP alone.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

import perdure
from perdure.http.asgi import App, Receive, Scope, Send, send_reply
from perdure.http.ingress.app import Ingress
from perdure.http.server import HttpServer
from perdure.node.callers import Waiter
from perdure.node.engine import Engine
from perdure.node.phase import Phase
from perdure.node.requests import NewInvocation, Outcome
from perdure.node.settings import EngineSettings

BODY = b'"hello, world"'
REQUEST = (
    b"POST /Echo/say HTTP/1.1\r\nhost: 127.0.0.1:8080\r\nuser-agent: bench\r\naccept: */*\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(BODY)
) + BODY
KINDS = ("uvicorn", "echo engine", "engine in memory", "engine on disk")

echo = perdure.Service("Echo")


@echo.handler()
async def say(ctx: perdure.Context, words: str) -> str:
    return words


class EchoEngine(Engine):
    """Answers at once with the body that came: what is left is HTTP."""

    async def start(self) -> None:
        self.phase = Phase.READY

    async def stop(self, *, grace_s: float = 10.0) -> None:
        self.phase = Phase.STOPPED

    takes_calls = True  # type: ignore[assignment]

    def begin_call(self, request: NewInvocation, done: Waiter) -> bytes:
        done(Outcome(b"\x12\x34\x56\x78\x9a\xbc\xde\xf0" * 3, request.body))
        return b""


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    message = await receive()
    headers = [
        (b"x-restate-id", b"inv_1kWHPJ8EdIa67slYDwAjggtZU5n9JnhLWN"),
        (b"vary", b"origin, access-control-request-method, access-control-request-headers"),
        (b"access-control-allow-credentials", b"true"),
        (b"content-type", b"application/json"),
    ]
    await send_reply(send, 200, headers, message["body"])


async def serve(kind: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory) / "data" if kind == "engine on disk" else None
        made = EchoEngine if kind == "echo engine" else Engine
        engine = made(EngineSettings(data=data, idempotency_retention_ms=0), perdure.app([echo]))
        app: App = bare if kind == "uvicorn" else Ingress(engine)
        server = HttpServer(app, "127.0.0.1", 0)
        _, port = await server.start()
        await engine.start()
        print(port, flush=True)
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            used = resource.getrusage(resource.RUSAGE_SELF)
            print(used.ru_utime, used.ru_stime, flush=True)
        await engine.stop()
        await server.stop(1)


class Caller(asyncio.Protocol):
    """One connection that asks again as soon as it has its answer."""

    def __init__(self) -> None:
        self.calls = 0
        self.slowest_s = 0.0
        self.latencies: list[float] = []
        self._received = b""
        self._asked_at = 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._ask()

    def _ask(self) -> None:
        self._asked_at = time.perf_counter()
        self.transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._received.endswith(BODY):
            return
        if not self._received.startswith(b"HTTP/1.1 200"):
            raise SystemExit(self._received.decode())
        self._received = b""
        self.calls += 1
        self.latencies.append(time.perf_counter() - self._asked_at)
        self._ask()


async def measure(kind: str, seconds: float, connections: int) -> None:
    command = [sys.executable, "-m", "benchmarks.ingress", "--serve", kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin and server.stdout
        port = int(server.stdout.readline())

        def cpu_s() -> tuple[float, float]:
            assert server.stdin and server.stdout
            server.stdin.write("\n")
            server.stdin.flush()
            user, system = server.stdout.readline().split()
            return float(user), float(system)

        loop = asyncio.get_running_loop()
        callers = [(await loop.create_connection(Caller, "127.0.0.1", port))[1] for _ in range(connections)]
        await asyncio.sleep(0.5)
        before, user_before, began = sum(each.calls for each in callers), cpu_s(), time.perf_counter()
        for each in callers:
            each.latencies.clear()
        await asyncio.sleep(seconds)
        calls, user_after, took = sum(each.calls for each in callers) - before, cpu_s(), time.perf_counter() - began
        latencies = sorted(latency for each in callers for latency in each.latencies)
        for each in callers:
            each.transport.abort()
        server.stdin.close()
    user, system = ((after - b) / calls * 1e6 for after, b in zip(user_after, user_before, strict=True))
    p50, p99 = latencies[len(latencies) // 2] * 1000, latencies[len(latencies) * 99 // 100] * 1000
    print(
        f"{kind:18} {calls / took:8.0f} calls/s   {user:5.1f} us user + {system:4.1f} us system   {p50:5.2f} / {p99:5.2f} ms"
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=5)
    options.add_argument("--connections", type=int, default=64)
    options.add_argument("--kind", choices=KINDS)
    options.add_argument("--serve", choices=KINDS, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.serve:
        sys.setswitchinterval(0.0005)
        uvloop.run(serve(given.serve))
        return
    print(f"{'server':18} {'':16}   CPU of the server per call          p50 / p99 latency")
    for kind in KINDS if given.kind is None else (given.kind,):
        uvloop.run(measure(kind, given.seconds, given.connections))


if __name__ == "__main__":
    main()
