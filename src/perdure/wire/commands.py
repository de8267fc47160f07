"""Commands on the wire and in the journal, both ways.

What always holds: a command that was read is written back with the same fields, because an SDK compares its journal with
what its code does now, field by field. Only what an SDK never compares is not kept: how a sleep beyond the end of time was
written, and whether an empty state value stood there or was left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from perdure.model import journal as j
from perdure.model.ids import BadId, format_invocation_id, keyed_invocation_id, parse_invocation_id
from perdure.model.limits import TIMER_AT_MS_MAX
from perdure.model.target import Target
from perdure.wire import messages as m
from perdure.wire.errors import ProtocolViolation
from perdure.wire.framing import Frame, encode_frame
from perdure.wire.protobuf import decode, encode
from perdure.wire.results import from_failure, from_pairs, from_value, state_key, to_failure, to_pairs

COMMANDS = range(0x0400, 0x8000)
"""Types of messages that are commands."""
_NO_RANDOM = bytes(18)


def type_of(command: j.Command) -> int:
    """The message type of a command."""
    tag = command.__struct_config__.tag
    assert isinstance(tag, int)
    return tag


def name_of_type(message_type: int) -> str | None:
    """The name of a command, as people read it; None: there is no such command."""
    codec = _CODECS.get(message_type)
    return None if codec is None else codec.name


def decode_command(frame: Frame) -> j.Command:
    """Errors: ProtocolViolation."""
    codec = _CODECS.get(frame.type)
    if codec is None:
        raise ProtocolViolation(f"there is no command of type 0x{frame.type:04X}.")
    return codec.read(decode(codec.message, frame.payload))


def encode_command(command: j.Command, version: int) -> bytes:
    """The frame of a command of the journal."""
    message_type = type_of(command)
    return encode_frame(message_type, encode(_CODECS[message_type].write(command, version)))


class _Codec(msgspec.Struct, frozen=True):
    name: str
    message: type[msgspec.Struct]
    read: Callable[[Any], j.Command]
    write: Callable[[Any, int], msgspec.Struct]


# --- reading ------------------------------------------------------------------------------------------------------------


def _read_input(wire: m.Input) -> j.Command:
    return j.Input(from_pairs(wire.headers), from_value(wire.value) or b"", wire.name)


def _read_output(wire: m.Output) -> j.Command:
    return j.Output(_result(wire.value, wire.failure), wire.name)


def _read_complete_promise(wire: m.CompletePromise) -> j.Command:
    result = _result(wire.completion_value, wire.completion_failure)
    return j.CompletePromise(wire.result_completion_id, wire.key, result, wire.name)


def _read_eager_keys(wire: m.GetEagerStateKeys) -> j.Command:
    keys = [] if wire.value is None else [state_key(key) for key in wire.value.keys]
    return j.GetEagerStateKeys(keys, wire.name)


def _read_sleep(wire: m.Sleep) -> j.Command:
    return j.Sleep(wire.result_completion_id, min(wire.wake_up_time, TIMER_AT_MS_MAX), wire.name)


def _read_call(wire: m.Call) -> j.Command:
    return j.Call(
        wire.result_completion_id,
        wire.invocation_id_notification_idx,
        Target(wire.service_name, wire.key or None, wire.handler_name),
        from_pairs(wire.headers),
        wire.parameter,
        wire.idempotency_key,
        wire.name,
        scope=wire.scope,
        limit_key=wire.limit_key,
    )


def _read_one_way_call(wire: m.OneWayCall) -> j.Command:
    return j.OneWayCall(
        wire.invocation_id_notification_idx,
        Target(wire.service_name, wire.key or None, wire.handler_name),
        from_pairs(wire.headers),
        wire.parameter,
        min(wire.invoke_time, TIMER_AT_MS_MAX),
        wire.idempotency_key,
        wire.name,
        scope=wire.scope,
        limit_key=wire.limit_key,
    )


def _read_signal(wire: m.SendSignal) -> j.Command:
    signal_id = wire.idx if wire.signal_name is None else wire.signal_name
    if signal_id is None:
        raise ProtocolViolation("a signal is sent without saying which.")
    result = _result(wire.value, wire.failure)
    return j.SendSignal(_invocation_id(wire.target_invocation_id), signal_id, result, wire.entry_name)


def _read_attach(wire: m.InvocationQuery) -> j.Command:
    invocation_id, asked = _queried(wire)
    return j.AttachInvocation(wire.result_completion_id, invocation_id, wire.name, asked)


def _read_get_output(wire: m.InvocationQuery) -> j.Command:
    invocation_id, asked = _queried(wire)
    return j.GetInvocationOutput(wire.result_completion_id, invocation_id, wire.name, asked)


def _queried(wire: m.InvocationQuery) -> tuple[bytes, j.IdempotentTarget | j.WorkflowTarget | None]:
    if (idempotent := wire.idempotent_request_target) is not None:
        target = Target(idempotent.service_name, idempotent.service_key or None, idempotent.handler_name)
        key = idempotent.idempotency_key
        asked = j.IdempotentTarget(target, key, idempotent.scope)
        return _derived(target, workflow_run=False, idempotency_key=key), asked
    if (workflow := wire.workflow_target) is not None:
        run = Target(workflow.workflow_name, workflow.workflow_key, "run")
        invocation_id = _derived(run, workflow_run=True, idempotency_key=None)
        return invocation_id, j.WorkflowTarget(workflow.workflow_name, workflow.workflow_key, workflow.scope)
    if wire.invocation_id is None:
        raise ProtocolViolation("an invocation is asked for without saying which.")
    return _invocation_id(wire.invocation_id), None


def _derived(target: Target, *, workflow_run: bool, idempotency_key: str | None) -> bytes:
    return keyed_invocation_id(
        target.service,
        target.key,
        target.handler,
        workflow_run=workflow_run,
        idempotency_key=idempotency_key,
        at_ms=0,
        random=_NO_RANDOM,
    )


def _invocation_id(text: str) -> bytes:
    try:
        return parse_invocation_id(text)
    except BadId as bad:
        raise ProtocolViolation(f"a bad invocation id was sent: {bad}.") from None


def _result(value: m.Value | None, failure: m.Failure | None) -> j.Result:
    return from_failure(failure) if failure is not None else from_value(value)


# --- writing ------------------------------------------------------------------------------------------------------------


def _write_output(command: j.Output, version: int) -> m.Output:
    return m.Output(command.name, _value(command.result), _failure(command.result, version))


def _write_complete_promise(command: j.CompletePromise, version: int) -> m.CompletePromise:
    result = command.result
    return m.CompletePromise(
        command.key, _value(result), _failure(result, version), command.completion_id, command.name
    )


def _write_eager_state(command: j.GetEagerState, version: int) -> m.GetEagerState:
    value = command.value
    void = m.Void() if value is None else None
    return m.GetEagerState(command.key.encode(), command.name, void, _value(value))


def _write_eager_keys(command: j.GetEagerStateKeys, version: int) -> m.GetEagerStateKeys:
    return m.GetEagerStateKeys(command.name, m.StateKeys([key.encode() for key in command.keys]))


def _write_call(command: j.Call, version: int) -> m.Call:
    target = command.target
    return m.Call(
        target.service,
        target.handler,
        command.body,
        to_pairs(command.headers),
        target.key or "",
        command.idempotency_key,
        command.scope,
        command.limit_key,
        command.invocation_id_completion_id,
        command.name,
        command.completion_id,
    )


def _write_one_way_call(command: j.OneWayCall, version: int) -> m.OneWayCall:
    target = command.target
    return m.OneWayCall(
        target.service,
        target.handler,
        command.body,
        to_pairs(command.headers),
        target.key or "",
        command.idempotency_key,
        command.scope,
        command.limit_key,
        command.invocation_id_completion_id,
        command.name,
        command.invoke_at_ms,
    )


def _write_signal(command: j.SendSignal, version: int) -> m.SendSignal:
    signal_id, result = command.signal_id, command.result
    return m.SendSignal(
        format_invocation_id(command.invocation_id),
        signal_id if isinstance(signal_id, int) else None,
        signal_id if isinstance(signal_id, str) else None,
        m.Void() if result is None else None,
        _value(result),
        _failure(result, version),
        command.name,
    )


def _write_query(command: j.AttachInvocation | j.GetInvocationOutput, version: int) -> m.InvocationQuery:
    wire = m.InvocationQuery(result_completion_id=command.completion_id, name=command.name)
    asked = command.asked
    if asked is None:
        wire.invocation_id = format_invocation_id(command.invocation_id)
    elif isinstance(asked, j.WorkflowTarget):
        wire.workflow_target = m.WorkflowTarget(asked.name, asked.key, asked.scope)
    else:
        target = asked.target
        wire.idempotent_request_target = m.IdempotentRequestTarget(
            target.service, target.key, target.handler, asked.idempotency_key, asked.scope
        )
    return wire


def _write_awakeable(command: j.CompleteAwakeable, version: int) -> m.CompleteAwakeable:
    result = command.result
    return m.CompleteAwakeable(command.awakeable_id, _value(result), _failure(result, version), command.name)


def _value(result: j.Result) -> m.Value | None:
    return m.Value(result) if isinstance(result, bytes) else None


def _failure(result: j.Result, version: int) -> m.Failure | None:
    return to_failure(result, version) if isinstance(result, j.Failure) else None


_CODECS: Mapping[int, _Codec] = MappingProxyType(
    {
        0x0400: _Codec(
            "Input",
            m.Input,
            _read_input,
            lambda c, v: m.Input(to_pairs(c.headers), c.name, m.Value(c.body)),
        ),
        0x0401: _Codec("Output", m.Output, _read_output, _write_output),
        0x0402: _Codec(
            "GetLazyState",
            m.GetLazyState,
            lambda w: j.GetLazyState(w.result_completion_id, state_key(w.key), w.name),
            lambda c, v: m.GetLazyState(c.key.encode(), c.completion_id, c.name),
        ),
        0x0403: _Codec(
            "SetState",
            m.SetState,
            lambda w: j.SetState(state_key(w.key), from_value(w.value) or b"", w.name),
            lambda c, v: m.SetState(c.key.encode(), m.Value(c.value), c.name),
        ),
        0x0404: _Codec(
            "ClearState",
            m.ClearState,
            lambda w: j.ClearState(state_key(w.key), w.name),
            lambda c, v: m.ClearState(c.key.encode(), c.name),
        ),
        0x0405: _Codec(
            "ClearAllState",
            m.ClearAllState,
            lambda w: j.ClearAllState(w.name),
            lambda c, v: m.ClearAllState(c.name),
        ),
        0x0406: _Codec(
            "GetLazyStateKeys",
            m.OnlyCompletion,
            lambda w: j.GetLazyStateKeys(w.result_completion_id, w.name),
            lambda c, v: m.OnlyCompletion(c.completion_id, c.name),
        ),
        0x0407: _Codec(
            "GetEagerState",
            m.GetEagerState,
            lambda w: j.GetEagerState(state_key(w.key), from_value(w.value), w.name),
            _write_eager_state,
        ),
        0x0408: _Codec("GetEagerStateKeys", m.GetEagerStateKeys, _read_eager_keys, _write_eager_keys),
        0x0409: _Codec(
            "GetPromise",
            m.PromiseRead,
            lambda w: j.GetPromise(w.result_completion_id, w.key, w.name),
            lambda c, v: m.PromiseRead(c.key, c.completion_id, c.name),
        ),
        0x040A: _Codec(
            "PeekPromise",
            m.PromiseRead,
            lambda w: j.PeekPromise(w.result_completion_id, w.key, w.name),
            lambda c, v: m.PromiseRead(c.key, c.completion_id, c.name),
        ),
        0x040B: _Codec("CompletePromise", m.CompletePromise, _read_complete_promise, _write_complete_promise),
        0x040C: _Codec(
            "Sleep",
            m.Sleep,
            _read_sleep,
            lambda c, v: m.Sleep(c.wake_at_ms, c.completion_id, c.name),
        ),
        0x040D: _Codec("Call", m.Call, _read_call, _write_call),
        0x040E: _Codec("OneWayCall", m.OneWayCall, _read_one_way_call, _write_one_way_call),
        0x0410: _Codec("SendSignal", m.SendSignal, _read_signal, _write_signal),
        0x0411: _Codec(
            "Run",
            m.OnlyCompletion,
            lambda w: j.Run(w.result_completion_id, w.name),
            lambda c, v: m.OnlyCompletion(c.completion_id, c.name),
        ),
        0x0412: _Codec("AttachInvocation", m.InvocationQuery, _read_attach, _write_query),
        0x0413: _Codec("GetInvocationOutput", m.InvocationQuery, _read_get_output, _write_query),
        0x0414: _Codec(
            "CompleteAwakeable",
            m.CompleteAwakeable,
            lambda w: j.CompleteAwakeable(w.awakeable_id, _result(w.value, w.failure), w.name),
            _write_awakeable,
        ),
    }
)
