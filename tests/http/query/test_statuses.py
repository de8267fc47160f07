"""What SQL says of invocations in every state there is."""

from __future__ import annotations

from typing import Any

import pytest

from perdure.store.rows import Status

pytestmark = pytest.mark.slow


async def test_each_status_is_found(world: Any) -> None:
    done = await world.call("Shop/buy", "tea")
    failed = await world.call("Shop/refuse")
    delayed = await world.send("Shop/nap", delay_ms=3_600_000)
    sleeping = await world.send("Shop/nap")
    waiting = await world.send("Shop/wait")
    holding = await world.send("Cart/a/hold")
    queued = await world.send("Cart/a/put", "x")
    backing_off = await world.send("Shop/stumble")
    paused = await world.send("Shop/fall")
    await world.until(sleeping, lambda row: row.status is Status.SUSPENDED)
    await world.until(holding, lambda row: row.status is Status.SUSPENDED)
    await world.until(backing_off, lambda row: row.retry_at_ms > 0)
    await world.until(paused, lambda row: row.status is Status.PAUSED)
    await world.until(waiting, lambda row: row.journal_length > 0 and row.epoch > 0)
    found = await world.rows("SELECT id, status FROM sys_invocation ORDER BY created_at, id;")
    assert {row["id"]: row["status"] for row in found} == {
        done: "completed",
        failed: "completed",
        delayed: "scheduled",
        sleeping: "suspended",
        waiting: "running",
        holding: "suspended",
        queued: "pending",
        backing_off: "backing-off",
        paused: "paused",
    }
    for invocation_id, status in ((queued, "pending"), (sleeping, "suspended"), (delayed, "scheduled")):
        by_status = await world.rows(f"SELECT id FROM sys_invocation WHERE status = '{status}'")
        assert invocation_id in [row["id"] for row in by_status]
        assert await world.rows(f"SELECT status FROM sys_invocation WHERE id = '{invocation_id}'") == [
            {"status": status}
        ]
    raw = await world.rows("SELECT id, status FROM sys_invocation_status")
    assert {row["id"]: row["status"] for row in raw} == {
        done: "completed",
        failed: "completed",
        delayed: "scheduled",
        sleeping: "suspended",
        waiting: "invoked",
        holding: "suspended",
        queued: "inboxed",
        backing_off: "invoked",
        paused: "paused",
    }
    in_invoker = await world.rows("SELECT id, in_flight, retry_count FROM sys_invocation_state")
    assert {row["id"]: (row["in_flight"], row["retry_count"]) for row in in_invoker} == {
        waiting: (True, 1),
        backing_off: (False, 1),
    }
