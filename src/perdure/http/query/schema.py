"""The tables that SQL sees: their columns, in order, and the types of those (docs/sql.md).

Names and types are those of Restate 1.7, so that its command line and its UI find what they ask for. What perdure adds
stands behind them: the trailing columns of `state`, and the view `sys_status`, have names that older articles use.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

Type: TypeAlias = Literal["string", "binary", "u32", "u64", "bool", "ts", "dur", "list<u32>", "list<string>"]
"""`ts`: a moment in UTC, in ms; `dur`: a length of time, in ms."""


def _parsed(text: str) -> dict[str, dict[str, Type]]:
    tables: dict[str, dict[str, Type]] = {}
    for part in text.split("\n\n"):
        name, _, columns = part.strip().partition(":")
        tables[name] = {
            column: kind  # type: ignore[misc]
            for column, kind in (each.split() for each in columns.replace("\n", " ").split(","))
        }
    return tables


_TABLES = """\
sys_invocation:
    id string, vqueue_id string, target string, target_service_name string, target_service_key string,
    target_handler_name string, target_service_ty string, scope string, limit_key string, idempotency_key string,
    invoked_by string, invoked_by_service_name string, invoked_by_id string, invoked_by_subscription_id string,
    invoked_by_target string, restarted_from string, pinned_deployment_id string,
    pinned_service_protocol_version u32, trace_id string, journal_size u32, journal_commands_size u32,
    created_at ts, created_using_restate_version string, modified_at ts, inboxed_at ts, scheduled_at ts,
    scheduled_start_at ts, running_at ts, completed_at ts, completion_retention dur, journal_retention dur,
    suspended_waiting_for_completions list<u32>, suspended_waiting_for_signals list<u32>,
    suspended_waiting_future_json string, retry_count u64, last_start_at ts, next_retry_at ts,
    last_attempt_deployment_id string, last_attempt_server string, last_failure string,
    last_failure_error_code string, last_failure_related_entry_index u64, last_failure_related_entry_name string,
    last_failure_related_entry_type string, last_failure_related_command_index u64,
    last_failure_related_command_name string, last_failure_related_command_type string,
    last_awaiting_on_future_json string, status string, completion_result string, completion_failure string

sys_invocation_status:
    partition_key u64, id string, vqueue_id string, status string, completion_result string,
    completion_failure string, target string, target_service_name string, target_service_key string,
    target_handler_name string, target_service_ty string, scope string, limit_key string, idempotency_key string,
    invoked_by string, invoked_by_id string, invoked_by_subscription_id string, invoked_by_service_name string,
    invoked_by_target string, restarted_from string, pinned_deployment_id string,
    pinned_service_protocol_version u32, trace_id string, journal_size u32, journal_commands_size u32,
    created_at ts, created_using_restate_version string, modified_at ts, inboxed_at ts, scheduled_at ts,
    scheduled_start_at ts, running_at ts, completed_at ts, completion_retention dur, journal_retention dur,
    suspended_waiting_for_completions list<u32>, suspended_waiting_for_signals list<u32>,
    suspended_waiting_future_json string

sys_invocation_state:
    partition_key u64, id string, in_flight bool, retry_count u64, last_start_at ts,
    last_attempt_deployment_id string, last_attempt_server string, next_retry_at ts, last_failure string,
    last_failure_error_code string, last_failure_related_command_index u64,
    last_failure_related_command_name string, last_failure_related_command_type string,
    last_failure_related_entry_index u64, last_failure_related_entry_name string,
    last_failure_related_entry_type string, last_awaiting_on_future_json string

sys_journal:
    partition_key u64, id string, index u32, entry_type string, name string, completed bool, invoked_id string,
    invoked_target string, sleep_wakeup_at ts, promise_name string, raw binary, raw_length u64, version u32,
    entry_json string, entry_lite_json string, appended_at ts

sys_journal_events:
    partition_key u64, id string, after_journal_entry_index u32, appended_at ts, event_type string,
    event_json string

sys_inbox:
    partition_key u64, service_name string, service_key string, id string, sequence_number u64, created_at ts

sys_keyed_service_status:
    partition_key u64, service_name string, service_key string, invocation_id string

sys_promise:
    partition_key u64, scope string, service_name string, service_key string, key string, completed bool,
    completion_success_value binary, completion_success_value_utf8 string, completion_failure string

state:
    partition_key u64, scope string, service_name string, service_key string, key string, key_length u64,
    value_utf8 string, value binary, value_length u64, service string, service_key_utf8 string

sys_service:
    name string, revision u64, public bool, ty string, deployment_id string

sys_deployment:
    id string, ty string, endpoint string, created_at ts, min_service_protocol_version u32,
    max_service_protocol_version u32, services list<string>

