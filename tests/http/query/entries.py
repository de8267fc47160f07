"""Journal entries, and the JSON that a restate-server 1.7.12 showed for the same ones (all but the ids is from there)."""

from __future__ import annotations

from perdure.model import journal as j
from perdure.model.ids import format_invocation_id
from perdure.model.target import HandlerKind, Target

ID = bytes(range(24))
TEXT = format_invocation_id(ID)
DAY = {"secs": 86400, "nanos": 0}
NO_SPAN = {
    "span_context": {
        "trace_id": [0] * 16,
        "span_id": [0] * 8,
        "trace_flags": 0,
        "is_remote": False,
        "trace_state": "",
    },
    "cause": None,
}


def _request(target: Target, kind: HandlerKind) -> j.InvokeRequest:
    return j.InvokeRequest(ID, target, kind, [], b"", 1, 86_400_000, 86_400_000)


_LEAF = Target("A", None, "leaf")
_OTHER = Target("O", "kk", "other")
_RUN = Target("W", "wf1", "run")
_LEAF_JSON = {"Service": {"name": "A", "handler": "leaf", "scope": None}}
_OTHER_JSON = {
    "VirtualObject": {"name": "O", "key": "kk", "handler": "other", "handler_ty": "Exclusive", "scope": None}
}
_RUN_JSON = {"Workflow": {"name": "W", "key": "wf1", "handler": "run", "handler_ty": "Workflow", "scope": None}}


def _asked(target: object, parameter: bytes) -> dict[str, object]:
    return {
        "invocation_id": TEXT,
        "invocation_target": target,
        "span_context": NO_SPAN,
        "parameter": list(parameter),
        "headers": [],
        "idempotency_key": None,
        "completion_retention_duration": DAY,
        "journal_retention_duration": DAY,
    }


def _completion(name: str, number: int, rest: dict[str, object]) -> dict[str, object]:
    return {"Notification": {"Completion": {name: {"completion_id": number, **rest}}}}


def _lite(name: str, number: int, result: str) -> dict[str, object]:
    return {"Notification": {"ty": {"Completion": name}, "id": {"CompletionId": number}, "result": result}}


