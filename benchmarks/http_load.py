"""A small load generator over raw sockets: closed loops of one POST, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import cast

from benchmarks.measure import median, percentile


class Loop(asyncio.Protocol):
    """One keep-alive connection that sends its request again as soon as the answer is there."""

    def __init__(self, request: bytes, end: float, finished: asyncio.Future[None]) -> None:
        self.request = request
        self.end = end
        self.finished = finished
        self.latencies: list[float] = []
        self.buffer = b""
        self.length = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._send()

    def _send(self) -> None:
        self.began = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"unexpected answer: {self.buffer[:300]!r}")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self.buffer = b""
        now = time.perf_counter()
        self.latencies.append(now - self.began)
        if now < self.end:
            self._send()
        elif not self.finished.done():
            self.finished.set_result(None)


async def load(port: int, path: str, body: bytes, clients: int, seconds: float) -> dict[str, float]:
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    loops = []
    for _ in range(clients):
        finished: asyncio.Future[None] = loop.create_future()
        _, protocol = await loop.create_connection(
            lambda finished=finished: Loop(head.encode() + body, began + seconds, finished), "127.0.0.1", port
        )
        loops.append(protocol)
    await asyncio.gather(*(protocol.finished for protocol in loops))
    took = time.perf_counter() - began
    latencies = [latency for protocol in loops for latency in protocol.latencies]
    return {
        "per_s": len(latencies) / took,
        "p50_ms": median(latencies) * 1e3,
        "p99_ms": percentile(latencies, 0.99) * 1e3,
    }


if __name__ == "__main__":
    import uvloop

    arguments = json.loads(sys.argv[1])
    arguments["body"] = arguments["body"].encode()
    print(json.dumps(uvloop.run(load(**arguments))))
