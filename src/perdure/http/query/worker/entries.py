"""Journal entries as JSON, in the shapes that Restate's command line and UI read."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from perdure.model import journal as j
from perdure.model.ids import format_invocation_id
from perdure.model.target import HandlerKind, Target

Json: TypeAlias = dict[str, object]
_NOTIFICATIONS = {
    j.CompletionCode.LAZY_STATE: "GetLazyState",
    j.CompletionCode.LAZY_STATE_KEYS: "GetLazyStateKeys",
    j.CompletionCode.GET_PROMISE: "GetPromise",
    j.CompletionCode.PEEK_PROMISE: "PeekPromise",
    j.CompletionCode.COMPLETE_PROMISE: "CompletePromise",
    j.CompletionCode.SLEEP: "Sleep",
    j.CompletionCode.CALL: "Call",
    j.CompletionCode.CALL_INVOCATION_ID: "CallInvocationId",
    j.CompletionCode.RUN: "Run",
    j.CompletionCode.ATTACH: "AttachInvocation",
    j.CompletionCode.OUTPUT: "GetInvocationOutput",
}
_HANDLER_TYPES = {
    HandlerKind.EXCLUSIVE: "Exclusive",
    HandlerKind.SHARED: "Shared",
    HandlerKind.RUN: "Workflow",
}


def is_command(entry: j.Entry) -> bool:
    return not isinstance(entry, j.Completion | j.Signal)


def type_name(entry: j.Entry) -> str:
    """As in `Command: Run` and `Notification: Sleep`, without the first word."""
    match entry:
        case j.Completion():
            return _NOTIFICATIONS[j.CompletionCode(entry.code)]
        case j.Signal():
            return "Signal"
        case _:
            return type(entry).__name__


def entry_type(entry: j.Entry) -> str:
    return f"{'Command' if is_command(entry) else 'Notification'}: {type_name(entry)}"


Workflows: TypeAlias = frozenset[str]
"""The names of the services that are workflows: of a shared handler its call does not tell."""


def entry_json(entry: j.Entry, workflows: Workflows = frozenset()) -> str:
    if is_command(entry):
        return _text({"Command": {type_name(entry): _command(entry, workflows)}})
    return _text(_notification(entry))


def entry_lite_json(entry: j.Entry, workflows: Workflows = frozenset()) -> str:
    """Without payloads."""
    if is_command(entry):
        return _text({"Command": {type_name(entry): _lite(entry, workflows)}})
    if isinstance(entry, j.Signal):
        return _text({"Notification": {"ty": "Signal", "id": _lite_signal_id(entry), "result": _kind(entry.result)}})
    assert isinstance(entry, j.Completion)
    result = "InvocationId" if entry.code == j.CompletionCode.CALL_INVOCATION_ID else _kind(entry.result)
    what = {"ty": {"Completion": type_name(entry)}, "id": {"CompletionId": entry.completion_id}, "result": result}
    return _text({"Notification": what})


def _lite_signal_id(entry: j.Signal) -> Json:
    return {"SignalIndex" if isinstance(entry.signal_id, int) else "SignalName": entry.signal_id}


def _kind(result: object) -> str:
    match result:
        case None:
            return "Void"
        case j.Failure():
            return "Failure"
        case list():
            return "StateKeys"
        case _:
            return "Success"


def _text(value: Json) -> str:
    return msgspec.json.encode(value).decode()


# --- commands -----------------------------------------------------------------------------------------------------------------


def _command(entry: j.Entry, workflows: Workflows) -> Json:
    match entry:
        case j.Input():
            return {"headers": _headers(entry.headers), "payload": list(entry.body), "name": entry.name}
        case j.Output():
            return {"result": _result(entry.result), "name": entry.name}
        case j.SetState():
            return {"key": entry.key, "value": list(entry.value), "name": entry.name}
        case j.GetEagerState():
            return {"key": entry.key, "result": _result(entry.value), "name": entry.name}
        case j.GetEagerStateKeys():
            return {"state_keys": entry.keys, "name": entry.name}
        case j.CompletePromise():
            value = _result(entry.result)
            return {"key": entry.key, "value": value, "completion_id": entry.completion_id, "name": entry.name}
        case j.Call() | j.OneWayCall():
            return {"request": _request(entry, workflows), **_call_ids(entry), "name": entry.name}
        case j.SendSignal() | j.CompleteAwakeable():
            return {**_lite(entry, workflows), "result": _result(entry.result), "name": entry.name}
        case _:
            return {**_lite(entry, workflows), "name": getattr(entry, "name", "")}


def _lite(entry: j.Entry, workflows: Workflows) -> Json:
    """The ids, targets and keys of a command, and of what kind a result is."""
    match entry:
        case j.Output():
            return {"result": _kind(entry.result)}
        case j.GetEagerState():
            return {"key": entry.key, "result": _kind(entry.value)}
        case j.GetLazyState() | j.GetPromise() | j.PeekPromise() | j.CompletePromise():
            return {"key": entry.key, "completion_id": entry.completion_id}
        case j.GetLazyStateKeys():
            return {"completion_id": entry.completion_id}
        case j.Run():
            return {"completion_id": entry.completion_id, "name": entry.name}
        case j.SetState() | j.ClearState():
            return {"key": entry.key}
        case j.Sleep():
            named = {"name": entry.name} if entry.name else {}
            return {"wake_up_time": entry.wake_at_ms, "completion_id": entry.completion_id, **named}
        case j.Call() | j.OneWayCall():
            return {**_callee(entry, workflows), **_call_ids(entry)}
        case j.SendSignal():
            target = format_invocation_id(entry.invocation_id)
            signal_id = _signal_id(entry.signal_id)
            return {"target_invocation_id": target, "signal_id": signal_id, "result": _kind(entry.result)}
        case j.AttachInvocation() | j.GetInvocationOutput():
            target_id = {"InvocationId": format_invocation_id(entry.invocation_id)}
            return {"target": target_id, "completion_id": entry.completion_id}
        case j.CompleteAwakeable():
            return {"id": entry.awakeable_id, "result": _kind(entry.result)}
        case _:
            return {}


def _callee(entry: j.Call | j.OneWayCall, workflows: Workflows) -> Json:
    request = entry.request
    return {
        "invocation_id": None if request is None else format_invocation_id(request.invocation_id),
        "invocation_target": _target(
            entry.target, None if request is None else request.handler_kind, entry.scope, workflows
        ),
    }


def _call_ids(entry: j.Call | j.OneWayCall) -> Json:
    told = entry.invocation_id_completion_id
    if isinstance(entry, j.Call):
        return {"invocation_id_completion_id": told, "result_completion_id": entry.completion_id}
    return {"invoke_time": entry.invoke_at_ms, "invocation_id_completion_id": told}


def _request(entry: j.Call | j.OneWayCall, workflows: Workflows) -> Json:
    request = entry.request
    return {
        **_callee(entry, workflows),
        "span_context": _span_context(None if request is None else request.traceparent),
        "parameter": list(entry.body),
        "headers": _headers(entry.headers),
        "idempotency_key": entry.idempotency_key,
        "completion_retention_duration": _length(0 if request is None else request.completion_retention_ms),
        "journal_retention_duration": _length(0 if request is None else request.journal_retention_ms),
    }


def _span_context(traceparent: str | None) -> Json:
    parts = (traceparent or "").split("-")
    trace, span, flags = parts[1:] if len(parts) == 4 else ("0" * 32, "0" * 16, "0")
    context = {
        "trace_id": list(bytes.fromhex(trace)),
        "span_id": list(bytes.fromhex(span)),
        "trace_flags": int(flags, 16),
        "is_remote": traceparent is not None,
        "trace_state": "",
    }
    return {"span_context": context, "cause": None}


def _target(target: Target, kind: HandlerKind | None, scope: str | None, workflows: Workflows) -> Json:
    if target.key is None:
        return {"Service": {"name": target.service, "handler": target.handler, "scope": scope}}
    keyed = {
        "name": target.service,
        "key": target.key,
        "handler": target.handler,
        "handler_ty": None if kind is None else _HANDLER_TYPES.get(kind),
        "scope": scope,
    }
    workflow = kind is HandlerKind.RUN or target.service in workflows
    return {"Workflow" if workflow else "VirtualObject": keyed}


# --- notifications ------------------------------------------------------------------------------------------------------------


def _notification(entry: j.Entry) -> Json:
    if isinstance(entry, j.Signal):
        return {"Notification": {"Signal": {"id": _signal_id(entry.signal_id), "result": _result(entry.result)}}}
    assert isinstance(entry, j.Completion)
    told: Json = {"completion_id": entry.completion_id}
    result = entry.result
    match j.CompletionCode(entry.code):
        case j.CompletionCode.CALL_INVOCATION_ID:
            assert isinstance(result, bytes)
            told["invocation_id"] = format_invocation_id(result)
        case j.CompletionCode.LAZY_STATE_KEYS:
            told["state_keys"] = result if isinstance(result, list) else []
        case j.CompletionCode.SLEEP:
            pass
        case _:
            assert not isinstance(result, list)
            told["result"] = _result(result)
    return {"Notification": {"Completion": {type_name(entry): told}}}


def _signal_id(signal_id: int | str) -> Json:
    return {"Index": signal_id} if isinstance(signal_id, int) else {"Name": signal_id}


def _result(result: j.Result) -> object:
    match result:
        case None:
            return "Void"
        case j.Failure():
            metadata = [{"key": key, "value": value} for key, value in (result.metadata or {}).items()]
            failure: Json = {"code": result.code, "message": result.message}
            return {"Failure": failure | ({"metadata": metadata} if metadata else {})}
        case _:
            return {"Success": list(result)}


def _headers(headers: j.Headers) -> list[Json]:
    return [{"name": name, "value": value} for name, value in headers]


def _length(ms: int) -> Json:
    return {"secs": ms // 1000, "nanos": ms % 1000 * 1_000_000}
