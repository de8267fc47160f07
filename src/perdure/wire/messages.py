"""The messages of the service protocol, versions 5 to 7, as structs with their field numbers.

Commands and notifications have one struct each where their fields differ; what they are in the journal is in `commands`
and `notifications`. Fields that a version does not have are left at their defaults, which are not written.
"""

from __future__ import annotations

import enum

import msgspec

from perdure.wire.protobuf import boolean, message, nested, raw, string, uint32, uint64

VERSION_MIN = 5
VERSION_MAX = 7
VERSION_DEFAULT_MAX = 6
"""What is spoken unless a setting says otherwise, as in Restate 1.7."""


class Type(enum.IntEnum):
    """Control messages; the types of commands and notifications are the tags of their journal entries."""

    START = 0x0000
    SUSPENSION = 0x0001
    ERROR = 0x0002
    END = 0x0003
    COMMAND_ACK = 0x0004
    PROPOSE_RUN_COMPLETION = 0x0005
    AWAITING_ON = 0x0006
    PROPOSE_RUN_COMPLETION_ACK = 0x0007


class ErrorBehavior(enum.IntEnum):
    RETRY = 0
    PAUSE = 1
    FAIL = 2


# --- parts ----------------------------------------------------------------------------------------------------------------


@message(raw(1, "content"))
class Value(msgspec.Struct, gc=False):
    content: bytes = b""


@message(string(1, "key"), string(2, "value"))
class Pair(msgspec.Struct, gc=False):
    """A header, or an entry of a failure's metadata."""

    key: str = ""
    value: str = ""


@message(uint32(1, "code"), string(2, "message"), nested(3, "metadata", Pair, repeated=True))
class Failure(msgspec.Struct, gc=False):
    code: int = 0
    message: str = ""
    metadata: list[Pair] = []


@message(raw(1, "keys", repeated=True))
class StateKeys(msgspec.Struct, gc=False):
    keys: list[bytes] = []


@message()
class Void(msgspec.Struct, gc=False):
    pass


@message(string(1, "workflow_name"), string(2, "workflow_key"), string(3, "scope", optional=True))
class WorkflowTarget(msgspec.Struct, gc=False):
    workflow_name: str = ""
    workflow_key: str = ""
    scope: str | None = None


@message(
    string(1, "service_name"),
    string(2, "service_key", optional=True),
    string(3, "handler_name"),
    string(4, "idempotency_key"),
    string(5, "scope", optional=True),
)
class IdempotentRequestTarget(msgspec.Struct, gc=False):
    service_name: str = ""
    service_key: str | None = None
    handler_name: str = ""
    idempotency_key: str = ""
    scope: str | None = None


@message(
    uint32(1, "waiting_completions", repeated=True),
    uint32(2, "waiting_signals", repeated=True),
    string(3, "waiting_named_signals", repeated=True),
    nested(4, "nested_futures", None, repeated=True),
    uint32(5, "combinator_type"),
)
class Future(msgspec.Struct, gc=False):
    waiting_completions: list[int] = []
    waiting_signals: list[int] = []
    waiting_named_signals: list[str] = []
    nested_futures: list[Future] = []
    combinator_type: int = 0


# --- control --------------------------------------------------------------------------------------------------------------


@message(raw(1, "key"), raw(2, "value"))
class StateEntry(msgspec.Struct, gc=False):
    key: bytes = b""
    value: bytes = b""


@message(
    raw(1, "id"),
    string(2, "debug_id"),
    uint32(3, "known_entries"),
    nested(4, "state_map", StateEntry, repeated=True),
    boolean(5, "partial_state"),
    string(6, "key"),
    uint32(7, "retry_count_since_last_stored_entry"),
    uint64(8, "duration_since_last_stored_entry"),
    uint64(9, "random_seed"),
    string(10, "scope", optional=True),
    string(11, "limit_key", optional=True),
    string(12, "idempotency_key", optional=True),
)
class Start(msgspec.Struct, gc=False):
    id: bytes = b""
    debug_id: str = ""
    known_entries: int = 0
    state_map: list[StateEntry] = []
    partial_state: bool = False
    key: str = ""
    retry_count_since_last_stored_entry: int = 0
    duration_since_last_stored_entry: int = 0
    random_seed: int = 0
    scope: str | None = None
    limit_key: str | None = None
    idempotency_key: str | None = None


