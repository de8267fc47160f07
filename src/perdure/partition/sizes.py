"""How many bytes things take, roughly: what the bound of a layer and the bound of retention count.

Payloads are counted exactly, because they can be large; rows and entries by a typical size. Estimates are part of the
state machine's behaviour: the same record gives the same number everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from perdure.model import journal as j
from perdure.model import records as r
from perdure.store.rows import Event, Invocation

_ROW_BYTES = 400
_ENTRY_BYTES = 30
_EVENT_BYTES = 60
_LEAF_BYTES = 12

_PAYLOAD: Mapping[type, str] = MappingProxyType(
    {
        j.Input: "body",
        j.Output: "result",
        j.SetState: "value",
        j.GetEagerState: "value",
        j.CompletePromise: "result",
        j.Call: "body",
        j.OneWayCall: "body",
        j.SendSignal: "result",
        j.CompleteAwakeable: "result",
        j.Completion: "result",
        j.Signal: "result",
    }
)


def payload_bytes(entry: j.Entry) -> int:
    """What a person or a handler put into the entry."""
    field = _PAYLOAD.get(type(entry))
    if field is None:
        return 0
    payload = getattr(entry, field)
    return len(payload) if type(payload) is bytes else result_bytes(payload)


def result_bytes(result: bytes | j.Failure | list[str] | None) -> int:
    match result:
        case None:
            return 0
        case bytes():
            return len(result)
        case j.Failure():
            return len(result.message)
        case _:
            return sum(map(len, result))


def message_bytes(message: r.Message) -> int:
    match message:
        case r.InvokeMessage():
            return len(message.request.body)
        case r.CompletionMessage():
            return result_bytes(message.completion.result)
        case r.SignalMessage():
            return result_bytes(message.result)
        case _:
            return 0


def event_bytes(event: Event) -> int:
    """At most a few times `limits.EVENT_TEXT_MAX` for one with an error."""
    size = _EVENT_BYTES
    if event.error is not None:
        size += len(event.error.message) + len(event.error.stacktrace) + len(event.error.command_name or "")
    if event.awaiting is not None:  # every leaf stands in the tree too
        size += 2 * _LEAF_BYTES * (len(event.awaiting.completions) + len(event.awaiting.signals))
    return size


def kept_bytes(row: Invocation) -> int:
    """What a finished invocation takes until it is forgotten: its row, its result, what is left of its journal, its events."""
    events = 0 if row.events is None else row.events.bytes
    return _ROW_BYTES + _ENTRY_BYTES * row.journal_length + row.journal_bytes + events + result_bytes(row.result)
