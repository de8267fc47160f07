"""While the engine starts, requests wait; while it stops or has failed, they are told so."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from perdure.model.errors import PerdureError
from perdure.node.settings import EngineSettings


async def test_requests_wait_for_an_engine_that_recovers(make_world: Any) -> None:
    world = await make_world()
    calls = [asyncio.ensure_future(world.ingress.post("/Echo/say", number_text)) for number_text in ("a", "b", "c")]
    health = await world.ingress.get("/restate/health")
    assert (health.status, health.json()) == (
        503,
        {"code": 503, "message": "the server is starting", "source": "ingress"},
    )
    assert health.headers["retry-after"] == "1"
    assert not any(call.done() for call in calls)
    await world.start()
    assert [(await call).json() for call in calls] == ["a", "b", "c"]
    assert (await world.ingress.get("/restate/health")).status == 200


async def test_waiting_has_an_end(make_world: Any) -> None:
    world = await make_world(ready_timeout_s=0.05)
    answer = await world.ingress.post("/Echo/say", "x")
    assert (answer.status, answer.json()["source"]) == (503, "ingress")
    assert answer.json()["message"] == "the server is still recovering after 0.05 s"
    await world.start()
    assert (await world.ingress.post("/Echo/say", "x")).status == 200


async def test_bad_paths_need_no_engine(make_world: Any) -> None:
    world = await make_world()
    assert (await world.ingress.get("/x")).status == 400


async def test_a_start_that_fails_is_told_to_those_who_wait(make_world: Any, tmp_path: Path) -> None:
    world = await make_world(EngineSettings(data=tmp_path / "file" / "data"))
    (tmp_path / "file").write_text("in the way")
    calls = [asyncio.ensure_future(world.ingress.post(path, "x")) for path in ("/Echo/say", "/Nope/say")]
    assert (await world.ingress.get("/restate/health")).status == 503
    with pytest.raises((PerdureError, OSError)):
        await world.start()
    for answer in [await call for call in calls]:
        assert (answer.status, answer.json()["code"], answer.headers["retry-after"]) == (503, 503, "1")
    assert (await world.ingress.post("/Echo/say", "x")).status == 503


async def test_a_stop_answers_those_who_wait(world: Any) -> None:
    call = asyncio.ensure_future(world.ingress.request("POST", "/Echo/wait"))
    await world.told.first()
    await world.engine.stop(grace_s=0)
    answer = await call
    assert (answer.status, answer.json()["source"]) == (503, "ingress")
    assert (await world.ingress.post("/Echo/say", "x")).status == 503
    assert (await world.ingress.get("/restate/health")).json()["message"] == "the server is stopped"


async def test_an_invocation_outlives_a_stop(make_world: Any, tmp_path: Path) -> None:
    world = await make_world(EngineSettings(data=tmp_path / "data"))
    await world.start()
    sent = await world.ingress.request("POST", "/Echo/wait/send")
    awakeable = await world.told.first()
    await world.close()
    world = await make_world(EngineSettings(data=tmp_path / "data"))
    resolved = asyncio.ensure_future(world.ingress.post(f"/restate/awakeables/{awakeable}/resolve", "done"))
    await world.start()
    assert (await resolved).status == 202
    attached = await world.ingress.get(f"/restate/attach/{sent.json()['invocationId']}")
    assert (attached.status, attached.json()) == (200, "done")
