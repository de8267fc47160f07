"""Actions: what the state machine asks the node to do after a record was applied.

Actions carry no authority: everything they say can be derived again from the tables, and is, after a crash.
"""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec

from perdure.model.deployment import Deployment
from perdure.model.journal import Notification, Result
from perdure.model.records import Message
from perdure.store.rows import Timer


class _Action(msgspec.Struct, frozen=True, gc=False):
    pass


class StartAttempt(_Action, frozen=True, gc=False):
    """Begin the attempt with this epoch; any attempt of an earlier epoch is over."""

    partition: int
    seq: int
    epoch: int


class Notify(_Action, frozen=True, gc=False):
    """The attempt with this epoch, if it is in memory, gets this notification (already in the journal)."""

    partition: int
    seq: int
    epoch: int
    at_ms: int
    notification: Notification


class AbortAttempt(_Action, frozen=True, gc=False):
    """The invocation was taken from its attempt (killed, paused): drop it, whatever it does."""

    partition: int
    seq: int


class ArmTimer(_Action, frozen=True, gc=False):
    """A timer stands in the tables: propose `TimersFired` when it is due."""

    partition: int
    timer: Timer


class Forward(_Action, frozen=True, gc=False):
    """A message stands in the outbox for another partition."""

    partition: int
    target: int
    outbox_seq: int
    message: Message


class Delivered(_Action, frozen=True, gc=False):
    """A message from another partition's outbox has been applied here (now or before)."""

    source: int
    target: int
    outbox_seq: int


class Accepted(_Action, frozen=True, gc=False):
    """An `Invoke` was taken: the invocation exists (and did before, if `duplicate`)."""

    invocation_id: bytes
    duplicate: bool
    execute_at_ms: int


class Completed(_Action, frozen=True, gc=False):
    """An invocation is finished: callers outside may be answered."""

    invocation_id: bytes
    result: Result
    expires_at_ms: int = 0
    """Set when the result had been stored before."""


class Control(enum.Enum):
    """How a control record fared."""

    DONE = "done"
    APPENDED = "appended"
    """The request stands in the journal; the handler will see it."""
    UNCHANGED = "unchanged"
    NOT_FOUND = "not_found"
    COMPLETED = "completed"
    NOT_COMPLETED = "not_completed"
    NOT_STARTED = "not_started"
    INPUT_GONE = "input_gone"
    """The journal that should be copied has been dropped."""
    OUT_OF_RANGE = "out_of_range"
    """The journal has no such entry, or it is the output."""
    UNANSWERED = "unanswered"
    """A command that should be copied was never answered."""
    UNSUPPORTED = "unsupported"
    NOT_MOVABLE = "not_movable"
    """It is pinned to no deployment, or an attempt is under way there."""


class Controlled(_Action, frozen=True, gc=False):
    """How the control record fared, for whoever proposed it."""

    outcome: Control


class DeploymentChanged(_Action, frozen=True, gc=False):
    """A deployment stands anew, or (None) no longer."""

    id: str
    deployment: Deployment | None


Action: TypeAlias = (
    StartAttempt
    | Notify
    | AbortAttempt
    | ArmTimer
    | Forward
    | Delivered
    | Accepted
    | Completed
    | Controlled
    | DeploymentChanged
)