sys_rules:
    pattern string, concurrency u32, description string, disabled bool, version u32, last_modified ts

sys_locks:
    partition_key u64, scope string, lock_name string, acquired_at ts, acquired_by string

sys_user_limits:
    partition_key u64, scope string, l1 string, l2 string, level string, usage u32, concurrency_limit u32,
    rule_pattern string, available u32, num_waiters u64

sys_vqueues:
    partition_key u64, id string, stage string, status string, has_lock bool, run_at ts, sequence_number u64,
    entry_id string, entry_kind string, created_at ts, transitioned_at ts, num_attempts u32, num_errors u32,
    num_pauses u32, num_suspensions u32, num_yields u32, first_attempt_at ts, latest_attempt_at ts,
    first_runnable_at ts, deployment string

sys_vqueue_entry_status:
    partition_key u64, entry_id string, vqueue_id string, stage string, status string, has_lock bool, next_at ts,
    sequence_number u64, entry_kind string, created_at ts, transitioned_at ts, num_attempts u32, num_errors u32,
    num_pauses u32, num_suspensions u32, num_yields u32, first_attempt_at ts, latest_attempt_at ts,
    first_runnable_at ts, deployment string, needed_memory u64, retry_attempts u32,
    retry_count_since_last_stored_command u32, latest_attempt_blocked_on_invoker_concurrency dur,
    latest_attempt_blocked_on_throttling_rules dur, latest_attempt_blocked_on_invoker_throttling dur,
    latest_attempt_blocked_on_invoker_memory dur, latest_attempt_blocked_on_concurrency_rules dur,
    latest_attempt_blocked_on_lock dur, latest_attempt_blocked_on_deployment_concurrency dur,
    total_blocked_on_invoker_concurrency dur, total_blocked_on_throttling_rules dur,
    total_blocked_on_invoker_throttling dur, total_blocked_on_invoker_memory dur,
    total_blocked_on_concurrency_rules dur, total_blocked_on_lock dur, total_blocked_on_deployment_concurrency dur

sys_vqueue_meta:
    partition_key u64, id string, is_active bool, queue_is_paused bool, service_name string, scope string,
    limit_key string, lock_name string, created_at ts, last_enqueued_at ts, last_start_at ts, last_attempt_at ts,
    last_finish_at ts, avg_queue_duration dur, avg_inbox_duration dur, avg_run_duration dur,
    avg_suspension_duration dur, avg_end_to_end_duration dur, avg_blocked_on_concurrency_rules dur,
    avg_blocked_on_invoker_concurrency dur, avg_blocked_on_invoker_throttling dur, avg_blocked_on_lock dur,
    num_inbox u64, num_running u64, num_suspended u64, num_paused u64, num_finished u64

sys_scheduler:
    partition_key u64, id string, num_inbox u64, status string, head_entry_id string, scheduled_at ts,
    blocked_on string, blocked_on_json string, invoker_concurrency_block_duration dur,
    throttling_rules_block_duration dur, invoker_throttling_block_duration dur, invoker_memory_block_duration dur,
    concurrency_rules_block_duration dur, lock_block_duration dur, deployment_concurrency_block_duration dur
"""

TABLES = _parsed(_TABLES)
"""Columns by table: name to type, in order."""

NOT_NULL = frozenset({("sys_invocation", "status")})

STATUS_VIEW_OF = "sys_invocation_status"
STATUS_VIEW = """
SELECT partition_key, target_service_name AS service, target_handler_name AS method, target_service_key AS service_key,
  target_service_key AS service_key_utf8, CAST(NULL AS INT) AS service_key_int32, CAST(NULL AS VARCHAR) AS service_key_uuid,
  id, id AS sid, status, invoked_by, invoked_by_service_name AS invoked_by_service,
  invoked_by_id, invoked_by_id AS invoked_by_sid,
  pinned_deployment_id, pinned_deployment_id AS pinned_endpoint_id, trace_id, journal_size, created_at, modified_at
FROM sys_invocation_status WHERE status <> 'completed'
"""
"""`sys_status`, as articles of 2023 and 2024 ask it: the invocations that have not completed."""

STATUS_COLUMNS: dict[str, Type] = {
    "partition_key": "u64",
    "service": "string",
    "method": "string",
    "service_key": "string",
    "service_key_utf8": "string",
    "service_key_int32": "u32",
    "service_key_uuid": "string",
    "id": "string",
    "sid": "string",
    "status": "string",
    "invoked_by": "string",
    "invoked_by_service": "string",
    "invoked_by_id": "string",
    "invoked_by_sid": "string",
    "pinned_deployment_id": "string",
    "pinned_endpoint_id": "string",
    "trace_id": "string",
    "journal_size": "u32",
    "created_at": "ts",
    "modified_at": "ts",
}
