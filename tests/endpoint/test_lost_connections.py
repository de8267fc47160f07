"""Connections between the server and the endpoint that break at any byte never change what comes out (req 4.31).

A failure prints its seed; LOST_SEED repeats the points at which connections break.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.endpoint.conftest import Engine
from tests.endpoint.restate_server import Endpoint, RestateServer
from tests.endpoint.services import touched

pytestmark = pytest.mark.slow


class BreakingProxy:
    """Passes bytes on in both directions, and breaks each connection after a number of them that it draws."""

    def __init__(self, to: str, seed: int) -> None:
        self.url = ""
        self.broken = 0
        self.breaking = False
        self._port = int(to.rpartition(":")[2])
        self._random = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()

    def start(self) -> None:
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._connection, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = [300 + int(self._random.expovariate(1 / 10_000))]
        try:
            onward, back = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(self._pass(reader, back, left), self._pass(onward, writer, left))
        for each in (writer, back):
            each.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: list[int]) -> None:
        try:
            while data := await reader.read(4096):
                if self.breaking and len(data) >= left[0]:
                    writer.write(data[: left[0]])  # in the middle of a frame
                    self.broken += 1
                    break
                left[0] -= len(data)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            left[0] = 0
            writer.close()


@pytest.fixture
def seed() -> int:
    drawn = int(os.environ.get("LOST_SEED") or random.randrange(1 << 32))
    print(f"LOST_SEED={drawn}")
    return drawn


@pytest.fixture
def proxy(restate: RestateServer, touch_directory: Path, tmp_path: Path, seed: int) -> Iterator[BreakingProxy]:
    environment = {"PERDURE_TEST_DIR": str(touch_directory)}
    endpoint = Endpoint("tests.endpoint.services:patient", tmp_path / "output", environment)
    endpoint.start()
    proxy = BreakingProxy(endpoint.url, seed)
    try:
        endpoint.wait_ready()
        proxy.start()
        restate.register(proxy.url)
        proxy.breaking = True
        yield proxy
    finally:
        endpoint.kill()
        proxy.stop()


def test_answers_are_right_over_connections_that_break(proxy: BreakingProxy, restate: RestateServer) -> None:
    engine = Engine("bidi", restate.ingress, restate.admin)
    engine.http.timeout = 100
    rounds = 0
    while proxy.broken <= 12:
        rounds += 1
        assert rounds < 20, f"only {proxy.broken} connections broke"
        work_through(engine, uuid.uuid4().hex[:8])


def work_through(engine: Engine, run: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        orders = [pool.submit(engine.answer, "/Work/order", run) for _ in range(6)]
        steps = [pool.submit(engine.answer, "/Work/steps", 12) for _ in range(3)]
        adds = [pool.submit(engine.answer, f"/Cell/{run}/add", 1) for _ in range(20)]
        calls = [pool.submit(engine.answer, "/Work/calls", f"{run}-{number}") for number in range(3)]
        flaky = pool.submit(engine.answer, "/Work/flaky", f"{run}-flaky")
        expected = sorted(f"{letter}{number}" for letter in "abc" for number in range(6))
        assert [each.result() for each in orders] == [expected] * 6
        assert [each.result() for each in steps] == [[*range(0, 24, 2), 132]] * 3
        assert sorted(each.result() for each in adds) == list(range(1, 21))  # type: ignore[type-var]
        for each in calls:
            _, _, added, once, attached, known, _ = each.result()  # type: ignore[misc]
            assert (added, once[0] == once[1], attached, known) == ([1, 3, 6], True, 5, True)
        assert flaky.result() >= 3  # type: ignore[operator]
    assert touched(f"{run}-flaky") >= 3
