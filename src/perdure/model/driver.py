"""The protocol by which an engine drives a handler: where the engine's side and the author's side meet.

The author's side (`sdk`) runs the handler on a deterministic loop, in *turns*: it is told one thing, runs until nothing
can go on without being told more, and returns. The engine's side (`invoker/local`, later other engines) decides what it is
told and when, and takes what it asks.

What always holds:
* A turn is a plain synchronous call on the engine's thread, made outside any task.
* Commands are issued in order during a turn. Notifications are delivered one at a time, only while the handler waits, in
  journal order. So what a handler issues is a function of what it was told, and a replay that delivers the same
  notifications gets the same commands (and the engine compares them).
* Time seen by the handler is the `at_ms` of what it was told last.
"""

from __future__ import annotations

import contextvars
import enum
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeVar

import msgspec

from perdure.model.journal import Awaiting, Command, Entry, Failure, Notification
from perdure.model.records import AttemptError
from perdure.model.retry import StepRetryPolicy
from perdure.model.service import HandlerSpec, ServiceSpec
from perdure.model.target import Target

C = TypeVar("C", bound=Command)


class Capability(enum.StrEnum):
    """What an engine can do beyond the minimum; code that needs one fails at registration where it is missing."""

    STATE = "state"
    AWAKEABLES = "awakeables"
    SIGNALS = "signals"
    PROMISES = "promises"
    ATTEMPT_EPOCH = "attempt_epoch"
    INVOCATION_CONTROL = "invocation_control"
    PARK = "park"
    CLOCK = "clock"
    """What a handler is told is dated. Without it the handler's clock begins at 0 and moves on only by its own waits, so each
    of its timers is a durable one, and none can stand for another."""


class Turn(enum.Enum):
    """How a turn ended."""

    WAITING = "waiting"
    """Quiescent: nothing runs until a notification is delivered."""
    YIELDED = "yielded"
    """The callback budget is used up; call `proceed` from a later callback of the engine's loop."""
    ENDED = "ended"
    """`Output` was issued: the handler is done, with a value or a terminal failure."""
    FAILED = "failed"
    """The attempt failed; `AuthorAttempt.error` says why. Nothing more will be issued."""


class AttemptStart(msgspec.Struct, frozen=True):
    """What an attempt begins with.

    Shapes: `journal[0]` is `Input`; `times[i]` is the Unix time in ms at which `journal[i]` was appended. `state` is
    what is known of the key's state (complete unless `state_partial`), None for an unkeyed service.
    """

    invocation_id: bytes
    target: Target
    epoch: int
    seed: int
    started_at_ms: int
    """Time of the first attempt's start: where the handler's clock begins, the same in every attempt."""
    journal: Sequence[Entry]
    times: Sequence[int]
    state: Mapping[str, bytes] | None = None
    state_partial: bool = False
    idempotency_key: str | None = None
    scope: str | None = None
    limit_key: str | None = None
    failures: int = 0
    """Failed attempts since a command was last gained."""
    attempt_headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    ingress_url: str | None = None
    """Where the outside reaches the ingress now, without a slash at the end; None: not known. Not recorded."""


class Step(msgspec.Struct):
    """A side effect to run: `ctx.run`. The engine runs `body` and proposes what it returns as the step's completion.

    `body` returns the result's bytes, or a `Failure` when the step failed terminally; anything it raises is retried.
    An async body (`mode` "async") runs as a task on the engine's own long-lived loop; a "thread" body is a plain call; a
    "process" body is a plain call that can be pickled.
    """

    completion_id: int
    name: str
    mode: str
    """`async`, `thread` or `process`."""
    body: Callable[[], Awaitable[bytes | Failure]] | Callable[[], bytes | Failure]
    context: contextvars.Context | None = None
    """Where the body runs: a copy of the attempt's context."""
    retry: StepRetryPolicy | None = None
    """None: a failure fails the attempt under the invocation's policy."""
    timeout_ms: int | None = None
    """How long an async or process body may run, from where it starts; longer is a failure of the step."""
    encode: Callable[[bytes], bytes] | None = None
    """Done to the result of a process body here, because it may hold what cannot travel."""


class Driver(Protocol):
    """The engine's side, as seen by the author's side during a turn."""

    @property
    def capabilities(self) -> frozenset[Capability]: ...

    @property
    def replaying(self) -> bool:
        """True while recorded notifications are still to be delivered: log lines and steps wait for the end of it."""
        ...

    def issue(self, command: C) -> C:
        """Take the next command: compare it with the journal, or append it.

        Returns the command as it stands in the journal: on replay the recorded one, whose answer-in-place counts (the
        `value` of GetEagerState, the `keys` of GetEagerStateKeys, the `wake_at_ms` of Sleep: these are not compared).
        Errors: AttemptOver (a BaseException of the engine) ends the attempt; it must not be caught on the way.
        """
        ...

    def start_step(self, step: Step) -> None:
        """Register the body of a `Run` just issued. The engine starts it once replay is over and the turn has ended,
        unless its result is recorded already or `abandoned` was called before."""
        ...

    def abandon(self, completion_id: int) -> None:
        """Nobody waits for this completion any more: a step not started need not start. No durable effect."""
        ...


class AuthorAttempt(Protocol):
    """The author's side, as seen by the engine: one attempt of one handler."""

    error: AttemptError | None
    """Set when a turn returns FAILED."""
    retry_after_ms: int | None
    """With FAILED: the author's wish for the next delay."""
    park: bool
    """With FAILED: do not retry, pause the invocation with `error` as the cause."""

    def start(self) -> Turn:
        """Create the handler's task and run the first turn."""
        ...

    def deliver(self, notification: Notification, at_ms: int) -> Turn: ...

    def proceed(self) -> Turn: ...

    def awaiting(self) -> Awaiting:
        """What the handler waits for, when WAITING: durable futures that are pending and not abandoned."""
        ...

    def fail(self, error: AttemptError, *, retry_after_ms: int | None = None, park: bool = False) -> None:
        """Make the attempt failed from the engine's side (a mismatch, a step that gave up). No turn may follow."""
        ...

    def close(self) -> None:
        """Drop the attempt from memory. Idempotent; runs `finally` blocks with a driver made inert; never raises."""
        ...


class InputRejected(ValueError):
    """The body of a request does not fit the handler; `str()` names the field. Raised before anything is stored."""


class App(Protocol):
    """A set of services that can be run in this process."""

    @property
    def identity(self) -> str:
        """Digest of the handlers' code, the Python minor and the loop version."""
        ...

    def services(self) -> Sequence[ServiceSpec]: ...

    def validate_input(self, handler: HandlerSpec, target: Target, content_type: str | None, body: bytes) -> None:
        """Errors: InputRejected."""
        ...

    def begin(self, driver: Driver, start: AttemptStart) -> AuthorAttempt:
        """Make an attempt of `start.target`. Errors: KeyError when this app has no such handler."""
        ...
