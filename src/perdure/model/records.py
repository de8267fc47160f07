"""Records: everything that may change the state of a partition, as it stands in the log (docs/log-format.md).

A record is proposed, appended to the log, and once durable applied by the partition's state machine. Whoever proposes
puts into it what the state machine may not draw itself: the time, ids, seeds, and what is known of the target.

Compatibility: a field is only ever added at the end, with a default; a tag is never reused; a changed behaviour is a new
record. `at_ms` is Unix time in milliseconds and never goes back from one record of the log to the next.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from perdure.model.deployment import Deployment, Pin
from perdure.model.journal import Awaiting, Caller, Completion, Entry, InvokeRequest, Result


class _Record(msgspec.Struct, array_like=True, gc=False):
    partition: int
    at_ms: int


class Lead(_Record, tag=1):
    """A process takes the partition: the leader epoch grows and attempts of earlier leaders are over."""

    leader_epoch: int


class Invoke(_Record, tag=2):
    """A request from outside for a new invocation, with all that was known of its target."""

    request: InvokeRequest


class Progress(_Record, tag=3):
    """What an attempt did: commands in the order they were issued, and completions of its steps.

    `ended` says that the last entry is `Output` and the invocation is complete.
    """

    seq: int
    epoch: int
    entries: list[Entry]
    ended: bool = False
    pin: Pin | None = None
    """With the first entries of an attempt elsewhere: where the invocation stays from now on."""


class AttemptError(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Why an attempt ended without a result, as shown to people."""

    code: int
    message: str
    stacktrace: str = ""
    doc_code: str = "RT0007"
    command_index: int | None = None
    command_name: str | None = None
    command_type: str | None = None
    step: int | None = None
    """completion_id of the step that failed, if it was one."""


class AttemptFailed(_Record, tag=4):
    """An attempt failed and is tried again at `retry_at_ms`; None: no more attempts, then `exhausted` decides."""

    seq: int
    epoch: int
    error: AttemptError
    retry_at_ms: int | None
    exhausted: str = "pause"
    """`pause` or `kill`."""
    counted: bool = True
    """False: a step's own bounded policy or the author set the delay, and the invocation's policy counts nothing."""
    steps: list[int] | None = None
    """completion_ids of all steps that failed in this attempt, where they are more than the one of `error`."""


class Suspended(_Record, tag=5):
    """An attempt left memory; the invocation goes on when one of `awaiting` arrives."""

    seq: int
    epoch: int
    awaiting: Awaiting
    notifications: int
    """How many notifications the attempt had been told; if the journal has more by now, the invocation goes on at once."""


class Interrupted(_Record, tag=6):
    """The process died under this attempt; a new one is due at `retry_at_ms` (0: at once; None: pause)."""

    seq: int
    epoch: int
    retry_at_ms: int | None = 0


class TimersFired(_Record, tag=7):
    """Timers that are due, each named by its key (wake_at_ms, seq, completion_id) as in the store."""

    timers: list[tuple[int, int, int]]


class DeliverSignal(_Record, tag=8):
    """A signal from outside: an awakeable resolved, a cancellation."""

    invocation_id: bytes
    signal_id: int | str
    result: Result = None


# --- messages between invocations ---------------------------------------------------------------------------------------


class InvokeMessage(msgspec.Struct, array_like=True, tag=1, gc=False):
    """A call or a send: the same as `Invoke`, from another invocation."""

    request: InvokeRequest


class CompletionMessage(msgspec.Struct, array_like=True, tag=2, gc=False):
    """The answer to a call or an attach, for the journal of the invocation with this sequence number."""

    seq: int
    completion: Completion


class SignalMessage(msgspec.Struct, array_like=True, tag=3, gc=False):
    """The same as `DeliverSignal`, from another invocation; signal 1 cancels."""

    invocation_id: bytes
    signal_id: int | str
    result: Result = None


class AttachMessage(msgspec.Struct, array_like=True, tag=4, gc=False):
    """`caller` wants the result of this invocation; with `wait` false it wants it only if it is there already."""

    invocation_id: bytes
    caller: Caller
    wait: bool = True


class KillMessage(msgspec.Struct, array_like=True, tag=5, gc=False):
    """The invocation that called or sent this one was killed."""

    invocation_id: bytes


Message: TypeAlias = InvokeMessage | CompletionMessage | SignalMessage | AttachMessage | KillMessage


class Deliver(_Record, tag=9):
    """A message from the outbox of another partition; applied once per (source_partition, outbox_seq)."""

    source_partition: int
    outbox_seq: int
    message: Message


class OutboxDelivered(_Record, tag=10):
    """The target has applied all messages of this partition's outbox to `target` up to and including `up_to`."""

    target: int
    up_to: int


class Forget(_Record, tag=11):
    """Finished invocations whose retention is over (or that are the oldest of too many bytes)."""

    seqs: list[int]


class Kill(_Record, tag=12):
    """End an invocation now, whatever its handler does."""

    invocation_id: bytes


class Cancel(_Record, tag=13):
    """Ask an invocation to end: one that has not started ends at once, a started one gets signal 1."""

    invocation_id: bytes


class Resume(_Record, tag=14):
    """Start a paused, suspended or backing-off invocation now."""

    invocation_id: bytes
    deployment: str | None = None
    """Where a pinned invocation is pinned to from now on; None: where it was."""


class Pause(_Record, tag=15):
    """Take a started invocation from its attempt and let it wait for `Resume`."""

    invocation_id: bytes


class Purge(_Record, tag=16):
    """Drop a finished invocation before its retention is over."""

    invocation_id: bytes


class PurgeJournal(_Record, tag=17):
    """Drop the journal of a finished invocation; its result stays for its retention."""

    invocation_id: bytes


class Restart(_Record, tag=18):
    """A new invocation from the journal of a finished one: its entries up to and including `from_index`.

    Whoever proposes draws `new_id` (in the same partition) and `seed`, and resolves what applies to the target now.
    """

    invocation_id: bytes
    new_id: bytes
    seed: int
    """For the new invocation when it begins at the beginning; a copied prefix keeps the seed that it was made with."""
    from_index: int
    completion_retention_ms: int
    journal_retention_ms: int
    deployment: str | None = None
    protocol_version: int | None = None
    """Pinned with `deployment` from the start; None: `deployment` only says where it was accepted."""


class ModifyState(_Record, tag=19):
    """Another state for an object or a workflow, as a whole: now, or in its turn when a handler holds the key."""

    service: str
    key: str
    new_state: dict[str, bytes]
    version: str | None = None
    """The state must have this version (`model.state_version`) when the turn comes; otherwise nothing is changed."""


class PutDeployment(_Record, tag=20):
    """A deployment as it stands from now on; in partition 0. Whoever proposes has asked it what it serves."""

    deployment: Deployment


class DropDeployment(_Record, tag=21):
    """The deployment is gone; invocations that are pinned to it cannot go on until it is registered again."""

    id: str


Record: TypeAlias = (
    Lead
    | Invoke
    | Progress
    | AttemptFailed
    | Suspended
    | Interrupted
    | TimersFired
    | DeliverSignal
    | Deliver
    | OutboxDelivered
    | Forget
    | Kill
    | Cancel
    | Resume
    | Pause
    | Purge
    | PurgeJournal
    | Restart
    | ModifyState
    | PutDeployment
    | DropDeployment
)
