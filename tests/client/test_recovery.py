"""A real server killed with SIGKILL under calls of a client: each runs once, and every caller gets its result."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import perdure
from perdure.testing.process import ServerProcess
from tests.client import killed_app as k

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_calls_survive_a_server_that_is_killed(tmp_path: Path) -> None:
    server = ServerProcess(["tests.client.killed_app:APP"], tmp_path / "data", directory=ROOT)
    server.start()
    await asyncio.to_thread(server.wait_ready)
    async with perdure.connect(f"http://127.0.0.1:{server.ingress_port}") as client:
        calls = [asyncio.ensure_future(client.object_call(k.hold, f"k{n}", n)) for n in range(5)]
        flow = asyncio.ensure_future(client.workflow_call(k.approve, "flow", "x"))
        while not all([await client.object_call(k.holding, f"k{n}") for n in range(5)]):
            pass
        while (approval := await client.workflow_call(k.asked, "flow")) is None:
            pass
        server.kill()
        await asyncio.sleep(0)
        assert not any(call.done() for call in [*calls, flow])
        server.start()
        for n in range(5):
            waiting = await client.object_call(k.holding, f"k{n}")
            assert waiting is not None
            await client.object_call(k.let_go, f"k{n}", waiting)
        await client.resolve_awakeable(approval, "yes")
        assert await asyncio.gather(*calls) == [f"held {n}" for n in range(5)]
        assert await flow == "x: yes"
        assert [await client.object_call(k.entered, f"k{n}") for n in range(5)] == [1] * 5
    server.stop()
