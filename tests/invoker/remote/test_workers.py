"""Worker processes that die, hang, come back, and are asked to let go."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from perdure.model import journal as j
from perdure.model.retry import RetryPolicy
from perdure.node.engine import Engine
from perdure.node.settings import EngineSettings
from perdure.store.rows import Status
from tests.invoker.remote.deployed import deployed

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("v7", [False, True])
async def test_a_worker_is_killed_in_the_middle_of_a_step(tmp_path: Path, v7: bool) -> None:
    async with deployed(tmp_path, service_protocol_v7=v7) as there:
        invocation_id = await there.send("Greeter/held", "h")
        await there.until(lambda: (tmp_path / "h.reached").exists())
        there.workers[0].send_signal(signal.SIGKILL)
        there.start_worker("two")
        (tmp_path / "h.go").touch()
        assert await there.attach(invocation_id) == ["first by one", "second by two", "third by two"]
        assert there.effects() == ["first one", "second two", "third two"]
        runs = [entry.name for entry in there.journal(invocation_id) if isinstance(entry, j.Run)]
        assert runs == ["first", "second", "third"]
        assert there.row(invocation_id).epoch >= 2


async def test_a_stopped_worker_is_given_up_and_fenced_when_it_revives(tmp_path: Path) -> None:
    settings = {
        "inactivity_timeout_ms": 200,
        "abort_timeout_ms": 300,
        "default_retry": RetryPolicy(initial_interval_ms=50, factor=1.0, max_attempts=None),
    }
    async with deployed(tmp_path, **settings) as there:
        invocation_id = await there.send("Greeter/held_then_adds", "z")
        await there.until(lambda: (tmp_path / "z.reached").exists())
        zombie = there.workers[0]
        zombie.send_signal(signal.SIGSTOP)
        await there.until(lambda: os.waitid(os.P_PID, zombie.pid, os.WSTOPPED | os.WNOWAIT | os.WNOHANG))
        (tmp_path / "z.reached").unlink()
        there.start_worker("two")
        await there.until(lambda: there.row(invocation_id).last_error is not None)
        error = there.row(invocation_id).last_error
        assert error is not None and error.doc_code == "RT0001"
        await there.until(lambda: (tmp_path / "z.reached").exists())  # the next attempt, elsewhere
        (tmp_path / "z.go").touch()
        assert await there.attach(invocation_id) == "held by two"
        before = there.journal(invocation_id)
        zombie.send_signal(signal.SIGCONT)
        await there.until(lambda: "held one" in there.effects())  # it went on with its step, which nobody can undo
        # What it says of that is heard by nobody: asked again, it serves as any other.
        for _ in range(20):
            assert await there.call("Greeter/greet", "Ann") == "Hello Ann"
        assert there.journal(invocation_id) == before
        assert await there.call("Counter/z/add", 0) == 1


async def test_an_inactive_handler_is_suspended_and_goes_on_later(tmp_path: Path) -> None:
    async with deployed(tmp_path, inactivity_timeout_ms=100) as there:
        invocation_id = await there.send("Greeter/awaits", "t")
        row = await there.until_status(invocation_id, Status.SUSPENDED)
        assert row.awaiting is not None and set(row.awaiting.signals) == {1, 17} and row.epoch == 1
        assert len(there.engine.pool) == 0
        await there.engine.signal(invocation_id, 17, b'"yes"')
        assert await there.attach(invocation_id) == "yes"
        assert there.row(invocation_id).epoch == 2


async def test_a_pause_lets_the_step_finish(tmp_path: Path) -> None:
    async with deployed(tmp_path) as there:
        invocation_id = await there.send("Greeter/held", "p")
        await there.until(lambda: (tmp_path / "p.reached").exists())
        assert await there.engine.pause(invocation_id)
        (tmp_path / "p.go").touch()
        await there.until_status(invocation_id, Status.PAUSED)
        assert there.effects()[:2] == ["first one", "second one"]
        assert await there.engine.resume(invocation_id)
        assert await there.attach(invocation_id) == ["first by one", "second by one", "third by one"]
        assert there.effects() == ["first one", "second one", "third one"]


async def test_a_kill_tears_the_stream_down(tmp_path: Path) -> None:
    async with deployed(tmp_path) as there:
        invocation_id = await there.send("Greeter/held", "k")
        await there.until(lambda: (tmp_path / "k.reached").exists())
        await there.engine.kill(invocation_id)
        assert await there.attach(invocation_id) == (409, "killed")
        assert len(there.engine.pool) == 0
        (tmp_path / "k.go").touch()
        assert await there.call("Greeter/greet", "Ann") == "Hello Ann"
        assert "third one" not in there.effects()


async def test_a_stop_waits_for_what_a_deployment_finishes(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with deployed(tmp_path, data=data) as there:
        invocation_id = await there.send("Greeter/held", "s")
        await there.until(lambda: (tmp_path / "s.reached").exists())
        stopping = asyncio.create_task(there.engine.stop(grace_s=20))
        await there.until(lambda: not there.engine.pool.accepting)
        (tmp_path / "s.go").touch()
        await stopping
        assert there.effects()[:2] == ["first one", "second one"]
    again = Engine(EngineSettings(data=data), None)
    await again.start()
    row, _ = again.describe(invocation_id)
    await again.stop()
    assert row.interruptions == 0 and row.journal_length >= 5  # both steps with their results


async def test_a_deployment_that_is_not_there(tmp_path: Path) -> None:
    async with deployed(tmp_path) as there:
        there.workers[0].kill()
        there.workers[0].wait()
        invocation_id = await there.send("Greeter/greet", "Ann")
        await there.until(lambda: there.row(invocation_id).last_error)
        error = there.row(invocation_id).last_error
        assert error is not None and error.doc_code == "RT0010"
        there.start_worker("two")
        assert await there.attach(invocation_id) == "Hello Ann"
