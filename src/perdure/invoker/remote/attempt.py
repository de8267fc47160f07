"""One attempt of a handler in a deployment elsewhere: the service protocol over one exchange.

What always holds:
* The deployment gets the journal as it stood at the start, then each notification in journal order once it is durable.
* What it asks for is proposed in the order in which it came; the commands of one read leave as one `Progress`.
* The attempt ends in one way: an output, a suspension, a failure, or the invocation was taken away. From then on
  it proposes nothing, whatever still comes.
* A deployment that breaks the protocol fails its own attempt and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from perdure.invoker import replay
from perdure.invoker.admission import TOO_LONG, CommandRefused, admit
from perdure.invoker.proposals import Proposals
from perdure.invoker.remote.inbound import End, Ended, Inbound, Suspending
from perdure.invoker.remote.opening import opening, request_headers, request_path
from perdure.invoker.remote.refusals import refusal
from perdure.model import journal as j
from perdure.model.deployment import Pin
from perdure.model.errors import PerdureError
from perdure.model.limits import JOURNAL_ENTRIES_MAX, KIB, MIB
from perdure.model.records import AttemptError
from perdure.model.target import HandlerKind
from perdure.partition.sizes import payload_bytes
from perdure.wire import messages as m
from perdure.wire.commands import name_of_type
from perdure.wire.errors import AwaitTooDeep, MessageTooLarge, ProtocolViolation
from perdure.wire.framing import FrameDecoder, encode_frame
from perdure.wire.notifications import encode_notification
from perdure.wire.protobuf import encode

if TYPE_CHECKING:
    from perdure.invoker.host import Host
    from perdure.invoker.remote.errors import TransportFailed
    from perdure.invoker.remote.exchange import Exchange
    from perdure.invoker.remote.transport import Transport
    from perdure.model.deployment import Deployment
    from perdure.model.service import HandlerSpec
    from perdure.store.rows import Invocation

_logger = logging.getLogger("perdure.invoker.remote")

READ_AHEAD_BYTES_MAX = 4 * MIB
"""Proposed and not yet applied; beyond it the deployment is not read."""
HELD_BYTES = 4 * KIB
"""About what an attempt takes in memory here."""
_OF_A_PRECONDITION = frozenset({"RT0017", "RT0018"})
_CATCH_UP_S = 0.005
"""How often a deployment that is not read is looked after."""
_FAREWELL_S = 5.0
"""How long a deployment may take to end its response after it said its last."""
_GIVES_UP = (
    "the invocation stream was closed after the 'abort timeout' ({} s) fired: the deployment was asked to let go."
)


class RemoteAttempt:
    """Shapes: `key` is (partition, seq), by which the pool knows it."""

    __slots__ = (
        "_deployment",
        "_exchange",
        "_frames",
        "_half_closed",
        "_host",
        "_inbound",
        "_journal_length",
        "_last_s",
        "_on_over",
        "_outgoing",
        "_partition",
        "_pausing",
        "_proposals",
        "_reading",
        "_row",
        "_signalled",
        "_spec",
        "_throttled",
        "_timer",
        "_told",
        "_transport",
        "_unapplied_bytes",
        "_version",
        "epoch",
        "key",
        "over",
    )

    def __init__(
        self,
        host: Host,
        transport: Transport,
        deployment: Deployment,
        version: int,
        spec: HandlerSpec,
        partition: int,
        row: Invocation,
        on_over: Callable[[RemoteAttempt], None],
        throttled: Callable[[], bool],
    ) -> None:
        """`throttled`: the store cannot keep up, nothing new may come in."""
        self.key = (partition, row.seq)
        self.epoch = row.epoch
        self.over = False
        self._host = host
        self._transport = transport
        self._deployment = deployment
        self._version = version
        self._spec = spec
        self._partition = partition
        self._row = row
        self._on_over = on_over
        self._throttled = throttled
        self._proposals = Proposals(host, spec, partition, row, Pin(deployment.id, version))
        self._frames = FrameDecoder()
        self._inbound = Inbound(version, (), self._admit)
        self._exchange: Exchange | None = None
        self._outgoing: deque[j.Notification] = deque()
        self._journal_length = 0
        self._told = 0
        """Notifications that the deployment was told, in this attempt's journal or since."""
        self._signalled: set[int | str] = set()
        """Signals among those told since."""
        self._half_closed = False
        self._pausing = False
        self._reading = True
        self._unapplied_bytes = 0
        self._last_s = 0.0
        """When the last message went either way."""
        self._timer: asyncio.TimerHandle | None = None

    # --- what the pool sees -----------------------------------------------------------------------------------------------

    @property
    def idle_since(self) -> float:
        """A deployment does not say whether it only waits; to be asked to let go harms it in neither case."""
        return 0.0 if self._exchange is None or self._half_closed else self._last_s

    @property
    def sleeps(self) -> dict[int, int]:
        return {}

    @property
    def held_bytes(self) -> int:
        return HELD_BYTES

    @property
    def busy(self) -> bool:
        """It was asked to let go, and a stop waits for what it finishes before that."""
        return self._half_closed and not self.over

    @property
    def settled(self) -> bool:
        return False

    @property
    def inactivity_timeout_s(self) -> float:
        return self._spec.inactivity_timeout_ms / 1000

    def awaiting(self) -> j.Awaiting | None:
        return self._inbound.awaiting

    def notify(self, notification: j.Notification, at_ms: int) -> None:
        self._journal_length += 1
        self._outgoing.append(notification)

    def pump(self) -> None:
        if self.over:
            return
        if self._exchange is None:
            self._begin()
        elif not self._half_closed:  # what comes later is told by the next attempt
            self._tell()

    def flush_lagging(self) -> None:
        """Nothing is ever held back."""

    def refuse(self, error: PerdureError) -> None:
        if self.over:
            return
        try:
            self._inbound.take_entries()
            self._fail(_Failure(AttemptError(413, error.what, doc_code=error.code), park=True))
        except PerdureError:  # the log takes nothing at all any more: the node has failed, and said so
            self.abort()

    def may_suspend(self) -> bool:
        return self._exchange is not None and not self._half_closed and not self.over

    def suspend(self) -> None:
        """Half-close: the deployment finishes the steps that run and says what it waits for."""
        exchange = self._exchange
        assert exchange is not None
        exchange.end()
        self._half_closed = True
        self._last_s = self._host.loop.time()
        self._set_timer(self._spec.abort_timeout_ms / 1000)

    def pause(self) -> None:
        """An operator asked for it: as `suspend`, and then the invocation pauses instead of waiting."""
        self._pausing = True
        if self.may_suspend():
            self.suspend()

    def abort(self, *, silent: bool = False) -> None:
        """`silent`: the deployment does not answer any more."""
        if not self.over:
            self._finish()
            if self._exchange is not None:
                self._exchange.abort(silent=silent)

    # --- out ----------------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        host, row, spec, version = self._host, self._row, self._spec, self._version
        journal = host.journal(self._partition, row.seq).entries
        state: Mapping[str, bytes] | None = None
        if row.handler_kind is not HandlerKind.PLAIN and not spec.lazy_state:
            state = host.state(self._partition, row.target.service, row.target.key or "")
        self._inbound = Inbound(version, journal, self._admit)
        self._journal_length = len(journal)
        self._told = sum(isinstance(entry, j.Completion | j.Signal) for entry in journal)
        exchange = self._transport.open(self._deployment, request_path(row), request_headers(row, version), self)
        self._exchange = exchange
        for frame in opening(row, journal, state, version, host.now_ms()):
            exchange.send(frame)
        self._last_s = host.loop.time()
        if not self._deployment.bidirectional or not spec.inactivity_timeout_ms:
            self.suspend()  # request and response, one after the other
        else:
            self._set_timer(self.inactivity_timeout_s)

    def _tell(self) -> None:
        if not self._outgoing:
            return
        assert self._exchange is not None
        parts: list[bytes] = []
        for notification in self._outgoing:
            parts.append(self._frame_of(notification))
            self._inbound.told(notification)
            if isinstance(notification, j.Signal):
                self._signalled.add(notification.signal_id)
        self._told += len(self._outgoing)
        self._outgoing.clear()
        self._exchange.send(b"".join(parts))
        self._last_s = self._host.loop.time()

    def _frame_of(self, notification: j.Notification) -> bytes:
        if isinstance(notification, j.Completion) and notification.completion_id in self._inbound.acks:
            ack = m.ProposeRunCompletionAck(notification.completion_id)
            return encode_frame(m.Type.PROPOSE_RUN_COMPLETION_ACK, encode(ack))
        return encode_notification(notification, self._version)

    # --- in (Listener) ------------------------------------------------------------------------------------------------------

    def on_response(self, status: int, headers: Mapping[str, str]) -> None:
        if self.over:
            return
        self._last_s = self._host.loop.time()
        refused = refusal(status, headers, self._version, self._host.now_ms())
        if refused is not None:
            error, retry_after_ms = refused
            self._fail(_Failure(error, retry_after_ms))

    def on_data(self, data: bytes) -> None:
        if self.over:
            self._said_too_much()
            return
        try:
            end = self._take(data)
        except (ProtocolViolation, MessageTooLarge, AwaitTooDeep) as violation:
            error = AttemptError(500, violation.what, doc_code=violation.code)
            self._fail(_Failure(error, park=isinstance(violation, AwaitTooDeep)))
        except CommandRefused as refused:
            # Another attempt may be another deployment's; only a journal that is full is so for each.
            self._fail(_Failure(refused.error, park=refused.error is TOO_LONG))
        else:
            if end is None:
                self._progress()
                self._hold_back()
            else:
                self._end(end)

    def _take(self, data: bytes) -> End | None:
        for frame in self._frames.feed(data):
            self._last_s = self._host.loop.time()
            end = self._inbound.take(frame)
            if end is not None:
                return end
        return None

    def on_end(self) -> None:
        exchange, self._exchange = self._exchange, None
        if self.over:
            return
        assert exchange is not None
        if self._frames.unfinished:
            error = AttemptError(500, "the deployment's response ends in the middle of a message.", doc_code="RT0012")
        else:
            error = AttemptError(500, "the deployment's response ended before the attempt did.", doc_code="RT0010")
        self._fail(_Failure(error))

    def on_broken(self, error: TransportFailed) -> None:
        self._exchange = None
        if not self.over:
            self._fail(_Failure(AttemptError(500, str(error), doc_code=error.doc_code)))

    def _admit(self, command: j.Command) -> None:
        if self._journal_length + len(self._inbound.entries) >= JOURNAL_ENTRIES_MAX:
            raise CommandRefused(TOO_LONG, park=True)
        try:
            admit(command, self._host, self._spec, self.key, self._row)
        except CommandRefused as refused:
            raise CommandRefused(self._placed(command, refused.error), park=refused.park) from refused

    def _placed(self, command: j.Command, error: AttemptError) -> AttemptError:
        """With the command that it is about, as a Restate server names it: the deployment's log tells nothing of it."""
        if error.doc_code not in _OF_A_PRECONDITION:
            return error
        place = f"Command: {type(command).__name__} (command index {self._inbound.commands})"
        message = f"cannot process command {place} because of a failed precondition: {error.message}"
        return msgspec.structs.replace(error, message=message)

    def _progress(self) -> None:
        """Propose what has come. Errors end the attempt."""
        inbound = self._inbound
        if not inbound.entries:
            return
        urgent = inbound.urgent
        entries = inbound.take_entries()
        self._journal_length += sum(not isinstance(entry, j.Completion) for entry in entries)
        self._unapplied_bytes += sum(map(payload_bytes, entries)) + 64 * len(entries)
        self._propose(entries, ended=False, awaited=urgent)

    def _propose(self, entries: list[j.Entry], *, ended: bool, awaited: bool) -> None:
        try:
            self._proposals.progress(entries, ended=ended, awaited=awaited)
        except PerdureError as error:
            self.refuse(error)

    def _hold_back(self) -> None:
        """A deployment that says more than the log takes is not read until that has caught up."""
        if self._unapplied_bytes < READ_AHEAD_BYTES_MAX or self.over:
            return
        if self._caught_up():
            self._unapplied_bytes = 0
        elif self._reading and self._exchange is not None:
            self._reading = False
            self._exchange.pause_reading()
            self._host.loop.call_later(_CATCH_UP_S, self._look_again)

    def _look_again(self) -> None:
        if self.over or self._exchange is None:
            return
        self._last_s = self._host.loop.time()  # the silence is ours
        if not self._caught_up():
            self._host.loop.call_later(_CATCH_UP_S, self._look_again)
            return
        self._unapplied_bytes = 0
        self._reading = True
        self._exchange.resume_reading()

    def _caught_up(self) -> bool:
        return self._proposals.last_lsn <= self._host.applied_lsn and not self._throttled()

    # --- ends ---------------------------------------------------------------------------------------------------------------

    def _end(self, end: End) -> None:
        match end:
            case Ended(output=output):
                self._propose([*self._inbound.take_entries(), output], ended=True, awaited=True)
                self._say_goodbye()
            case Suspending(awaiting=awaiting):
                self._progress()
                self._suspended(awaiting)
            case _:
                self._failed(end)

    def _suspended(self, awaiting: j.Awaiting) -> None:
        if self.over:
            return
        if self._pausing:
            self._proposals.pause()
        else:
            self._proposals.suspended(awaiting, -1 if self._answered(awaiting) else self._told)
        self._say_goodbye()

    def _answered(self, awaiting: j.Awaiting) -> bool:
        """It waits for something that the journal holds: then it goes on at once.

        A deployment that lets go by itself did not listen any more to what was on its way. It may as well have used a signal
        of that name and wait for another one: then the next attempt, which begins with the first, waits again.
        """
        if not self._signalled.isdisjoint(awaiting.signals):
            return True
        wanted = set(awaiting.completions)
        journal = self._host.journal(self._partition, self._row.seq).entries
        return any(isinstance(entry, j.Completion) and entry.completion_id in wanted for entry in journal)

    def _failed(self, said: m.Error) -> None:
        related = said.related_command_type
        error = AttemptError(
            said.code,
            said.message,
            said.stacktrace,
            replay.DOC_CODE if said.code == replay.MISMATCH else "RT0007",
            said.related_command_index,
            said.related_command_name or None,
            None if related is None else name_of_type(related),
        )
        park, kill = said.behavior == m.ErrorBehavior.PAUSE, said.behavior == m.ErrorBehavior.FAIL
        self._fail(_Failure(error, said.next_retry_delay, park, kill), goodbye=True)

    def _fail(self, failure: _Failure, *, goodbye: bool = False, silent: bool = False) -> None:
        """What came before the failure stands. `goodbye`: the deployment says so itself, and ends in order."""
        self._progress()
        if self.over:
            return
        self._proposals.failed(
            failure.error,
            retry_after_ms=failure.retry_after_ms,
            park=(failure.park or self._pausing) and not failure.kill,
            kill=failure.kill,
            counted=failure.retry_after_ms is None,
        )
        if goodbye:
            self._say_goodbye()
        else:
            self.abort(silent=silent)

    def _say_goodbye(self) -> None:
        """It has said its last: the exchange ends in order, or is dropped when that takes too long."""
        if self.over:
            return
        self._finish()
        if self._exchange is not None:
            self._exchange.end()
            self._host.loop.call_later(_FAREWELL_S, self._drop)

    def _said_too_much(self) -> None:
        _logger.warning("attempt %d of %s: the deployment went on after its end", self.epoch, self._row.target)
        self._drop()

    def _drop(self) -> None:
        if self._exchange is not None:
            self._exchange.abort()
            self._exchange = None

    def _finish(self) -> None:
        self.over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._on_over(self)

    # --- time ---------------------------------------------------------------------------------------------------------------

    def _set_timer(self, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._host.loop.call_later(delay_s, self._silent)

    def _silent(self) -> None:
        """Perhaps nothing has come or gone for as long as is allowed; each message counts from anew."""
        self._timer = None
        if self.over:
            return
        abort_s = self._spec.abort_timeout_ms / 1000
        allowed_s = abort_s if self._half_closed else self.inactivity_timeout_s
        left_s = self._last_s + allowed_s - self._host.loop.time()
        if left_s > 0:
            self._set_timer(left_s)
        elif not self._half_closed:
            self.suspend()
        else:
            self._fail(_Failure(AttemptError(500, _GIVES_UP.format(f"{abort_s:g}"), doc_code="RT0001")), silent=True)


class _Failure(NamedTuple):
    """Why the attempt fails. A delay that somebody names replaces one of the policy's, and the failure counts nothing."""

    error: AttemptError
    retry_after_ms: int | None = None
    park: bool = False
    kill: bool = False