@message(
    uint32(1, "waiting_completions", repeated=True),
    uint32(2, "waiting_signals", repeated=True),
    string(3, "waiting_named_signals", repeated=True),
    nested(4, "awaiting_on", Future),
)
class Suspension(msgspec.Struct, gc=False):
    """Until version 6 the three lists, from version 7 on the tree."""

    waiting_completions: list[int] = []
    waiting_signals: list[int] = []
    waiting_named_signals: list[str] = []
    awaiting_on: Future | None = None


@message(
    uint32(1, "code"),
    string(2, "message"),
    string(3, "stacktrace"),
    uint32(4, "related_command_index", optional=True),
    string(5, "related_command_name", optional=True),
    uint32(6, "related_command_type", optional=True),
    uint64(8, "next_retry_delay", optional=True),
    uint32(9, "behavior"),
)
class Error(msgspec.Struct, gc=False):
    code: int = 0
    message: str = ""
    stacktrace: str = ""
    related_command_index: int | None = None
    related_command_name: str | None = None
    related_command_type: int | None = None
    next_retry_delay: int | None = None
    """Milliseconds."""
    behavior: int = ErrorBehavior.RETRY


@message(
    uint32(1, "result_completion_id"), raw(14, "value", oneof="result"), nested(15, "failure", Failure, oneof="result")
)
class ProposeRunCompletion(msgspec.Struct, gc=False):
    result_completion_id: int = 0
    value: bytes | None = None
    failure: Failure | None = None


@message(nested(1, "awaiting_on", Future), boolean(2, "executing_side_effects"))
class AwaitingOn(msgspec.Struct, gc=False):
    awaiting_on: Future | None = None
    executing_side_effects: bool = False


@message(uint32(1, "completion_id"))
class ProposeRunCompletionAck(msgspec.Struct, gc=False):
    completion_id: int = 0


# --- commands -------------------------------------------------------------------------------------------------------------


@message(nested(1, "headers", Pair, repeated=True), string(12, "name"), nested(14, "value", Value))
class Input(msgspec.Struct, gc=False):
    headers: list[Pair] = []
    name: str = ""
    value: Value | None = None


@message(string(12, "name"), nested(14, "value", Value, oneof="result"), nested(15, "failure", Failure, oneof="result"))
class Output(msgspec.Struct, gc=False):
    name: str = ""
    value: Value | None = None
    failure: Failure | None = None


@message(raw(1, "key"), uint32(11, "result_completion_id"), string(12, "name"))
class GetLazyState(msgspec.Struct, gc=False):
    key: bytes = b""
    result_completion_id: int = 0
    name: str = ""


@message(raw(1, "key"), nested(3, "value", Value), string(12, "name"))
class SetState(msgspec.Struct, gc=False):
    key: bytes = b""
    value: Value | None = None
    name: str = ""


@message(raw(1, "key"), string(12, "name"))
class ClearState(msgspec.Struct, gc=False):
    key: bytes = b""
    name: str = ""


@message(string(12, "name"))
class ClearAllState(msgspec.Struct, gc=False):
    name: str = ""


@message(uint32(11, "result_completion_id"), string(12, "name"))
class OnlyCompletion(msgspec.Struct, gc=False):
    """GetLazyStateKeys and Run."""

    result_completion_id: int = 0
    name: str = ""


@message(
    raw(1, "key"),
    string(12, "name"),
    nested(13, "void", Void, oneof="result"),
    nested(14, "value", Value, oneof="result"),
)
class GetEagerState(msgspec.Struct, gc=False):
    key: bytes = b""
    name: str = ""
    void: Void | None = None
    value: Value | None = None


@message(string(12, "name"), nested(14, "value", StateKeys))
class GetEagerStateKeys(msgspec.Struct, gc=False):
    name: str = ""
    value: StateKeys | None = None


@message(string(1, "key"), uint32(11, "result_completion_id"), string(12, "name"))
class PromiseRead(msgspec.Struct, gc=False):
    """GetPromise and PeekPromise."""

    key: str = ""
    result_completion_id: int = 0
    name: str = ""


@message(
    string(1, "key"),
    nested(2, "completion_value", Value, oneof="completion"),
    nested(3, "completion_failure", Failure, oneof="completion"),
    uint32(11, "result_completion_id"),
    string(12, "name"),
)
class CompletePromise(msgspec.Struct, gc=False):
    key: str = ""
    completion_value: Value | None = None
    completion_failure: Failure | None = None
    result_completion_id: int = 0
    name: str = ""


