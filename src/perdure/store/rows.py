"""The rows of the tables: what a partition knows of each invocation, key and timer.

A row is changed only by the state machine, and only through `Tables.edit*`, which hands out a copy that belongs to the
active layer. Compatibility as for records: fields are added at the end with a default.
"""

from __future__ import annotations

import enum

import msgspec

from perdure.model.journal import Awaiting, Caller, Entry, Origin, Result
from perdure.model.records import AttemptError
from perdure.model.target import HandlerKind, Target


class Status(enum.IntEnum):
    SCHEDULED = 0
    """Waits for `execute_at_ms`."""
    INBOXED = 1
    """Waits for its key."""
    INVOKED = 2
    """An attempt is under way or due (also between attempts: see `retry_at_ms`)."""
    SUSPENDED = 3
    """Waits for one of `awaiting`, outside memory."""
    PAUSED = 4
    """Waits for a person (or a cancellation)."""
    COMPLETED = 5
    """Has its result; kept for its retention."""


class StepFailures(msgspec.Struct, array_like=True, gc=False):
    """Failed tries of one step. Units: Unix time in ms."""

    count: int
    first_at_ms: int


class EventKind(enum.IntEnum):
    ATTEMPT_FAILED = 0
    """And another attempt follows."""
    PAUSED = 1
    SUSPENDED = 2
    """Only where the handler said as a tree what it waits for (service protocol 7)."""


class Event(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How an attempt ended without a result."""

    kind: EventKind
    at_ms: int
    after: int
    """Index of the last entry of the journal then."""
    error: AttemptError | None = None
    awaiting: Awaiting | None = None


class EventRange(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Which events of an invocation are kept: those with the numbers [first, next)."""

    first: int
    next: int
    bytes: int
    """What they take, by the estimate of the state machine."""


class Invocation(msgspec.Struct, array_like=True, gc=False):
    """One invocation. `seq` is its sequence number in the partition; `*_at_ms` is Unix time in ms, 0 = not yet."""

    seq: int
    id: bytes
    target: Target
    handler_kind: HandlerKind
    status: Status
    seed: int
    created_at_ms: int
    completion_retention_ms: int
    journal_retention_ms: int
    epoch: int = 0
    """Epoch of the latest attempt; 0 = none yet. Records of older epochs are ignored."""
    modified_at_ms: int = 0
    execute_at_ms: int = 0
    inboxed_at_ms: int = 0
    started_at_ms: int = 0
    """Start of the first attempt: where the handler's clock begins."""
    attempt_at_ms: int = 0
    """Start of the latest attempt."""
    completed_at_ms: int = 0
    expires_at_ms: int = 0
    """When a completed invocation may be forgotten."""
    journal_length: int = 0
    commands: int = 0
    journal_bytes: int = 0
    awaiting: Awaiting | None = None
    failures: int = 0
    """Failed attempts since a command was last gained."""
    attempts_failed: int = 0
    """Failed attempts in all: what the retry policy counts."""
    last_gain_at_ms: int = 0
    retry_at_ms: int = 0
    last_error: AttemptError | None = None
    step_failures: dict[int, StepFailures] | None = None
    interruptions: int = 0
    """Times the process died under it since an entry was last gained."""
    callers: list[Caller] | None = None
    result: Result = None
    idempotency_key: str | None = None
    origin: Origin | None = None
    deployment: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    scope: str | None = None
    limit_key: str | None = None
    priority: int = 0
    tags: list[str] | None = None
    memo: dict[str, str] | None = None
    inbox_position: int = 0
    """Its place in the inbox of its key, while INBOXED."""
    timers: list[tuple[int, int]] | None = None
    """Sleeps that have not fired: (wake_at_ms, completion_id)."""
    protocol_version: int | None = None
    """Of the service protocol, for one that is pinned to a remote deployment (`deployment`)."""
    events: EventRange | None = None

    @property
    def notifications(self) -> int:
        return self.journal_length - self.commands


class JournalChunk(msgspec.Struct, array_like=True, gc=False):
    """Entries gained between two checkpoints. `times[i]` is the Unix time in ms at which `entries[i]` was appended."""

    first: int
    times: list[int]
    entries: list[Entry]


class StateChange(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Another state for a key, from outside; only if the state has this version, when one is given."""

    new_state: dict[str, bytes]
    version: str | None = None


class KeyQueue(msgspec.Struct, array_like=True, gc=False):
    """Who holds a key and who waits for it: the inbox is the positions [head, tail), some of which may be gone."""

    holder: int | None = None
    """seq of the invocation that holds the key."""
    head: int = 0
    tail: int = 0
    changes: dict[int, StateChange] | None = None
    """Changes of the state that wait for their turn, by their positions; no invocation has those."""


class TimerKind(enum.IntEnum):
    SLEEP = 0
    """A `Sleep` command: completes `completion_id`."""
    START = 1
    """A delayed invocation is due."""
    RETRY = 2
    """The next attempt is due."""


class Timer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    wake_at_ms: int
    seq: int
    completion_id: int
    """The completion of a SLEEP; 0 for the other kinds, of which an invocation has at most one at a time."""
    kind: TimerKind

    @property
    def key(self) -> tuple[int, int, int]:
        return (self.wake_at_ms, self.seq, self.completion_id)


class PartitionMeta(msgspec.Struct, array_like=True, gc=False):
    """What a partition knows of itself."""

    leader_epoch: int = 0
    next_seq: int = 1
    now_ms: int = 0
    """`at_ms` of the last record applied: time never goes back."""
    outbox_next: dict[int, int] = {}
    """Per target partition: the sequence number of the next message."""
    delivered: dict[int, int] = {}
    """Per source partition: the sequence number of the last message applied."""
    finished: int = 0
    finished_bytes: int = 0
    """Completed invocations that are still kept, and what they take (estimate of the state machine)."""


class Promise(msgspec.Struct, array_like=True, gc=False):
    """A durable promise of a workflow: completed once, or awaited by `waiting` (GetPromise entries)."""

    completed: bool = False
    result: Result = None
    waiting: list[Caller] | None = None