SAMPLES: list[tuple[j.Entry, dict[str, object], dict[str, object]]] = [
    (
        j.Input([("accept", "*/*")], b"1"),
        {"Command": {"Input": {"headers": [{"name": "accept", "value": "*/*"}], "payload": [49], "name": ""}}},
        {"Command": {"Input": {}}},
    ),
    (
        j.GetEagerState("k1", None),
        {"Command": {"GetEagerState": {"key": "k1", "result": "Void", "name": ""}}},
        {"Command": {"GetEagerState": {"key": "k1", "result": "Void"}}},
    ),
    (
        j.SetState("k1", b"2"),
        {"Command": {"SetState": {"key": "k1", "value": [50], "name": ""}}},
        {"Command": {"SetState": {"key": "k1"}}},
    ),
    (
        j.GetEagerStateKeys(["k1", "k2"]),
        {"Command": {"GetEagerStateKeys": {"state_keys": ["k1", "k2"], "name": ""}}},
        {"Command": {"GetEagerStateKeys": {}}},
    ),
    (
        j.ClearState("k2"),
        {"Command": {"ClearState": {"key": "k2", "name": ""}}},
        {"Command": {"ClearState": {"key": "k2"}}},
    ),
    (j.ClearAllState(), {"Command": {"ClearAllState": {"name": ""}}}, {"Command": {"ClearAllState": {}}}),
    (
        j.Run(3, "step"),
        {"Command": {"Run": {"completion_id": 3, "name": "step"}}},
        {"Command": {"Run": {"completion_id": 3, "name": "step"}}},
    ),
    (
        j.Completion(3, j.CompletionCode.RUN, b"3"),
        _completion("Run", 3, {"result": {"Success": [51]}}),
        _lite("Run", 3, "Success"),
    ),
    (
        j.Sleep(4, 1795577188893, "short"),
        {"Command": {"Sleep": {"wake_up_time": 1795577188893, "completion_id": 4, "name": "short"}}},
        {"Command": {"Sleep": {"wake_up_time": 1795577188893, "completion_id": 4, "name": "short"}}},
    ),
    (
        j.Sleep(5, 1795581327477),
        {"Command": {"Sleep": {"wake_up_time": 1795581327477, "completion_id": 5, "name": ""}}},
        {"Command": {"Sleep": {"wake_up_time": 1795581327477, "completion_id": 5}}},
    ),
    (j.Completion(4, j.CompletionCode.SLEEP), _completion("Sleep", 4, {}), _lite("Sleep", 4, "Void")),
    (
        j.Call(6, 5, _LEAF, [], b"5", request=_request(_LEAF, HandlerKind.PLAIN)),
        {
            "Command": {
                "Call": {
                    "request": _asked(_LEAF_JSON, b"5"),
                    "invocation_id_completion_id": 5,
                    "result_completion_id": 6,
                    "name": "",
                }
            }
        },
        {
            "Command": {
                "Call": {
                    "invocation_id": TEXT,
                    "invocation_target": _LEAF_JSON,
                    "invocation_id_completion_id": 5,
                    "result_completion_id": 6,
                }
            }
        },
    ),
    (
        j.Completion(5, j.CompletionCode.CALL_INVOCATION_ID, ID),
        _completion("CallInvocationId", 5, {"invocation_id": TEXT}),
        _lite("CallInvocationId", 5, "InvocationId"),
    ),
    (
        j.Completion(8, j.CompletionCode.CALL, j.Failure(409, "nope")),
        _completion("Call", 8, {"result": {"Failure": {"code": 409, "message": "nope"}}}),
        _lite("Call", 8, "Failure"),
    ),
    (
        j.OneWayCall(11, _OTHER, [], b"", 1795580788922, request=_request(_OTHER, HandlerKind.EXCLUSIVE)),
        {
            "Command": {
                "OneWayCall": {
                    "request": _asked(_OTHER_JSON, b""),
                    "invoke_time": 1795580788922,
                    "invocation_id_completion_id": 11,
                    "name": "",
                }
            }
        },
        {
            "Command": {
                "OneWayCall": {
                    "invocation_id": TEXT,
                    "invocation_target": _OTHER_JSON,
                    "invoke_time": 1795580788922,
                    "invocation_id_completion_id": 11,
                }
            }
        },
    ),
    (
        j.Call(13, 12, _RUN, [], b"", request=_request(_RUN, HandlerKind.RUN)),
        {
            "Command": {
                "Call": {
                    "request": _asked(_RUN_JSON, b""),
                    "invocation_id_completion_id": 12,
                    "result_completion_id": 13,
                    "name": "",
                }
            }
        },
        {
            "Command": {
                "Call": {
                    "invocation_id": TEXT,
                    "invocation_target": _RUN_JSON,
                    "invocation_id_completion_id": 12,
                    "result_completion_id": 13,
                }
            }
        },
    ),
    (
        j.CompleteAwakeable("sign_1abc", b'"hi"'),
        {"Command": {"CompleteAwakeable": {"id": "sign_1abc", "result": {"Success": list(b'"hi"')}, "name": ""}}},
        {"Command": {"CompleteAwakeable": {"id": "sign_1abc", "result": "Success"}}},
    ),
    (
        j.Signal(17, b'"hi"'),
        {"Notification": {"Signal": {"id": {"Index": 17}, "result": {"Success": list(b'"hi"')}}}},
        {"Notification": {"ty": "Signal", "id": {"SignalIndex": 17}, "result": "Success"}},
    ),
    (
        j.CompletePromise(1, "p", b'"val"'),
        {
            "Command": {
                "CompletePromise": {"key": "p", "value": {"Success": list(b'"val"')}, "completion_id": 1, "name": ""}
            }
        },
        {"Command": {"CompletePromise": {"key": "p", "completion_id": 1}}},
    ),
    (
        j.Completion(1, j.CompletionCode.COMPLETE_PROMISE),
        _completion("CompletePromise", 1, {"result": "Void"}),
        _lite("CompletePromise", 1, "Void"),
    ),
    (
        j.PeekPromise(2, "q"),
        {"Command": {"PeekPromise": {"key": "q", "completion_id": 2, "name": ""}}},
        {"Command": {"PeekPromise": {"key": "q", "completion_id": 2}}},
    ),
    (
        j.GetPromise(3, "p"),
        {"Command": {"GetPromise": {"key": "p", "completion_id": 3, "name": ""}}},
        {"Command": {"GetPromise": {"key": "p", "completion_id": 3}}},
    ),
    (
        j.Output(b'"done"'),
        {"Command": {"Output": {"result": {"Success": list(b'"done"')}, "name": ""}}},
        {"Command": {"Output": {"result": "Success"}}},
    ),
]
