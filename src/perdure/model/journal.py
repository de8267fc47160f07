"""Journal entries: what a handler asked (commands) and what it was told (notifications).

The journal of an invocation is a dense list of entries; entry 0 is `Input`. A command that can be answered carries a
`completion_id`, numbered by the author's side from 1 upward within the invocation; the answer is a `Completion` with that
id. A `Signal` is a notification that nobody in the journal asked for. The tag of an entry is its message type in Restate's
service protocol (docs/formats.md), so one number names it in the log, in SQL and on the wire.

Entries are immutable once appended. `name` is what the author called the entry; it takes part in replay comparison.
"""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec

from perdure.model.target import HandlerKind, Target

Headers: TypeAlias = list[tuple[str, str]]


class Failure(msgspec.Struct, frozen=True, gc=False):
    """A terminal error as stored: HTTP-like code, message, optional string metadata."""

    code: int
    message: str
    metadata: dict[str, str] | None = None


Result: TypeAlias = bytes | Failure | None
"""Outcome of anything durable: value bytes, a terminal failure, or None for "done, without a value"."""


class _Entry(msgspec.Struct, array_like=True, gc=False):
    pass


# --- commands ---------------------------------------------------------------------------------------------------------


class Input(_Entry, tag=0x0400):
    headers: Headers
    body: bytes
    name: str = ""


class Output(_Entry, tag=0x0401):
    """The handler's outcome; the last command of an invocation."""

    result: Result
    name: str = ""


class GetLazyState(_Entry, tag=0x0402):
    completion_id: int
    key: str
    name: str = ""


class SetState(_Entry, tag=0x0403):
    key: str
    value: bytes
    name: str = ""


class ClearState(_Entry, tag=0x0404):
    key: str
    name: str = ""


class ClearAllState(_Entry, tag=0x0405):
    name: str = ""


class GetLazyStateKeys(_Entry, tag=0x0406):
    completion_id: int
    name: str = ""


class GetEagerState(_Entry, tag=0x0407):
    """A read answered from the state that came with the attempt; the answer (None: no such key) is part of the entry."""

    key: str
    value: bytes | None
    name: str = ""


class GetEagerStateKeys(_Entry, tag=0x0408):
    keys: list[str]
    name: str = ""


class GetPromise(_Entry, tag=0x0409):
    completion_id: int
    key: str
    name: str = ""


class PeekPromise(_Entry, tag=0x040A):
    completion_id: int
    key: str
    name: str = ""


class CompletePromise(_Entry, tag=0x040B):
    completion_id: int
    key: str
    result: Result
    name: str = ""


class Sleep(_Entry, tag=0x040C):
    completion_id: int
    wake_at_ms: int
    name: str = ""


