"""Damage to the tables that a running node comes upon: it stops, whoever read."""

from __future__ import annotations

import asyncio
from pathlib import Path

import apsw
import pytest

import perdure
from perdure.node.engine import Engine
from perdure.node.phase import Phase
from perdure.node.settings import EngineSettings
from perdure.store.errors import StoreUnreadable

from .rig import call

echo = perdure.Service("Echo")


@echo.handler()
async def say(ctx: perdure.Context, what: str) -> str:
    return what


async def started(data: Path) -> Engine:
    engine = Engine(EngineSettings(data=data, loop_stall_ms=0), perdure.app([echo], dev=False))
    await engine.start()
    return engine


async def test_damage_found_by_a_read_stops_the_node(tmp_path: Path) -> None:
    engine = await started(tmp_path)
    assert await call(engine, "Echo/say", "before") == "before"
    await engine.stop()
    path = tmp_path / "store.sqlite"
    connection = apsw.Connection(str(path))
    page = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'state'").get
    connection.close()
    content = bytearray(path.read_bytes())
    content[(page - 1) * 4096 + 9] ^= 1
    path.write_bytes(content)

    engine = await started(tmp_path)
    assert engine.phase is Phase.READY
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    asyncio.get_running_loop().call_soon(engine.state, 0, "Cart", "k")  # nobody is there to catch it
    error = await engine.failed()
    assert isinstance(error, StoreUnreadable)
    assert "its checksum does not match" in str(error)
    assert engine.phase is Phase.FAILED
    with pytest.raises(StoreUnreadable):
        engine.state(0, "Cart", "k")
    await engine.stop()
