"""What an attempt did: its commands enter the journal and take effect, in the order in which they were issued."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from perdure.model import journal as j
from perdure.model.ids import BadId, parse_awakeable_id
from perdure.model.records import AttachMessage, InvokeMessage, Progress, SignalMessage
from perdure.partition.lifecycle import append, arm, attempt_is_current, finish, tell
from perdure.partition.promises import complete_promise, get_promise, peek_promise
from perdure.partition.work import Work
from perdure.store.rows import Invocation, StepFailures, Timer, TimerKind


def progress(work: Work, record: Progress) -> None:
    """Append the entries and carry out each; with `ended`, the last is `Output` and the invocation is finished.

    Ignored when the attempt is not the current one (the fence).
    """
    if not attempt_is_current(work.tables.invocation(record.seq), record.epoch):
        return
    row = work.tables.edit(record.seq)
    row.interruptions = 0
    if record.pin is not None and row.protocol_version is None:
        row.deployment, row.protocol_version = record.pin.deployment, record.pin.protocol_version
    for entry in record.entries:
        if type(entry) is j.Completion:  # the result of a step, proposed by the attempt itself
            if row.step_failures:
                row.step_failures = _without(row.step_failures, entry.completion_id)
            tell(work, row, entry)
            continue
        append(work, row, entry)
        row.commands += 1
        row.failures = 0
        row.last_gain_at_ms = work.now_ms
        effect = EFFECTS.get(type(entry))
        if effect is not None:
            effect(work, row, entry)
    if record.ended:
        output = record.entries[-1]
        assert type(output) is j.Output, "an ended attempt's last entry is its output"
        finish(work, row, output.result)


def _without(failures: dict[int, StepFailures], step: int) -> dict[int, StepFailures] | None:
    """Those of the other steps: what one step gains says nothing of another that fails beside it."""
    return {other: count for other, count in failures.items() if other != step} or None


def _set_state(work: Work, row: Invocation, entry: j.SetState) -> None:
    """The value of the key in the state of the handler's object or workflow, from here on."""
    work.tables.set_state(row.target.service, row.target.key or "", entry.key, entry.value)


def _clear_state(work: Work, row: Invocation, entry: j.ClearState) -> None:
    """The key is gone from the state."""
    work.tables.clear_state(row.target.service, row.target.key or "", entry.key)


def _clear_all_state(work: Work, row: Invocation, entry: j.ClearAllState) -> None:
    """The state is empty."""
    work.tables.clear_all_state(row.target.service, row.target.key or "")


def _get_lazy_state(work: Work, row: Invocation, entry: j.GetLazyState) -> None:
    """Answered at once with the value, or nothing."""
    value = work.tables.state_value(row.target.service, row.target.key or "", entry.key)
    tell(work, row, j.Completion(entry.completion_id, j.CompletionCode.LAZY_STATE, value))


def _get_lazy_state_keys(work: Work, row: Invocation, entry: j.GetLazyStateKeys) -> None:
    """Answered at once with the names in the state, in order."""
    keys = sorted(work.tables.state(row.target.service, row.target.key or ""))
    tell(work, row, j.Completion(entry.completion_id, j.CompletionCode.LAZY_STATE_KEYS, keys))


def _sleep(work: Work, row: Invocation, entry: j.Sleep) -> None:
    """Arm a timer; answered when it fires, at once when its time is past."""
    row.timers = [*(row.timers or ()), (entry.wake_at_ms, entry.completion_id)]
    arm(work, Timer(entry.wake_at_ms, row.seq, entry.completion_id, TimerKind.SLEEP))


def _call(work: Work, row: Invocation, entry: j.Call | j.OneWayCall) -> None:
    """Send the request; answered at once with the id of the new invocation, and a `Call` later with its result."""
    request = entry.request
    assert request is not None, "the invoker resolves a call before it proposes it"
    request = msgspec.structs.replace(request, headers=entry.headers, body=entry.body)
    work.send(work.home_of(request.invocation_id), InvokeMessage(request))
    code = j.CompletionCode.CALL_INVOCATION_ID
    tell(work, row, j.Completion(entry.invocation_id_completion_id, code, request.invocation_id))


def _send_signal(work: Work, row: Invocation, entry: j.SendSignal) -> None:
    """Send the signal to another invocation."""
    message = SignalMessage(entry.invocation_id, entry.signal_id, entry.result)
    work.send(work.home_of(entry.invocation_id), message)


def _complete_awakeable(work: Work, row: Invocation, entry: j.CompleteAwakeable) -> None:
    """Send the signal that the awakeable's id names; an id that is none is ignored."""
    try:
        invocation_id, signal = parse_awakeable_id(entry.awakeable_id)
    except BadId:  # refused by the author's side; one that came here all the same has nobody to tell
        return
    work.send(work.home_of(invocation_id), SignalMessage(invocation_id, signal, entry.result))


def _attach(work: Work, row: Invocation, entry: j.AttachInvocation) -> None:
    """Answered with the result of the other invocation once it is there, with failure 404 if it is unknown."""
    caller = j.Caller(work.partition, row.seq, entry.completion_id, j.CompletionCode.ATTACH)
    work.send(work.home_of(entry.invocation_id), AttachMessage(entry.invocation_id, caller))


def _get_output(work: Work, row: Invocation, entry: j.GetInvocationOutput) -> None:
    """Answered with the result if it is there, nothing if it is not yet, failure 404 if the invocation is unknown."""
    caller = j.Caller(work.partition, row.seq, entry.completion_id, j.CompletionCode.OUTPUT)
    work.send(work.home_of(entry.invocation_id), AttachMessage(entry.invocation_id, caller, wait=False))


EFFECTS: Mapping[type, Callable[[Work, Invocation, Any], None]] = MappingProxyType(
    {
        j.SetState: _set_state,
        j.ClearState: _clear_state,
        j.ClearAllState: _clear_all_state,
        j.GetLazyState: _get_lazy_state,
        j.GetLazyStateKeys: _get_lazy_state_keys,
        j.Sleep: _sleep,
        j.Call: _call,
        j.OneWayCall: _call,
        j.SendSignal: _send_signal,
        j.CompleteAwakeable: _complete_awakeable,
        j.AttachInvocation: _attach,
        j.GetInvocationOutput: _get_output,
        j.GetPromise: get_promise,
        j.PeekPromise: peek_promise,
        j.CompletePromise: complete_promise,
    }
)
"""What a command does beyond standing in the journal. Run, eager reads, Input and Output do nothing more."""