@message(uint64(1, "wake_up_time"), uint32(11, "result_completion_id"), string(12, "name"))
class Sleep(msgspec.Struct, gc=False):
    wake_up_time: int = 0
    """Unix time in milliseconds."""
    result_completion_id: int = 0
    name: str = ""


class _Request(msgspec.Struct, gc=False):
    """What Call and OneWayCall have in common, under different numbers."""

    service_name: str = ""
    handler_name: str = ""
    parameter: bytes = b""
    headers: list[Pair] = []
    key: str = ""
    idempotency_key: str | None = None
    scope: str | None = None
    limit_key: str | None = None
    invocation_id_notification_idx: int = 0
    name: str = ""


@message(
    string(1, "service_name"),
    string(2, "handler_name"),
    raw(3, "parameter"),
    nested(4, "headers", Pair, repeated=True),
    string(5, "key"),
    string(6, "idempotency_key", optional=True),
    string(7, "scope", optional=True),
    string(8, "limit_key", optional=True),
    uint32(10, "invocation_id_notification_idx"),
    uint32(11, "result_completion_id"),
    string(12, "name"),
)
class Call(_Request, gc=False):
    result_completion_id: int = 0


@message(
    string(1, "service_name"),
    string(2, "handler_name"),
    raw(3, "parameter"),
    uint64(4, "invoke_time"),
    nested(5, "headers", Pair, repeated=True),
    string(6, "key"),
    string(7, "idempotency_key", optional=True),
    string(8, "scope", optional=True),
    string(9, "limit_key", optional=True),
    uint32(10, "invocation_id_notification_idx"),
    string(12, "name"),
)
class OneWayCall(_Request, gc=False):
    invoke_time: int = 0
    """Unix time in milliseconds; 0: at once."""


@message(
    string(1, "target_invocation_id"),
    uint32(2, "idx", oneof="signal"),
    string(3, "signal_name", oneof="signal"),
    nested(4, "void", Void, oneof="result"),
    nested(5, "value", Value, oneof="result"),
    nested(6, "failure", Failure, oneof="result"),
    string(12, "entry_name"),
)
class SendSignal(msgspec.Struct, gc=False):
    target_invocation_id: str = ""
    idx: int | None = None
    signal_name: str | None = None
    void: Void | None = None
    value: Value | None = None
    failure: Failure | None = None
    entry_name: str = ""


@message(
    string(1, "invocation_id", oneof="target"),
    nested(3, "idempotent_request_target", IdempotentRequestTarget, oneof="target"),
    nested(4, "workflow_target", WorkflowTarget, oneof="target"),
    uint32(11, "result_completion_id"),
    string(12, "name"),
)
class InvocationQuery(msgspec.Struct, gc=False):
    """AttachInvocation and GetInvocationOutput."""

    invocation_id: str | None = None
    idempotent_request_target: IdempotentRequestTarget | None = None
    workflow_target: WorkflowTarget | None = None
    result_completion_id: int = 0
    name: str = ""


@message(
    string(1, "awakeable_id"),
    nested(2, "value", Value, oneof="result"),
    nested(3, "failure", Failure, oneof="result"),
    string(12, "name"),
)
class CompleteAwakeable(msgspec.Struct, gc=False):
    awakeable_id: str = ""
    value: Value | None = None
    failure: Failure | None = None
    name: str = ""


# --- notifications --------------------------------------------------------------------------------------------------------


@message(
    uint32(1, "completion_id", oneof="id"),
    uint32(2, "signal_id", oneof="id"),
    string(3, "signal_name", oneof="id"),
    nested(4, "void", Void, oneof="result"),
    nested(5, "value", Value, oneof="result"),
    nested(6, "failure", Failure, oneof="result"),
    string(16, "invocation_id", oneof="result"),
    nested(17, "state_keys", StateKeys, oneof="result"),
)
class Notification(msgspec.Struct, gc=False):
    completion_id: int | None = None
    signal_id: int | None = None
    signal_name: str | None = None
    void: Void | None = None
    value: Value | None = None
    failure: Failure | None = None
    invocation_id: str | None = None
    state_keys: StateKeys | None = None
