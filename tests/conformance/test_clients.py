"""The official ingress clients, in TypeScript and in Python, against the same services."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import timedelta

import pytest
import restate

from tests.components import require

from . import services
from .conftest import HERE, World

pytestmark = pytest.mark.slow


def test_the_typescript_client(world: World, key: str) -> None:
    ran = subprocess.run(
        [str(require("node")), str(HERE / "clients.mjs"), str(world.ingress.base_url), key],
        env={**os.environ, "NODE_MODULES": str(require("node_modules"))},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == {
        "call": {"a": [1, "ü"]},
        "object": {"old": 0, "new": 1},
        "once": [{"old": 1, "new": 11}] * 2,
        "sent": ["Accepted", True, {"old": 11, "new": 111}],
        "delayed": {"old": 111, "new": 1111},
        "failure": [418, "no"],
        "submitted": "Accepted",
        "pending": {"ready": False},
        "again": "PreviouslyAccepted",
        "attached": ["in", "out"],
        "output": {"ready": True, "result": ["in", "out"]},
        "awakeable": "woken",
    }


async def test_the_python_client(world: World, key: str) -> None:
    async with restate.create_client(str(world.ingress.base_url)) as client:
        assert await client.service_call(services.echo, arg={"a": [1, "ü"]}) == {"a": [1, "ü"]}
        assert await client.object_call(services.add, key, arg=1) == {"old": 0, "new": 1}
        once = [await client.object_call(services.add, key, arg=10, idempotency_key=key) for _ in range(2)]
        assert once == [{"old": 1, "new": 11}] * 2
        sent = await client.object_send(services.add, key, arg=100)
        assert sent.invocation_id.startswith("inv_1")
        world.until(lambda: world.ok(f"/Counter/{key}/get") == 111)
        if world.server == "perdure":
            # The real server refuses the number without a unit that this client sends.
            await client.object_send(services.add, key, arg=1000, send_delay=timedelta(milliseconds=50))
            world.until(lambda: world.ok(f"/Counter/{key}/get") == 1111)
        await client.workflow_send(services.run, key, arg="in")
        assert await client.workflow_call(services.resolve, key, arg="out") == "resolved"
        assert world.ingress.get(f"/restate/workflow/Flow/{key}/attach").json() == ["in", "out"]
