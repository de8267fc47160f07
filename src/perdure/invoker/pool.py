"""The attempts in memory: started in turn under a bound, told what arrives, dropped when they idle.

What always holds: at most one attempt per invocation, that of the latest epoch the node was told of. Attempts beyond
`attempts_max` wait in arrival order; while any waits, the attempt that has idled longest gives up its place, so that
invocations that wait for each other cannot lock the node up.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING

from perdure.invoker.attempt import Attempt, Key
from perdure.invoker.local import LocalAttempt
from perdure.invoker.proposals import Proposals
from perdure.invoker.remote.attempt import RemoteAttempt
from perdure.invoker.remote.opening import choose_version
from perdure.model.driver import App, AttemptStart
from perdure.model.errors import PerdureError
from perdure.model.journal import Awaiting
from perdure.model.limits import BATCH_LINGER_MS, IDLE_ATTEMPTS_BYTES_MAX
from perdure.model.records import AttemptError
from perdure.model.service import HandlerSpec
from perdure.model.target import HandlerKind
from perdure.store.rows import Status
from perdure.wire.messages import VERSION_DEFAULT_MAX, VERSION_MIN

if TYPE_CHECKING:
    from perdure.invoker.host import Host
    from perdure.invoker.remote.transport import Transport
    from perdure.model.deployment import Deployment
    from perdure.partition.actions import AbortAttempt, Notify, StartAttempt
    from perdure.store.rows import Invocation

_GONE = HandlerSpec(name="", kind=HandlerKind.PLAIN)
"""The policy of a handler that is no longer there."""

DROP_WHEN_TIMERS_LEAVE_MS = 5_000
"""An attempt that waits only for timers leaves memory at once when the first is further off than this."""


class AttemptPool:
    """`always_replay`: an attempt leaves memory at every wait, and is replayed for each thing that it is told.

    `transport` leads to deployments elsewhere, which are spoken to in `protocol_version_max` at most.
    """

    def __init__(
        self,
        host: Host,
        app: App | None,
        *,
        attempts_max: int,
        idle_bytes_max: int = IDLE_ATTEMPTS_BYTES_MAX,
        always_replay: bool = False,
        transport: Transport | None = None,
        protocol_version_max: int = VERSION_DEFAULT_MAX,
    ) -> None:
        self._host = host
        self._transport = transport
        self._protocol_version_max = protocol_version_max
        self._app = app
        self._attempts_max = attempts_max
        self._always_replay = always_replay
        self._attempts: dict[Key, Attempt] = {}
        self._idle: OrderedDict[Key, Attempt] = OrderedDict()
        self._idle_bytes_max = idle_bytes_max
        self._idle_bytes: dict[Key, int] = {}
        self.idle_bytes = 0
        """About what the attempts that only wait take in memory."""
        self._queue: deque[tuple[int, int, int]] = deque()
        self._ready: dict[Key, Attempt] = {}
        self._drowsy: list[Attempt] = []
        self._lagging: dict[Key, Attempt] = {}
        self._outlived: list[Attempt] = []
        """Attempts that are over, of which a step may still run to its end."""
        self.accepting = True
        """False while the node stops: no attempt starts."""
        self.throttled = False
        """True while the store cannot keep up: no turn runs."""
        self.failed_starts = 0

    def __len__(self) -> int:
        return len(self._attempts)

    @property
    def places(self) -> int:
        """How many more attempts there is room for."""
        return self._attempts_max - len(self._attempts) - len(self._queue)

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def busy(self) -> int:
        """Attempts with a step under way, also those that are over."""
        return sum(1 for attempt in (*self._attempts.values(), *self._outlived) if attempt.busy)

    def running(self) -> list[Key]:
        """The invocations with an attempt under way."""
        return [key for key, attempt in self._attempts.items() if not attempt.over]

    def awaiting(self, partition: int, seq: int) -> Awaiting | None:
        """What the attempt of this invocation waits for, if it is in memory and waits."""
        attempt = self._attempts.get((partition, seq))
        return None if attempt is None or attempt.over else attempt.awaiting()

    # --- what the state machine asks ------------------------------------------------------------------------------------

    def start(self, action: StartAttempt) -> None:
        self._drop(action.partition, action.seq)
        self._queue.append((action.partition, action.seq, action.epoch))

    def notify(self, action: Notify) -> None:
        key = (action.partition, action.seq)
        attempt = self._attempts.get(key)
        if attempt is not None and attempt.epoch == action.epoch and not attempt.over:
            attempt.notify(action.notification, action.at_ms)
            self._ready[key] = attempt

    def abort(self, action: AbortAttempt) -> None:
        self._drop(action.partition, action.seq)

    def _drop(self, partition: int, seq: int) -> None:
        attempt = self._attempts.get((partition, seq))
        if attempt is not None:
            attempt.abort()

    def refuse(self, partition: int, seq: int, epoch: int, error: PerdureError) -> None:
        """The log did not take a record of this attempt."""
        attempt = self._attempts.get((partition, seq))
        if attempt is not None and attempt.epoch == epoch:
            attempt.refuse(error)

    # --- turns ----------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run the turns that are due. Called from a plain callback of the loop, after a batch has been applied."""
        if self.throttled:
            return
        while self._ready or (self._queue and self.accepting):
            ready, self._ready = self._ready, {}
            for attempt in ready.values():
                if self._always_replay and attempt.settled:
                    # What it is told is in the journal already: the same epoch starts over instead of hearing it.
                    attempt.abort()
                    self._queue.append((*attempt.key, attempt.epoch))
                else:
                    self._pump(attempt)
            if self._queue and self.accepting and not self._start_next():
                return

    def _start_next(self) -> bool:
        """Start queued attempts as far as the bound allows; False when none could be started."""
        started = False
        while self._queue:
            if len(self._attempts) >= self._attempts_max and not self.make_room():
                return started
            partition, seq, epoch = self._queue.popleft()
            started = True
            attempt = self._load(partition, seq, epoch)
            if attempt is not None:
                self._attempts[attempt.key] = attempt
                self._pump(attempt)
        return started

    def _load(self, partition: int, seq: int, epoch: int) -> Attempt | None:
        host = self._host
        row = host.invocation(partition, seq)
        if row is None or row.epoch != epoch or row.status is not Status.INVOKED or row.retry_at_ms:
            return None  # taken back while it waited for its place
        try:
            spec, deployment = host.place(row)
        except PerdureError as gone:
            error = AttemptError(404, gone.what, doc_code="RT0011")
            Proposals(host, _GONE, partition, row).failed(error, retry_after_ms=None, park=False, counted=True)
            return None
        if deployment is not None:
            return self._load_remote(deployment, spec, partition, row)
        assert self._app is not None, "a handler that has no deployment was found in this process"
        start = attempt_start(host, spec, partition, row)
        return LocalAttempt(host, self._app, spec, partition, row, start, self._forget, self._lags)

    def _load_remote(
        self, deployment: Deployment, spec: HandlerSpec, partition: int, row: Invocation
    ) -> Attempt | None:
        assert self._transport is not None, "a node that knows deployments has a transport"
        version = choose_version(deployment, row, self._protocol_version_max)
        if version is not None:
            return RemoteAttempt(
                self._host,
                self._transport,
                deployment,
                version,
                spec,
                partition,
                row,
                self._forget,
                lambda: self.throttled,
            )
        text = (
            f"the deployment {deployment.id} speaks versions {deployment.min_protocol_version} to "
            f"{deployment.max_protocol_version} of the service protocol, this node {VERSION_MIN} to "
            f"{self._protocol_version_max}."
        )
        error = AttemptError(500, text, doc_code="RT0013")
        Proposals(self._host, spec, partition, row).failed(error, retry_after_ms=None, park=False, counted=True)
        return None

    def _pump(self, attempt: Attempt) -> None:
        attempt.pump()
        if attempt.over:
            return
        if attempt.idle_since:
            key = attempt.key
            self._idle[key] = attempt
            self._idle.move_to_end(key)
            held = attempt.held_bytes
            self.idle_bytes += held - self._idle_bytes.get(key, 0)
            self._idle_bytes[key] = held
            if attempt.sleeps and not self._always_replay:
                self._drowsy.append(attempt)
        else:
            self._not_idle(attempt.key)

    def _not_idle(self, key: Key) -> None:
        if self._idle.pop(key, None) is not None:
            self.idle_bytes -= self._idle_bytes.pop(key)

    def _lags(self, attempt: Attempt) -> None:
        """The attempt holds commands back until a step's result; they go to the log after a few milliseconds at the latest."""
        if not self._lagging:
            self._host.loop.call_later(BATCH_LINGER_MS / 1000, self._flush_lagging)
        self._lagging[attempt.key] = attempt

    def _flush_lagging(self) -> None:
        lagging, self._lagging = self._lagging, {}
        for attempt in lagging.values():
            attempt.flush_lagging()

    def _forget(self, attempt: Attempt) -> None:
        if self._attempts.get(attempt.key) is attempt:
            del self._attempts[attempt.key]
            self._not_idle(attempt.key)
        self._ready.pop(attempt.key, None)
        if attempt.busy:
            self._outlived = [each for each in self._outlived if each.busy]
            self._outlived.append(attempt)

    # --- leaving memory ---------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Drop attempts that wait only for distant timers, and the oldest that wait when all together take too much memory.

        Called after a batch has been applied and turns have run.
        """
        if self._always_replay:
            self.suspend_all()
            return
        if self.idle_bytes > self._idle_bytes_max:
            self._relieve()
        if not self._drowsy:
            return
        drowsy, self._drowsy = self._drowsy, []
        soon_ms = self._host.now_ms() + DROP_WHEN_TIMERS_LEAVE_MS
        for attempt in drowsy:
            if attempt.over or not attempt.idle_since or min(attempt.sleeps.values(), default=0) <= soon_ms:
                continue
            if not attempt.may_suspend():
                self._drowsy.append(attempt)
                continue
            awaiting = attempt.awaiting()
            assert awaiting is not None
            if not awaiting.signals and all(completion in attempt.sleeps for completion in awaiting.completions):
                attempt.suspend()

    def sweep(self, now_s: float) -> None:
        """Drop attempts that have idled for their inactivity timeout. Units: seconds of the loop's clock."""
        due = [a for a in self._idle.values() if a.idle_since and now_s - a.idle_since >= a.inactivity_timeout_s]
        for attempt in due:
            if attempt.may_suspend():
                attempt.suspend()

    def pause_elsewhere(self, partition: int, seq: int) -> bool:
        """True: the invocation runs elsewhere, and pauses once its deployment has let go of it."""
        attempt = self._attempts.get((partition, seq))
        if not isinstance(attempt, RemoteAttempt) or attempt.over:
            return False
        attempt.pause()
        return True

    def leave_elsewhere(self) -> None:
        """Ask every deployment to let go, before a stop: what it finishes until then is kept."""
        for attempt in list(self._attempts.values()):
            if isinstance(attempt, RemoteAttempt) and attempt.may_suspend():
                attempt.suspend()

    def suspend_all(self) -> None:
        """Attempts that only wait leave memory. Before a stop, so that the next start does not find them interrupted."""
        for attempt in list(self._attempts.values()):
            if attempt.may_suspend():
                attempt.suspend()

    def _relieve(self) -> None:
        for attempt in list(self._idle.values()):
            if self.idle_bytes <= self._idle_bytes_max:
                break
            if attempt.may_suspend():
                attempt.suspend()

    def make_room(self) -> bool:
        """The attempt that has only waited for longest leaves; False: there is none that can."""
        for attempt in self._idle.values():
            if attempt.may_suspend():
                attempt.suspend()
                return attempt.over
        return False

    def close(self) -> None:
        """Drop everything without a word: what the log does not hold is done again after the next start."""
        self._queue.clear()
        for attempt in (*self._attempts.values(), *self._outlived):
            attempt.abort()


def attempt_start(host: Host, spec: HandlerSpec, partition: int, row: Invocation) -> AttemptStart:
    """What an attempt of this invocation begins with, as of now."""
    chunk = host.journal(partition, row.seq)
    state = None
    if row.handler_kind is not HandlerKind.PLAIN:
        state = {} if spec.lazy_state else host.state(partition, row.target.service, row.target.key or "")
    return AttemptStart(
        invocation_id=row.id,
        target=row.target,
        epoch=row.epoch,
        seed=row.seed,
        started_at_ms=row.started_at_ms,
        journal=chunk.entries,
        times=chunk.times,
        state=state,
        state_partial=spec.lazy_state,
        idempotency_key=row.idempotency_key,
        scope=row.scope,
        limit_key=row.limit_key,
        failures=row.failures,
        ingress_url=host.ingress_url,
    )
