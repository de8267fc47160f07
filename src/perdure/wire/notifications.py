"""Notifications of the journal as they go out: completions and signals. An SDK never sends one."""

from __future__ import annotations

from perdure.model import journal as j
from perdure.model.ids import format_invocation_id
from perdure.wire import messages as m
from perdure.wire.framing import encode_frame
from perdure.wire.protobuf import encode
from perdure.wire.results import to_failure

_MAY_BE_VOID = frozenset(
    {
        j.CompletionCode.LAZY_STATE,
        j.CompletionCode.PEEK_PROMISE,
        j.CompletionCode.COMPLETE_PROMISE,
        j.CompletionCode.SLEEP,
        j.CompletionCode.OUTPUT,
    }
)
_SIGNAL = 0xFBFF


def encode_notification(notification: j.Notification, version: int) -> bytes:
    """The frame of a notification of the journal."""
    if isinstance(notification, j.Signal):
        return encode_frame(_SIGNAL, encode(_signal(notification, version)))
    return encode_frame(notification.code, encode(_completion(notification, version)))


def _completion(completion: j.Completion, version: int) -> m.Notification:
    code, result = completion.code, completion.result
    wire = m.Notification(completion_id=completion.completion_id)
    if isinstance(result, j.Failure):
        wire.failure = to_failure(result, version)
    elif isinstance(result, list):
        wire.state_keys = m.StateKeys([key.encode() for key in result])
    elif code == j.CompletionCode.CALL_INVOCATION_ID:
        assert isinstance(result, bytes)
        wire.invocation_id = format_invocation_id(result)
    elif result is None and code in _MAY_BE_VOID:
        wire.void = m.Void()
    else:
        wire.value = m.Value(result or b"")
    return wire


def _signal(signal: j.Signal, version: int) -> m.Notification:
    wire = m.Notification()
    if isinstance(signal.signal_id, int):
        wire.signal_id = signal.signal_id
    else:
        wire.signal_name = signal.signal_id
    result = signal.result
    if isinstance(result, j.Failure):
        wire.failure = to_failure(result, version)
    elif result is None:
        wire.void = m.Void()
    else:
        wire.value = m.Value(result)
    return wire
