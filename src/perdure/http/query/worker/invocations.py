"""The tables whose rows are invocations: `sys_invocation`, its two halves, `sys_inbox`, `sys_keyed_service_status`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TypeAlias, cast

import pyarrow as pa

from perdure.http.local_deployment import pinned_deployment
from perdure.http.query.messages import Need, Rows
from perdure.http.query.worker.building import Columns, Known
from perdure.http.query.worker.codes import code_text
from perdure.model.ids import CANCEL_SIGNAL, format_invocation_id, partition_key, ulid_text
from perdure.model.journal import Awaiting, AwaitTree, Combinator, Failure, Origin
from perdure.model.records import AttemptError
from perdure.model.target import HandlerKind
from perdure.model.version import VERSION
from perdure.store.codec import decode_invocation
from perdure.store.rows import Invocation, Status

_TYPES = {
    HandlerKind.PLAIN: "service",
    HandlerKind.EXCLUSIVE: "virtual_object",
    HandlerKind.SHARED: "virtual_object",
    HandlerKind.RUN: "workflow",
}


class Seen:
    """One invocation, as its row and the attempts in memory say together."""

    __slots__ = ("_id", "known", "partition", "row")

    def __init__(self, row: Invocation, partition: int, known: Known) -> None:
        self.row = row
        self.partition = partition
        self.known = known
        self._id: str | None = None

    @property
    def id(self) -> str:
        if self._id is None:
            self._id = format_invocation_id(self.row.id)
        return self._id

    @property
    def in_flight(self) -> bool:
        return self.row.status is Status.INVOKED and (self.partition, self.row.seq) in self.known.attempts

    @property
    def in_invoker(self) -> bool:
        """An attempt runs, or is due because one has failed."""
        row = self.row
        return row.status is Status.INVOKED and (self.in_flight or row.retry_at_ms > 0 or row.last_error is not None)

    @property
    def retry_count(self) -> int | None:
        """Attempts so far, the one under way included."""
        if not self.in_invoker:
            return None
        tried = max(self.row.attempts_failed, self.row.failures)
        return tried + 1 if self.in_flight else max(tried, 1)

    @property
    def error(self) -> AttemptError | None:
        return None if self.row.status is Status.COMPLETED else self.row.last_error


def status(seen: Seen) -> str:
    """What people are told: the first that fits."""
    row = seen.row
    match row.status:
        case Status.INBOXED:
            return "pending"
        case Status.INVOKED if seen.in_flight:
            return "running"
        case Status.INVOKED:
            return "backing-off" if seen.in_invoker else "ready"
        case _:
            return row.status.name.lower()


def service_type(seen: Seen) -> str:
    kind = seen.row.handler_kind
    if kind is HandlerKind.SHARED:
        service = seen.known.services.get(seen.row.target.service)
        if service is not None:
            return service.kind
    return _TYPES[kind]


def _idempotency_key(seen: Seen) -> str | None:
    """Its own; a request that came without one counts as idempotent all the same, and the ULID of its id stands for it."""
    row = seen.row
    from_outside = row.origin is None or row.origin.kind == "ingress"
    if row.idempotency_key is None and from_outside and service_type(seen) != "workflow":
        return ulid_text(row.id[8:])
    return row.idempotency_key


# --- what is awaited ----------------------------------------------------------------------------------------------------------

_COMBINATORS = MappingProxyType(
    {
        Combinator.UNKNOWN: "Unknown",
        Combinator.FIRST_COMPLETED: "FirstCompleted",
        Combinator.ALL_COMPLETED: "AllCompleted",
        Combinator.FIRST_SUCCEEDED_OR_ALL_FAILED: "FirstSucceededOrAllFailed",
        Combinator.ALL_SUCCEEDED_OR_FIRST_FAILED: "AllSucceededOrFirstFailed",
    }
)
Json: TypeAlias = dict[str, object]


def _future_json(seen: Seen) -> str | None:
    awaiting = seen.row.awaiting
    return None if awaiting is None else json.dumps(awaited(awaiting), separators=(",", ":"))


def awaited(awaiting: Awaiting) -> Json:
    if awaiting.tree is not None:
        return _tree(awaiting.tree)
    signals = _in_order({*awaiting.signals, CANCEL_SIGNAL})
    leaves = [_single(each) for each in sorted(awaiting.completions)] + [_signal(each) for each in signals]
    return {"Unknown": leaves}


def _in_order(signals: Iterable[int | str]) -> list[int | str]:
    """Those with numbers first."""
    return sorted(signals, key=lambda each: (isinstance(each, str), each))


def _tree(tree: AwaitTree) -> Json:
    leaves = [_single(each) for each in tree.completions] + [_signal(each) for each in tree.signals]
    return {_COMBINATORS[Combinator(tree.combinator)]: leaves + [_tree(each) for each in tree.nested]}


def _single(completion_id: int) -> Json:
    return {"Single": {"CompletionId": completion_id}}


def _signal(signal_id: int | str) -> Json:
    return {"Single": {"SignalIndex" if isinstance(signal_id, int) else "SignalName": signal_id}}


def _awaited_signals(seen: Seen) -> list[int] | None:
    awaiting = seen.row.awaiting
    return None if awaiting is None else sorted(each for each in awaiting.signals if isinstance(each, int))


# --- columns ------------------------------------------------------------------------------------------------------------------

_Columns: TypeAlias = Mapping[str, Callable[[Seen], object]]


def _failure_text(seen: Seen) -> str | None:
    result = seen.row.result
    return f"[{result.code}] {result.message}" if isinstance(result, Failure) else None


def _last_failure(seen: Seen) -> str | None:
    error = seen.error
    if error is None:
        return None
    return f"[{code_text(error.code)}] {error.message}" + (f"\n{error.stacktrace}" if error.stacktrace else "")


def _trace_id(seen: Seen) -> str | None:
    parts = (seen.row.traceparent or "").split("-")
    return parts[1] if len(parts) == 4 else None


def _pinned(seen: Seen) -> str | None:
    """Once the handler has left something in the journal."""
    row = seen.row
    if row.journal_length < 2 and row.status is not Status.COMPLETED:
        return None
    return pinned_deployment(row.deployment, remote=row.protocol_version is not None)


def _attempted(seen: Seen) -> str | None:
    """What it is pinned to; before that, an attempt goes to the latest deployment of its service."""
    row = seen.row
    if not seen.in_invoker:
        return None
    if row.deployment is not None:
        return pinned_deployment(row.deployment, remote=row.protocol_version is not None)
    service = seen.known.services.get(row.target.service)
    return None if service is None else service.deployment_id


def _attempt_server(seen: Seen) -> str | None:
    """What the deployment said of itself when it was registered."""
    attempted = _attempted(seen)
    return None if attempted is None else seen.known.servers.get(attempted)


def _journal(name: str) -> Callable[[Seen], object]:
    """Before it starts, an invocation has none to speak of."""
    waits = (Status.SCHEDULED, Status.INBOXED)
    return lambda seen: None if seen.row.status in waits else getattr(seen.row, name)


def _result(seen: Seen) -> str | None:
    if seen.row.status is not Status.COMPLETED:
        return None
    return "failure" if isinstance(seen.row.result, Failure) else "success"


def _if_not_zero(name: str) -> Callable[[Seen], object]:
    return lambda seen: getattr(seen.row, name) or None


def _of_error(name: str) -> Callable[[Seen], object]:
    return lambda seen: getattr(seen.error, name) if seen.in_invoker and seen.error is not None else None


def _caller(seen: Seen) -> Origin | None:
    origin = seen.row.origin
    return None if origin is None or origin.kind == "restart_as_new" else origin


def _caller_id(seen: Seen) -> str | None:
    caller = _caller(seen)
    return None if caller is None or caller.invocation_id is None else format_invocation_id(caller.invocation_id)


def _caller_target(seen: Seen) -> str | None:
    caller = _caller(seen)
    return None if caller is None or caller.target is None else str(caller.target)


def _caller_service(seen: Seen) -> str | None:
    caller = _caller(seen)
    return None if caller is None or caller.target is None else caller.target.service


def _restarted_from(seen: Seen) -> str | None:
    origin = seen.row.origin
    if origin is None or origin.invocation_id is None or origin.kind != "restart_as_new":
        return None
    return format_invocation_id(origin.invocation_id)


_BOTH: _Columns = {
    "partition_key": lambda seen: partition_key(seen.row.id),
    "id": lambda seen: seen.id,
}
_STATUS: _Columns = {
    **_BOTH,
    "status": lambda seen: seen.row.status.name.lower(),
    "completion_result": _result,
    "completion_failure": _failure_text,
    "target": lambda seen: str(seen.row.target),
    "target_service_name": lambda seen: seen.row.target.service,
    "target_service_key": lambda seen: seen.row.target.key,
    "target_handler_name": lambda seen: seen.row.target.handler,
    "target_service_ty": service_type,
    "scope": lambda seen: seen.row.scope,
    "limit_key": lambda seen: seen.row.limit_key,
    "idempotency_key": _idempotency_key,
    "invoked_by": lambda seen: "ingress" if seen.row.origin is None else seen.row.origin.kind,
    "invoked_by_id": _caller_id,
    "invoked_by_service_name": _caller_service,
    "invoked_by_target": _caller_target,
    "restarted_from": _restarted_from,
    "pinned_deployment_id": _pinned,
    "pinned_service_protocol_version": lambda seen: seen.row.protocol_version,
    "trace_id": _trace_id,
    "journal_size": _journal("journal_length"),
    "journal_commands_size": _journal("commands"),
    "created_at": lambda seen: seen.row.created_at_ms,
    "created_using_restate_version": lambda seen: VERSION,
    "modified_at": lambda seen: seen.row.modified_at_ms or seen.row.created_at_ms,
    "inboxed_at": _if_not_zero("inboxed_at_ms"),
    "scheduled_at": lambda seen: seen.row.created_at_ms if seen.row.execute_at_ms else None,
    "scheduled_start_at": _if_not_zero("execute_at_ms"),
    "running_at": _if_not_zero("started_at_ms"),
    "completed_at": _if_not_zero("completed_at_ms"),
    "completion_retention": lambda seen: seen.row.completion_retention_ms,
    "journal_retention": lambda seen: seen.row.journal_retention_ms,
    "suspended_waiting_for_completions": lambda seen: seen.row.awaiting and seen.row.awaiting.completions,
    "suspended_waiting_for_signals": _awaited_signals,
    "suspended_waiting_future_json": _future_json,
}
_STATE: _Columns = {
    **_BOTH,
    "in_flight": lambda seen: seen.in_flight,
    "retry_count": lambda seen: seen.retry_count,
    "last_start_at": lambda seen: (seen.row.attempt_at_ms or None) if seen.in_invoker else None,
    "last_attempt_deployment_id": _attempted,
    "last_attempt_server": _attempt_server,
    "next_retry_at": lambda seen: (seen.row.retry_at_ms or None) if seen.in_invoker else None,
    "last_failure": lambda seen: _last_failure(seen) if seen.in_invoker else None,
    "last_failure_error_code": _of_error("doc_code"),
    "last_failure_related_command_index": _of_error("command_index"),
    "last_failure_related_command_name": _of_error("command_name"),
    "last_failure_related_command_type": _of_error("command_type"),
}
_WHOLE: _Columns = {
    **_STATUS,
    **_STATE,
    "status": status,
    # The reason of a pause outlives the attempts.
    "last_failure": _last_failure,
    "last_failure_error_code": lambda seen: None if seen.error is None else seen.error.doc_code,
}
_INBOX: _Columns = {
    **_BOTH,
    "service_name": lambda seen: seen.row.target.service,
    "service_key": lambda seen: seen.row.target.key,
    "sequence_number": lambda seen: seen.row.inbox_position,
    "created_at": lambda seen: seen.row.created_at_ms,
}
_HOLDERS: _Columns = {
    **_BOTH,
    "service_name": lambda seen: seen.row.target.service,
    "service_key": lambda seen: seen.row.target.key,
    "invocation_id": lambda seen: seen.id,
}
COLUMNS: Mapping[str, _Columns] = MappingProxyType(
    {
        "sys_invocation": _WHOLE,
        "sys_invocation_status": _STATUS,
        "sys_invocation_state": _STATE,
        "sys_inbox": _INBOX,
        "sys_keyed_service_status": _HOLDERS,
    }
)


class InvocationTable:
    def __init__(self, need: Need, known: Known) -> None:
        self._columns = Columns(need, COLUMNS[need.table])
        self._known = known
        self._only_in_invoker = need.table == "sys_invocation_state"

    def take(self, rows: Rows) -> None:
        if not self._columns.names and not self._only_in_invoker:
            self._columns.add_blank(len(rows.rows))
            return
        seen = [seen_of(stored, self._known) for stored in rows.rows]
        self._columns.extend([each for each in seen if each.in_invoker] if self._only_in_invoker else seen)

    def finish(self) -> list[pa.RecordBatch]:
        return self._columns.finish()


def seen_of(stored: tuple[object, ...], known: Known) -> Seen:
    """Errors: RowCorrupt."""
    partition, seq, row, crc = stored
    place = (cast(int, partition), cast(int, seq))
    return Seen(decode_invocation(row, crc, place), place[0], known)
