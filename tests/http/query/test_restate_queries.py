"""Queries with the content of those that Restate's command line sends, as it sends them: over HTTP, in JSON and in Arrow."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from perdure.store.rows import Status

pytestmark = pytest.mark.slow


@pytest.fixture
async def shop(world: Any) -> Any:
    """Something in every state."""
    world.ids = {
        "bought": await world.call("Shop/buy", "tea"),
        "refused": await world.call("Shop/refuse"),
        "delayed": await world.send("Shop/nap", delay_ms=3_600_000),
        "sleeping": await world.send("Shop/nap"),
        "holding": await world.send("Cart/a/hold"),
        "queued": await world.send("Cart/a/put", "x"),
        "failing": await world.send("Shop/stumble"),
    }
    await world.until(world.ids["sleeping"], lambda row: row.status is Status.SUSPENDED)
    await world.until(world.ids["holding"], lambda row: row.status is Status.SUSPENDED)
    await world.until(world.ids["failing"], lambda row: row.retry_at_ms > 0)
    return world


async def arrow(world: Any, sql: str) -> list[dict[str, Any]]:
    answer = await world.queries.run(sql, "arrow")
    rows: list[dict[str, Any]] = pa.ipc.open_stream(answer.body).read_all().to_pylist()
    return rows


async def test_open_invocations_of_a_deployment(shop: Any) -> None:
    """`deployments list --extra`, `deployments describe --extra`, `deployments remove`."""
    deployment = (await shop.row("SELECT id FROM sys_deployment"))["id"]
    (row,) = await arrow(
        shop,
        "SELECT COUNT(1) AS inv_count FROM sys_invocation_status "
        f"WHERE pinned_deployment_id = '{deployment}' AND status != 'completed'",
    )
    assert row == {"inv_count": 2}, "what has left something in its journal and not ended"
    rows = await shop.rows(
        "SELECT target_service_name, target_handler_name, COUNT(1) AS inv_count FROM sys_invocation_status "
        f"WHERE pinned_deployment_id = '{deployment}' AND status != 'completed' "
        "GROUP BY pinned_deployment_id, target_service_name, target_handler_name ORDER BY target_service_name"
    )
    assert [(row["target_service_name"], row["target_handler_name"], row["inv_count"]) for row in rows] == [
        ("Cart", "hold", 1),
        ("Shop", "nap", 1),
    ]


async def test_the_status_of_services(shop: Any) -> None:
    """`services status`."""
    pending = await shop.rows(
        "SELECT ss.target_service_name, ss.target_handler_name, 'pending' AS status, COUNT(1) AS num_invocations, "
        "MIN(ss.created_at) AS oldest_at, FIRST_VALUE(ss.id ORDER BY ss.created_at ASC) AS oldest_invocation "
        "FROM sys_invocation_status ss WHERE ss.status == 'inboxed' AND ss.target_service_name IN ('Cart','Shop') "
        "GROUP BY ss.target_service_name, ss.target_handler_name"
    )
    assert [(row["target_handler_name"], row["num_invocations"], row["oldest_invocation"]) for row in pending] == [
        ("put", 1, shop.ids["queued"])
    ]
    assert pending[0]["status"] == "pending"
    others = await shop.rows(
        "SELECT target_service_name, target_handler_name, status, COUNT(1) AS num_invocations, "
        "MIN(created_at) AS oldest_at, FIRST_VALUE(id ORDER BY created_at ASC) AS oldest_invocation "
        "FROM sys_invocation WHERE status != 'pending' AND target_service_name IN ('Cart','Shop') "
        "GROUP BY target_service_name, target_handler_name, status ORDER BY 1, 2, 3"
    )
    assert [(row["target_handler_name"], row["status"], row["num_invocations"]) for row in others] == [
        ("hold", "suspended", 1),
        ("buy", "completed", 1),
        ("nap", "scheduled", 1),
        ("nap", "suspended", 1),
        ("refuse", "completed", 1),
        ("stumble", "backing-off", 1),
    ]
    queues = await shop.rows(
        "SELECT service_name, service_key, COUNT(1) AS queue_len FROM sys_inbox WHERE service_name IN ('Cart') "
        "GROUP BY service_name, service_key ORDER BY queue_len DESC"
    )
    assert queues == [{"service_name": "Cart", "service_key": "a", "queue_len": 1}]
    held = await shop.rows(
        "SELECT target_service_name, target_service_key, status, first_value(id) AS id, "
        "first_value(target_handler_name) AS target_handler_name, first_value(created_at) AS created_at, "
        "first_value(modified_at) AS modified_at, first_value(pinned_deployment_id) AS pinned_deployment_id, "
        "first_value(last_attempt_deployment_id) AS last_attempt_deployment_id, first_value(last_failure) AS last_failure, "
        "first_value(next_retry_at) AS next_retry_at, first_value(last_start_at) AS last_start_at, "
        "sum(retry_count) AS retry_count FROM sys_invocation "
        "WHERE status != 'pending' AND target_service_name IN ('Cart') "
        "GROUP BY target_service_name, target_service_key, status ORDER BY modified_at"
    )
    assert [(row["id"], row["target_handler_name"], row["status"]) for row in held] == [
        (shop.ids["holding"], "hold", "suspended")
    ]


async def test_lists_and_details(shop: Any) -> None:
    """`invocations list`, `invocations describe`."""
    (count,) = await arrow(
        shop,
        "SELECT COUNT(1) AS total_count FROM (SELECT id FROM sys_invocation inv WHERE inv.status != 'completed' LIMIT 50000)",
    )
    assert count == {"total_count": 5}
    ids = await shop.rows(
        "SELECT id FROM sys_invocation inv WHERE inv.status != 'completed' ORDER BY inv.created_at DESC, inv.id LIMIT 100"
    )
    assert {row["id"] for row in ids} == set(shop.ids.values()) - {shop.ids["bought"], shop.ids["refused"]}
    one = await shop.rows(f"SELECT id FROM sys_invocation inv WHERE inv.id = '{shop.ids['failing']}' LIMIT 1")
    assert one == [{"id": shop.ids["failing"]}]
    wanted = ",".join(f"'{id_}'" for id_ in shop.ids.values())
    details = await shop.rows(
        "SELECT inv.id, inv.target, inv.target_service_ty, inv.idempotency_key, inv.status, inv.created_at, "
        "inv.modified_at, inv.pinned_deployment_id, inv.retry_count, inv.last_failure, "
        "inv.last_failure_related_entry_index, inv.last_failure_related_entry_name, inv.last_failure_related_entry_type, "
        "inv.last_attempt_deployment_id, inv.last_attempt_server, inv.next_retry_at, inv.last_start_at, "
        "inv.invoked_by_id, inv.invoked_by_target, inv.trace_id, inv.completion_result, inv.completion_failure, "
        "dp.id IS NOT NULL AS known FROM sys_invocation inv LEFT JOIN sys_deployment dp ON dp.id = inv.pinned_deployment_id "
        f"WHERE inv.id IN ({wanted}) ORDER BY inv.created_at DESC, inv.id"
    )
    assert {row["id"]: (row["status"], row["known"]) for row in details} == {
        shop.ids["bought"]: ("completed", True),
        shop.ids["refused"]: ("completed", True),
        shop.ids["delayed"]: ("scheduled", False),
        shop.ids["sleeping"]: ("suspended", True),
        shop.ids["holding"]: ("suspended", True),
        shop.ids["queued"]: ("pending", False),
        shop.ids["failing"]: ("backing-off", False),
    }
    for column in ("promise_name", "entry_json"):
        (probe,) = await arrow(
            shop,
            "SELECT COUNT(1) AS n FROM information_schema.columns "
            f"WHERE table_name = 'sys_journal' AND column_name = '{column}'",
        )
        assert probe == {"n": 1}
    journal = await shop.rows(
        "SELECT sj.index, sj.entry_type, sj.completed, sj.invoked_id, sj.invoked_target, sj.sleep_wakeup_at, sj.name, "
        "sj.promise_name, sj.version, sj.entry_json, sj.appended_at FROM sys_journal sj "
        f"WHERE sj.id = '{shop.ids['bought']}' ORDER BY index DESC LIMIT 100"
    )
    assert [row["entry_type"] for row in journal] == [
        "Command: Output",
        "Notification: Run",
        "Command: Run",
        "Command: Input",
    ]


async def test_selections_for_control(shop: Any) -> None:
    """`invocations cancel`, `kill`, `purge`, `pause`, `resume`, `restart-as-new`."""
    selections = {
        f"id = '{shop.ids['failing']}' AND status != 'completed'": {"failing"},
        "target = 'Shop/nap' AND target_service_ty = 'service' AND status != 'completed'": {"delayed", "sleeping"},
        "target_service_ty != 'service' AND target LIKE 'Cart/%/hold' AND status != 'completed'": {"holding"},
        "target_service_name = 'Cart' AND target_service_key = 'a' AND status IN ('invoked', 'suspended')": {"holding"},
        "target_service_name = 'Shop' AND status = 'completed'": {"bought", "refused"},
        "target_service_name = 'Shop' AND status IN ('paused', 'invoked', 'suspended')": {"sleeping", "failing"},
    }
    for where, expected in selections.items():
        rows = await shop.rows(f"SELECT id, target FROM sys_invocation_status WHERE {where} LIMIT 500")
        assert {row["id"] for row in rows} == {shop.ids[name] for name in expected}, where


async def test_state_rules_and_queues(shop: Any) -> None:
    """`state get`, `state clear`, `rules list`, `vqueues list`."""
    assert await shop.rows("select key, value from state where service_name='Cart' and service_key='a' ;") == [
        {"key": "held", "value": b"true".hex()}
    ]
    assert await shop.rows("select service_name, service_key, key, value from state where service_name = 'Cart'") == [
        {"service_name": "Cart", "service_key": "a", "key": "held", "value": b"true".hex()}
    ]
    rules = (
        "SELECT pattern, concurrency, description, disabled, version, last_modified FROM sys_rules WHERE pattern = '*'"
    )
    assert await shop.rows(rules) == []
    queues = (
        "SELECT id, is_active, queue_is_paused, service_name, scope, limit_key, lock_name, created_at, last_enqueued_at, "
        "last_start_at, last_attempt_at, last_finish_at, num_inbox, num_running, num_suspended, num_paused, num_finished "
        "FROM sys_vqueue_meta LIMIT 100"
    )
    assert await arrow(shop, queues) == []