class Caller(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Whom to tell of a completion: an entry of another invocation's journal."""

    partition: int
    seq: int
    completion_id: int
    code: int
    """`CompletionCode` of the notification to append there."""


class Origin(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where an invocation came from, for people: `ingress`, `service`, `subscription`, `restart_as_new`."""

    kind: str
    invocation_id: bytes | None = None
    target: Target | None = None


class InvokeRequest(msgspec.Struct, array_like=True, gc=False):
    """A new invocation with all that was known of its target when it was asked for.

    Whoever proposes it resolves the target (kind, retention, deployment) and draws the id and the seed, because the
    state machine may do neither. Units: `*_ms` of retention are durations; `execute_at_ms` is Unix time, 0 = at once.
    """

    invocation_id: bytes
    target: Target
    handler_kind: HandlerKind
    headers: Headers
    body: bytes
    seed: int
    completion_retention_ms: int
    journal_retention_ms: int
    idempotency_key: str | None = None
    execute_at_ms: int = 0
    origin: Origin | None = None
    caller: Caller | None = None
    deployment: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    scope: str | None = None
    limit_key: str | None = None
    priority: int = 0
    tags: list[str] | None = None
    memo: dict[str, str] | None = None


class Call(_Entry, tag=0x040D):
    completion_id: int
    invocation_id_completion_id: int
    target: Target
    headers: Headers
    body: bytes
    idempotency_key: str | None = None
    name: str = ""
    request: InvokeRequest | None = None
    """Filled by the invoker when the command is issued, without the headers and body that stand here; not compared."""
    scope: str | None = None
    limit_key: str | None = None


class OneWayCall(_Entry, tag=0x040E):
    invocation_id_completion_id: int
    target: Target
    headers: Headers
    body: bytes
    invoke_at_ms: int = 0
    idempotency_key: str | None = None
    name: str = ""
    request: InvokeRequest | None = None
    scope: str | None = None
    limit_key: str | None = None


class SendSignal(_Entry, tag=0x0410):
    invocation_id: bytes
    signal_id: int | str
    result: Result = None
    name: str = ""


class Run(_Entry, tag=0x0411):
    """A step: the handler's own side effect. Its result comes as a `Completion` that the invoker proposes."""

    completion_id: int
    name: str = ""


class IdempotentTarget(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=1):
    target: Target
    idempotency_key: str
    scope: str | None = None


class WorkflowTarget(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=2):
    name: str
    key: str
    scope: str | None = None


class AttachInvocation(_Entry, tag=0x0412):
    """Wait for the result of another invocation, named by its raw id (the invoker derives it from other forms)."""

    completion_id: int
    invocation_id: bytes
    name: str = ""
    asked: IdempotentTarget | WorkflowTarget | None = None
    """How a remote SDK named it, for the replay there; None: by its id."""


class GetInvocationOutput(_Entry, tag=0x0413):
    completion_id: int
    invocation_id: bytes
    name: str = ""
    asked: IdempotentTarget | WorkflowTarget | None = None


class CompleteAwakeable(_Entry, tag=0x0414):
    awakeable_id: str
    result: Result
    name: str = ""


# --- notifications ----------------------------------------------------------------------------------------------------


class CompletionCode(enum.IntEnum):
    """What a completion answers: its message type in the service protocol."""

    LAZY_STATE = 0x8002
    LAZY_STATE_KEYS = 0x8006
    GET_PROMISE = 0x8009
    PEEK_PROMISE = 0x800A
    COMPLETE_PROMISE = 0x800B
    SLEEP = 0x800C
    CALL = 0x800D
    CALL_INVOCATION_ID = 0x800E
    RUN = 0x8011
    ATTACH = 0x8012
    OUTPUT = 0x8013


class Completion(_Entry, tag=0x8000):
    """The answer to the command with this `completion_id`.

    Shapes: `result` is bytes | Failure | None; LAZY_STATE_KEYS carries list[str]; CALL_INVOCATION_ID the raw id as bytes.
    """

    completion_id: int
    code: int
    result: bytes | Failure | list[str] | None = None


class Signal(_Entry, tag=0xFBFF):
    """Something told from outside: index 1 is cancel, 17 upward are awakeables, a string is a named signal."""

    signal_id: int | str
    result: Result = None


Command: TypeAlias = (
    Input
    | Output
    | GetLazyState
    | SetState
    | ClearState
    | ClearAllState
    | GetLazyStateKeys
    | GetEagerState
    | GetEagerStateKeys
    | GetPromise
    | PeekPromise
    | CompletePromise
    | Sleep
    | Call
    | OneWayCall
    | SendSignal
    | Run
    | AttachInvocation
    | GetInvocationOutput
    | CompleteAwakeable
)
ANSWERED_BY_ENGINE = (
    Call,
    OneWayCall,
    Sleep,
    AttachInvocation,
    GetInvocationOutput,
    GetLazyState,
    GetLazyStateKeys,
    GetPromise,
    PeekPromise,
    CompletePromise,
)
"""Commands that the engine completes, once they are durable; the result of a `Run` comes from the handler's own step."""
Notification: TypeAlias = Completion | Signal
Entry: TypeAlias = Command | Notification


class Combinator(enum.IntEnum):
    """When a node of an await tree is done (the numbers are the service protocol's)."""

    UNKNOWN = 0
    """As FIRST_COMPLETED."""
    FIRST_COMPLETED = 1
    ALL_COMPLETED = 2
    FIRST_SUCCEEDED_OR_ALL_FAILED = 3
    ALL_SUCCEEDED_OR_FIRST_FAILED = 4


class AwaitTree(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Futures of a handler and how they are combined."""

    combinator: int
    completions: list[int] = []
    signals: list[int | str] = []
    nested: list[AwaitTree] = []


class Awaiting(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What would let a quiescent handler go on: any one of these completions or signals (cancel always counts too)."""

    completions: list[int]
    signals: list[int | str]
    tree: AwaitTree | None = None
    """Narrower than the lists, which name its leaves: it goes on only when the tree is done (or at a cancellation)."""
