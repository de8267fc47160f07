"""What each table says of what has happened."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from perdure.http.query.schema import NOT_NULL, STATUS_COLUMNS, TABLES
from perdure.http.query.worker.arrow import SCHEMAS
from perdure.model.ids import hash_key, parse_invocation_id, partition_key
from perdure.model.version import VERSION
from perdure.store.rows import Status
from perdure.store.snapshot import Snapshot

pytestmark = pytest.mark.slow


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


async def arrow(world: Any, sql: str) -> Any:
    answer = await world.queries.run(sql, "arrow")
    return pa.ipc.open_stream(answer.body).read_all()


# --- columns ------------------------------------------------------------------------------------------------------------------


async def test_every_table_has_its_columns_and_types(world: Any) -> None:
    assert len(TABLES) == 18
    for table, columns in TABLES.items():
        found = (await arrow(world, f"SELECT * FROM {table}")).schema
        assert found.names == list(columns), table
        assert found.types == SCHEMAS[table].types, table
    rows = await world.rows(
        "SELECT table_name, column_name, is_nullable FROM information_schema.columns WHERE table_schema = 'public'"
    )
    known = {(table, column) for table, columns in TABLES.items() for column in columns}
    known |= {("sys_status", column) for column in STATUS_COLUMNS}
    assert {(row["table_name"], row["column_name"]) for row in rows} == known
    assert {(row["table_name"], row["column_name"]) for row in rows if row["is_nullable"] == "NO"} == NOT_NULL


async def test_types_are_those_that_clients_know(world: Any) -> None:
    schema = (await arrow(world, "SELECT * FROM sys_invocation")).schema
    assert [str(schema.field(name).type) for name in ("id", "journal_size", "created_at", "journal_retention")] == [
        "large_string",
        "uint32",
        "timestamp[ms, tz=+00:00]",
        "duration[ms]",
    ]
    assert str((await arrow(world, "SELECT count(*) FROM state")).schema.field(0).type) == "int64"
    assert str((await arrow(world, "SELECT value FROM state")).schema.field(0).type) == "large_binary"


async def test_tables_of_what_perdure_has_not_are_empty(world: Any) -> None:
    await world.call("Shop/buy", "tea")
    for table in ("rules", "locks", "user_limits", "vqueues", "vqueue_meta", "vqueue_entry_status", "scheduler"):
        assert await world.rows(f"SELECT * FROM sys_{table}") == []


# --- invocations --------------------------------------------------------------------------------------------------------------


async def test_a_finished_invocation(world: Any) -> None:
    id_ = await world.call("Shop/buy", "tea", idempotency_key="once", traceparent=f"00-{'ab' * 16}-{'cd' * 8}-01")
    row = await world.row(f"SELECT * FROM sys_invocation WHERE id = '{id_}'")
    stored = world.engine.find(parse_invocation_id(id_))
    assert (ms(row.pop("created_at")), ms(row.pop("completed_at"))) == (stored.created_at_ms, stored.completed_at_ms)
    assert ms(row.pop("modified_at")) == stored.modified_at_ms
    assert ms(row.pop("running_at")) == stored.started_at_ms
    deployment = await world.row("SELECT id, ty, endpoint, services FROM sys_deployment")
    assert deployment.pop("id") == row.pop("pinned_deployment_id")
    assert deployment == {"ty": "http", "endpoint": "in-process://local/", "services": ["Cart", "Shop", "Trip"]}
    assert row == {
        "id": id_,
        "target": "Shop/buy",
        "target_service_name": "Shop",
        "target_handler_name": "buy",
        "target_service_ty": "service",
        "idempotency_key": "once",
        "invoked_by": "ingress",
        "trace_id": "ab" * 16,
        "journal_size": 4,
        "journal_commands_size": 3,
        "created_using_restate_version": VERSION,
        "completion_retention": "PT86400S",
        "journal_retention": "PT86400S",
        "status": "completed",
        "completion_result": "success",
    }


async def test_one_from_outside_shows_a_key_also_when_it_came_without(world: Any) -> None:
    outside = [await world.call("Cart/a/order", "cup"), await world.send("Trip/t/run")]
    await world.call("Trip/t/pay", "card")
    rows = await world.rows("SELECT target, id, idempotency_key FROM sys_invocation WHERE idempotency_key IS NOT NULL")
    assert [(row["target"], row["id"]) for row in rows] == [("Cart/a/order", outside[0])], (
        "none of workflows or handlers"
    )
    (row,) = rows
    assert re.fullmatch("[0-7][0-9A-HJKMNP-TV-Z]{25}", row["idempotency_key"])


async def test_a_failed_one_and_one_that_was_called(world: Any) -> None:
    failed = await world.call("Shop/refuse")
    row = await world.row(f"SELECT completion_result, completion_failure FROM sys_invocation WHERE id = '{failed}'")
    assert row == {"completion_result": "failure", "completion_failure": "[409] sold out"}
    order = await world.call("Cart/a/order", "cup")
    bought = await world.row("SELECT * FROM sys_invocation WHERE target = 'Shop/buy'")
    assert (bought["invoked_by"], bought["invoked_by_id"]) == ("service", order)
    assert (bought["invoked_by_target"], bought["invoked_by_service_name"]) == ("Cart/a/order", "Cart")


async def test_times_of_one_that_is_delayed_and_of_one_that_waits_for_its_key(world: Any) -> None:
    delayed = await world.send("Shop/nap", delay_ms=3_600_000)
    row = await world.row(f"SELECT * FROM sys_invocation WHERE id = '{delayed}'")
    assert ms(row["scheduled_start_at"]) == world.engine.find(parse_invocation_id(delayed)).execute_at_ms
    assert row["scheduled_at"] == row["created_at"]
    assert not {"running_at", "journal_size", "pinned_deployment_id", "retry_count"} & row.keys()
    await world.send("Cart/a/hold")
    queued = await world.send("Cart/a/put", "x")
    row = await world.row(f"SELECT * FROM sys_invocation WHERE id = '{queued}'")
    assert (row["inboxed_at"], row["status"]) == (row["created_at"], "pending")
    assert (row["target_service_ty"], row["target_service_key"]) == ("virtual_object", "a")


async def test_what_a_suspended_one_waits_for(world: Any) -> None:
    sleeping = await world.send("Shop/nap")
    await world.until(sleeping, lambda row: row.status is Status.SUSPENDED)
    row = await world.row(f"SELECT * FROM sys_invocation WHERE id = '{sleeping}'")
    assert (row["suspended_waiting_for_completions"], row["suspended_waiting_for_signals"]) == ([1], [])
    assert json.loads(row["suspended_waiting_future_json"]) == {
        "Unknown": [{"Single": {"CompletionId": 1}}, {"Single": {"SignalIndex": 1}}]
    }
    status = await world.row(f"SELECT * FROM sys_invocation_status WHERE id = '{sleeping}'")
    assert status["partition_key"] == partition_key(parse_invocation_id(sleeping))
    assert status["suspended_waiting_for_completions"] == [1]


async def test_why_one_backs_off_and_why_one_is_paused(world: Any) -> None:
    backing_off = await world.send("Shop/stumble")
    stored = await world.until(backing_off, lambda row: row.retry_at_ms > 0)
    row = await world.row(f"SELECT * FROM sys_invocation WHERE id = '{backing_off}'")
    assert (row["status"], row["retry_count"], ms(row["next_retry_at"])) == ("backing-off", 1, stored.retry_at_ms)
    assert ms(row["last_start_at"]) == stored.attempt_at_ms
    assert row["last_failure"].startswith("[500 Internal] ConnectionError: the bank is closed\nTraceback")
    assert row["last_failure_error_code"] == "RT0007"
    assert row["last_attempt_server"] == f"perdure/{VERSION}"
    assert row["last_attempt_deployment_id"] == (await world.row("SELECT id FROM sys_deployment"))["id"]
    paused = await world.send("Shop/fall")
    await world.until(paused, lambda row: row.status is Status.PAUSED)
    row = await world.row(f"SELECT * FROM sys_invocation WHERE id = '{paused}'")
    assert (row["status"], "retry_count" in row) == ("paused", False)
    assert "the bank is gone" in row["last_failure"]


async def test_how_each_attempt_ended(world: Any) -> None:
    paused = await world.send("Shop/fall")
    stored = await world.until(paused, lambda row: row.status is Status.PAUSED)
    (event,) = await world.rows(f"SELECT * FROM sys_journal_events WHERE id = '{paused}'")
    error = {
        "error_code": 500,
        "error_message": "ConnectionError: the bank is gone",
        "restate_doc_error_code": "RT0007",
    }
    shown = json.loads(event.pop("event_json"))
    assert shown["last_failure"].pop("error_stacktrace").startswith("Traceback")
    assert shown == {"ty": "Paused", "last_failure": error}
    assert ms(event.pop("appended_at")) == stored.modified_at_ms
    assert event == {
        "partition_key": partition_key(stored.id),
        "id": paused,
        "after_journal_entry_index": 0,
        "event_type": "Paused",
    }
    stumbling = await world.send("Shop/stumble")
    await world.until(stumbling, lambda row: row.retry_at_ms > 0)
    events = await world.rows(f"SELECT * FROM sys_journal_events WHERE id = '{stumbling}'")
    assert [each["event_type"] for each in events] == ["TransientError"]
    shown = json.loads(events[0]["event_json"])
    assert (shown.pop("ty"), shown.pop("error_stacktrace")[:9]) == ("TransientError", "Traceback")
    assert shown == error | {"error_message": "ConnectionError: the bank is closed"}


async def test_some_events_of_any_invocations(world: Any) -> None:
    paused = {await world.send("Shop/fall") for _ in range(2)}
    for each in paused:
        await world.until(each, lambda row: row.status is Status.PAUSED)
    await world.call("Shop/buy", "tea")  # leaves none
    assert {row["id"] for row in await world.rows("SELECT id FROM sys_journal_events LIMIT 2")} == paused


# --- journals -----------------------------------------------------------------------------------------------------------------


async def test_the_journal_of_an_invocation(world: Any) -> None:
    id_ = await world.call("Cart/a/order", "cup")
    rows = await world.rows(f"SELECT * FROM sys_journal WHERE id = '{id_}' ORDER BY index")
    assert [row["index"] for row in rows] == list(range(7))
    assert [(row["entry_type"], row.get("name")) for row in rows] == [
        ("Command: Input", ""),
        ("Command: OneWayCall", ""),
        ("Notification: CallInvocationId", None),
        ("Command: Call", ""),
        ("Notification: CallInvocationId", None),
        ("Notification: Call", None),
        ("Command: Output", ""),
    ]
    assert {row["version"] for row in rows} == {2}
    assert {row["partition_key"] for row in rows} == {hash_key("a")}
    assert all(len(bytes.fromhex(row["raw"])) == row["raw_length"] for row in rows)
    assert not {"completed", "invoked_id", "sleep_wakeup_at"} & {name for row in rows for name in row}
    bought = await world.row("SELECT id FROM sys_invocation WHERE target = 'Shop/buy'")
    assert (
        json.loads(rows[4]["entry_json"])["Notification"]["Completion"]["CallInvocationId"]["invocation_id"]
        == bought["id"]
    )
    result = {"Success": list(b'"cup for 7"')}
    call = {"Notification": {"Completion": {"Call": {"completion_id": 3, "result": result}}}}
    assert json.loads(rows[5]["entry_json"])["Notification"]["Completion"]["Call"]["result"] == result
    assert call["Notification"].keys() == json.loads(rows[5]["entry_json"])["Notification"].keys()
    stored = world.engine.store.tables[0].journal(world.engine.find(parse_invocation_id(id_)).seq)
    assert [ms(row["appended_at"]) for row in rows] == stored.times


async def test_journals_of_all_together_and_only_names_that_are_asked_for(world: Any) -> None:
    first = await world.call("Shop/buy", "tea")
    second = await world.call("Shop/buy", "cup")
    rows = await world.rows("SELECT id, count(*) AS entries FROM sys_journal GROUP BY id ORDER BY id")
    assert rows == [{"id": id_, "entries": 4} for id_ in sorted((first, second))]
    names = await world.rows("SELECT name FROM sys_journal WHERE entry_type = 'Command: Run'")
    assert names == [{"name": "price"}, {"name": "price"}]


async def test_some_entries_of_any_journals(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        await world.call("Shop/buy", str(number))
    monkeypatch.setattr(Snapshot, "journals", None)  # not all of them are read
    assert len(await world.rows("SELECT id, index FROM sys_journal LIMIT 3")) == 3
    assert len(await world.rows("SELECT id, index FROM sys_journal LIMIT 11")) == 11
    assert len(await world.rows("SELECT id, index FROM sys_journal LIMIT 1000")) == 20


async def test_a_journal_that_grew_over_several_checkpoints_is_one(world: Any) -> None:
    waiting = await world.send("Trip/t/run")
    await world.until(waiting, lambda row: row.journal_length == 2)
    assert len(await world.rows(f"SELECT index FROM sys_journal WHERE id = '{waiting}'")) == 2
    await world.call("Trip/t/pay", "cash")
    await world.until(waiting, lambda row: row.status is Status.COMPLETED)
    rows = await world.rows(f"SELECT index, entry_type FROM sys_journal WHERE id = '{waiting}' ORDER BY index DESC")
    assert [row["index"] for row in rows] == [3, 2, 1, 0]
    assert rows[1]["entry_type"] == "Notification: GetPromise"


# --- keys ---------------------------------------------------------------------------------------------------------------------


async def test_state(world: Any) -> None:
    await world.call("Cart/a/put", "cup")
    await world.call("Cart/ü/put", "tea")
    rows = await world.rows("SELECT * FROM state ORDER BY service_key, key")
    assert [(row["service_key"], row["key"], row["value_utf8"]) for row in rows] == [
        ("a", "count", "1"),
        ("a", "items", '["cup"]'),
        ("ü", "count", "1"),
        ("ü", "items", '["tea"]'),
    ]
    assert rows[1] == {
        "partition_key": hash_key("a"),
        "service_name": "Cart",
        "service_key": "a",
        "key": "items",
        "key_length": 5,
        "value_utf8": '["cup"]',
        "value": b'["cup"]'.hex(),
        "value_length": 7,
        "service": "Cart",
        "service_key_utf8": "a",
    }


async def test_state_that_is_no_text(world: Any) -> None:
    await world.engine.modify_state("Cart", "a", {"raw": b"\xff\x00"})
    row = await world.row("SELECT value, value_utf8, value_length FROM state")
    assert row == {"value": "ff00", "value_length": 2}


async def test_who_holds_a_key_and_who_waits_for_it(world: Any) -> None:
    holding = await world.send("Cart/a/hold")
    waiting = [await world.send("Cart/a/put", str(number)) for number in range(3)]
    await world.call("Cart/b/put", "free")
    held = await world.rows("SELECT service_name, service_key, invocation_id FROM sys_keyed_service_status")
    assert held == [{"service_name": "Cart", "service_key": "a", "invocation_id": holding}]
    inbox = await world.rows("SELECT service_name, service_key, id FROM sys_inbox ORDER BY sequence_number")
    assert inbox == [{"service_name": "Cart", "service_key": "a", "id": id_} for id_ in waiting]
    assert await world.rows("SELECT id FROM sys_inbox WHERE service_key = 'b'") == []


async def test_promises(world: Any) -> None:
    waiting = await world.send("Trip/t/run")
    await world.until(waiting, lambda row: row.journal_length == 2)
    assert await world.rows("SELECT service_name, service_key, key, completed FROM sys_promise") == [
        {"service_name": "Trip", "service_key": "t", "key": "paid", "completed": False}
    ]
    await world.call("Trip/t/pay", "cash")
    row = await world.row("SELECT completed, completion_success_value_utf8 FROM sys_promise WHERE service_key = 't'")
    assert row == {"completed": True, "completion_success_value_utf8": '"cash"'}


async def test_services_and_deployments(world: Any) -> None:
    services = await world.rows("SELECT name, revision, public, ty FROM sys_service ORDER BY name")
    assert services == [
        {"name": "Cart", "revision": 1, "public": True, "ty": "virtual_object"},
        {"name": "Shop", "revision": 1, "public": True, "ty": "service"},
        {"name": "Trip", "revision": 1, "public": True, "ty": "workflow"},
    ]
    joined = await world.rows("SELECT s.name FROM sys_service s JOIN sys_deployment d ON d.id = s.deployment_id")
    assert len(joined) == 3
    version = await world.row(
        "SELECT min_service_protocol_version AS a, max_service_protocol_version AS b FROM sys_deployment"
    )
    assert version == {"a": 5, "b": 6}


async def test_older_names(world: Any) -> None:
    """`sys_status` of 2023, and the columns of `state` that went with it."""
    holding = await world.send("Cart/a/hold")
    await world.until(holding, lambda row: row.status is Status.SUSPENDED)
    queued = await world.send("Cart/a/put", "x")
    await world.call("Shop/buy", "tea")
    rows = await world.rows("select service, method, service_key_utf8, status, id from sys_status order by method")
    assert rows == [
        {"service": "Cart", "method": "hold", "service_key_utf8": "a", "status": "suspended", "id": holding},
        {"service": "Cart", "method": "put", "service_key_utf8": "a", "status": "inboxed", "id": queued},
    ]
    found = await world.rows(
        "select service, service_key_utf8, key, value_utf8 from state s where s.service = 'Cart' and service_key_utf8 = 'a'"
    )
    assert found == [{"service": "Cart", "service_key_utf8": "a", "key": "held", "value_utf8": "true"}]
    both = await world.rows(
        "select sys_status.method, state.key from sys_status join state on sys_status.service = state.service "
        "and sys_status.service_key = state.service_key where sys_status.status = 'suspended';"
    )
    assert both == [{"method": "hold", "key": "held"}]


async def test_partitions_are_all_seen(make_world: Any) -> None:
    world = await make_world(partitions=3)
    ids = [await world.call(f"Cart/{key}/put", key) for key in "abcdefgh"]
    rows = await world.rows("SELECT id FROM sys_invocation")
    assert sorted(row["id"] for row in rows) == sorted(ids)
    for key, id_ in zip("abcdefgh", ids, strict=True):
        assert await world.rows(f"SELECT status FROM sys_invocation WHERE id = '{id_}'") == [{"status": "completed"}]
        assert (
            len(await world.rows(f"SELECT key FROM state WHERE service_name = 'Cart' AND service_key = '{key}'")) == 2
        )
    assert len(await world.rows("SELECT key FROM state WHERE service_name = 'Cart'")) == 16


async def test_an_engine_in_memory_is_asked_too(make_world: Any) -> None:
    world = await make_world(data=None)
    id_ = await world.call("Shop/buy", "tea")
    assert await world.rows("SELECT id FROM sys_invocation") == [{"id": id_}]
    await world.call("Shop/buy", "cup")
    assert (await world.row("SELECT count(*) AS n FROM sys_invocation"))["n"] == 2


def test_journal_entries_have_the_shapes_that_clients_parse() -> None:
    """Each kind once, against what a restate-server 1.7.12 said of the same entry."""
    from perdure.http.query.worker.entries import entry_json, entry_lite_json
    from tests.http.query.entries import SAMPLES

    for entry, whole, lite in SAMPLES:
        assert msgspec.json.decode(entry_json(entry)) == whole
        assert msgspec.json.decode(entry_lite_json(entry)) == lite
