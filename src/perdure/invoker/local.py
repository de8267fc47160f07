"""One attempt of a handler in this process: replays its journal, then goes live.

The embedded engine's `Driver`. What always holds:
* The handler is told recorded notifications first, in journal order, then those that arrive, one per turn.
* A command is compared with the recorded one while there are any; after that it is proposed. Commands of one turn leave
  as one `Progress` record, which may still grow until its batch is encoded.
* No step starts before replay is over and the turn has ended.
* When `over` is set nothing is proposed any more, whatever the handler does.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import traceback
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar, cast

from perdure.invoker import replay
from perdure.invoker.errors import AttemptOver
from perdure.invoker.requests import make_request
from perdure.model import journal as j
from perdure.model.driver import App, AttemptStart, AuthorAttempt, Capability, Step, Turn
from perdure.model.errors import PerdureError
from perdure.model.ids import format_invocation_id
from perdure.model.limits import JOURNAL_ENTRIES_MAX
from perdure.model.records import AttemptError, AttemptFailed, Progress, Suspended
from perdure.model.target import HandlerKind

if TYPE_CHECKING:
    from perdure.invoker.host import Host
    from perdure.model.service import HandlerSpec
    from perdure.store.rows import Invocation

_logger = logging.getLogger("perdure.invoker")
C = TypeVar("C", bound=j.Command)

CAPABILITIES = frozenset(Capability)
_COMPLETED_BY_APPLY = (
    j.Call,
    j.OneWayCall,
    j.Sleep,
    j.AttachInvocation,
    j.GetInvocationOutput,
    j.GetLazyState,
    j.GetLazyStateKeys,
    j.GetPromise,
    j.PeekPromise,
    j.CompletePromise,
)
"""Commands whose answer comes from the state machine: somebody waits for them to be durable."""


class LocalAttempt:
    """Shapes: `key` is (partition, seq), by which the pool knows it."""

    __slots__ = (
        "_abort_timer",
        "_app",
        "_bounded",
        "_commands",
        "_completed",
        "_failing",
        "_fresh_steps",
        "_hasty",
        "_host",
        "_inbound",
        "_journal_length",
        "_last_record",
        "_on_over",
        "_out",
        "_recorded_left",
        "_row",
        "_running",
        "_spec",
        "_start",
        "_yielded",
        "author",
        "delivered",
        "epoch",
        "idle_since",
        "key",
        "last_lsn",
        "over",
        "sleeps",
    )

    def __init__(
        self,
        host: Host,
        app: App,
        spec: HandlerSpec,
        partition: int,
        row: Invocation,
        start: AttemptStart,
        on_over: Callable[[LocalAttempt], None],
    ) -> None:
        self.key = (partition, row.seq)
        self.epoch = row.epoch
        self.author: AuthorAttempt | None = None
        self.over = False
        self.delivered = 0
        self.last_lsn = 0
        self.idle_since = 0.0
        self.sleeps: dict[int, int] = {}
        self._host = host
        self._app = app
        self._spec = spec
        self._row = row
        self._start = start
        self._on_over = on_over
        self._commands: deque[j.Command] = deque()
        self._inbound: deque[tuple[j.Notification, int]] = deque()
        self._completed: set[int] = set()
        self._sort_journal(start)
        self._recorded_left = len(self._inbound)
        self._journal_length = len(start.journal)
        self._out: list[j.Entry] = []
        self._hasty = False
        self._fresh_steps: dict[int, Step] = {}
        self._running: dict[int, Step] = {}
        self._last_record: Progress | None = None
        self._failing: tuple[AttemptError, int | None, bool] | None = None
        self._bounded = False
        self._abort_timer: asyncio.TimerHandle | None = None
        self._yielded = False

    def _sort_journal(self, start: AttemptStart) -> None:
        for index in range(1, len(start.journal)):
            entry = start.journal[index]
            kind = type(entry)
            if kind is j.Completion or kind is j.Signal:
                self._inbound.append((cast(j.Notification, entry), start.times[index]))
                if kind is j.Completion:
                    self._completed.add(cast(j.Completion, entry).completion_id)
            else:
                self._commands.append(cast(j.Command, entry))

    # --- the engine's side of the driver protocol -----------------------------------------------------------------------

    @property
    def capabilities(self) -> frozenset[Capability]:
        return CAPABILITIES

    @property
    def replaying(self) -> bool:
        return self._recorded_left > 0 or bool(self._commands)

    def issue(self, command: C) -> C:
        if self.over or self._failing is not None:
            raise AttemptOver(AttemptError(500, "the attempt is over"), park=False)
        if self._commands:
            recorded = self._commands[0]
            if not replay.same(recorded, command):
                raise self._mismatch(recorded, command)
            self._commands.popleft()
            if type(recorded) is j.Sleep:
                self.sleeps[recorded.completion_id] = recorded.wake_at_ms
            return cast(C, recorded)
        self._check_limits()
        kind = type(command)
        if kind is j.Call or kind is j.OneWayCall:
            self._resolve(cast("j.Call | j.OneWayCall", command))
        elif kind is j.Sleep:
            sleep = cast(j.Sleep, command)
            self.sleeps[sleep.completion_id] = sleep.wake_at_ms
        elif kind is j.SetState or kind is j.ClearState or kind is j.ClearAllState:
            self._check_may_write(command)
        if kind in _COMPLETED_BY_APPLY:
            self._hasty = True
        self._journal_length += 1
        self._out.append(command)
        return command

    def start_step(self, step: Step) -> None:
        if step.completion_id not in self._completed:
            self._fresh_steps[step.completion_id] = step

    def abandon(self, completion_id: int) -> None:
        self._fresh_steps.pop(completion_id, None)

    def _mismatch(self, recorded: j.Command | None, issued: j.Command | None) -> AttemptOver:
        index = sum(1 for entry in self._start.journal if not isinstance(entry, j.Completion | j.Signal)) - len(
            self._commands
        )
        text = replay.explain(index, recorded, issued, _user_line())
        error = AttemptError(
            replay.MISMATCH,
            text,
            doc_code=replay.DOC_CODE,
            command_index=index,
            command_name=getattr(issued or recorded, "name", None),
            command_type=type(issued or recorded).__name__,
        )
        return self._end_with(error, park=True)

    def _end_with(self, error: AttemptError, *, park: bool) -> AttemptOver:
        if self._failing is None:
            self._failing = (error, None, park)
        return AttemptOver(error, park=park)

    def _check_limits(self) -> None:
        if self._journal_length < JOURNAL_ENTRIES_MAX:
            return
        text = f"the journal holds {JOURNAL_ENTRIES_MAX} entries, which is the most: split the work into several invocations."
        raise self._end_with(AttemptError(500, text, doc_code="PD0311"), park=True)

    def _check_may_write(self, command: j.Command) -> None:
        if self._spec.kind not in (HandlerKind.EXCLUSIVE, HandlerKind.RUN):
            text = f"{self._start.target} may not {replay.describe(command)}: only exclusive handlers write state."
            raise self._end_with(AttemptError(500, text, doc_code="RT0017"), park=True)

    def _resolve(self, command: j.Call | j.OneWayCall) -> None:
        try:
            service, spec = self._host.resolve(command.target.service, command.target.handler)
        except PerdureError as unknown:
            raise self._end_with(AttemptError(404, unknown.what, doc_code="RT0018"), park=False) from unknown
        if (command.target.key is None) != (service.kind == 0):
            wanted = "no key" if service.kind == 0 else "a key"
            text = f"{command.target} takes {wanted}."
            raise self._end_with(AttemptError(500, text, doc_code="RT0017"), park=False)
        partition, seq = self.key
        one_way = type(command) is j.OneWayCall
        caller = None
        if type(command) is j.Call:
            caller = j.Caller(partition, seq, command.completion_id, j.CompletionCode.CALL)
        command.request = make_request(
            spec,
            command.target,
            headers=[],
            body=b"",
            idempotency_key=command.idempotency_key,
            execute_at_ms=cast(j.OneWayCall, command).invoke_at_ms if one_way else 0,
            origin=j.Origin("service", self._start.invocation_id, self._start.target),
            caller=caller,
            at_ms=self._host.now_ms(),
            random=self._host.random,
            deployment=self._app.identity,
            traceparent=self._row.traceparent,
            tracestate=self._row.tracestate,
        )

    # --- turns --------------------------------------------------------------------------------------------------------

    def notify(self, notification: j.Notification, at_ms: int) -> None:
        """Take a notification of this attempt's epoch; it is delivered by the next `pump`."""
        self._journal_length += 1
        self._inbound.append((notification, at_ms))

    def pump(self) -> None:
        """Run turns until the handler waits and nothing is left to tell it, then propose what it asked."""
        if self.over:
            return
        if self._failing is not None:
            self._settle_failure()
            return
        turn = self._first_turn() if self.author is None else self._resume_turn()
        author = self.author
        while turn is Turn.WAITING and self._inbound and self._failing is None and author is not None:
            notification, at_ms = self._inbound.popleft()
            if self._recorded_left:
                self._recorded_left -= 1
            self.delivered += 1
            if type(notification) is j.Completion:
                self.sleeps.pop(notification.completion_id, None)
            turn = author.deliver(notification, at_ms)
        self._after_turn(turn)

    def _first_turn(self) -> Turn:
        try:
            self.author = self._app.begin(self, self._start)
        except KeyError:
            text = (
                f"this process has no handler {self._start.target}: it was removed or renamed while the invocation ran."
            )
            self._failing = (AttemptError(404, text, doc_code="RT0011"), None, False)
            return Turn.FAILED
        return self.author.start()

    def _resume_turn(self) -> Turn:
        if not self._yielded:
            return Turn.WAITING
        self._yielded = False
        assert self.author is not None
        return self.author.proceed()

    def _after_turn(self, turn: Turn) -> None:
        author = self.author
        if self._failing is None and author is not None and turn is Turn.FAILED:
            assert author.error is not None
            self._failing = (author.error, author.retry_after_ms, author.park)
        if self._failing is None and self._commands and turn in (Turn.WAITING, Turn.ENDED) and not self._inbound:
            self._mismatch(self._commands[0], None)
        if self._failing is not None:
            self._flush(ended=False, awaited=False)
            self._settle_failure()
        elif turn is Turn.ENDED:
            self._flush(ended=True, awaited=True)
            self._finish()
        elif turn is Turn.YIELDED:
            self._yielded = True
            self._flush(ended=False, awaited=False)
            self._host.loop.call_soon(self.pump)
        else:
            self._flush(ended=False, awaited=self._hasty or not (self._running or self._fresh_steps))
            self._start_steps()
            self.idle_since = 0.0 if self._running else self._host.loop.time()

    def _flush(self, *, ended: bool, awaited: bool) -> None:
        """Propose what was issued; it joins this attempt's last record while that may still change."""
        self._hasty = False
        out = self._out
        if not out:
            return
        host = self._host
        record = self._last_record
        if record is not None and host.is_pending(self.last_lsn):
            record.entries.extend(out)
            record.ended = ended
            out.clear()
            if awaited:
                host.hurry()
            return
        partition, seq = self.key
        record = self._last_record = Progress(partition, host.now_ms(), seq, self.epoch, out, ended)
        self._out = []
        self.last_lsn = host.propose(record, awaited=awaited)

    def _finish(self) -> None:
        self.over = True
        self._cancel_abort()
        if self.author is not None:
            self.author.close()
        self._on_over(self)

    # --- steps --------------------------------------------------------------------------------------------------------

    def _start_steps(self) -> None:
        if not self._fresh_steps or self._recorded_left:
            return
        steps, self._fresh_steps = self._fresh_steps, {}
        for completion_id, step in steps.items():
            self._running[completion_id] = step
            if step.mode == "async":
                body = cast(Callable[[], "asyncio.Future[bytes | j.Failure]"], step.body)
                self._host.loop.create_task(self._run_async(step, body), context=step.context)
            else:
                self._run_in_thread(step, cast(Callable[[], "bytes | j.Failure"], step.body))

    async def _run_async(self, step: Step, body: Callable[[], Awaitable[bytes | j.Failure]]) -> None:
        try:
            result = await body()
        except asyncio.CancelledError:
            self._step_failed(step, RuntimeError("the step's task was cancelled from outside"))
            raise
        except Exception as error:
            self._step_failed(step, error)
        else:
            self._step_done(step, result)

    def _run_in_thread(self, step: Step, body: Callable[[], bytes | j.Failure]) -> None:
        loop = self._host.loop
        context = step.context
        work: Callable[[], bytes | j.Failure] = body if context is None else lambda: context.run(body)
        future = asyncio.wrap_future(self._host.executor.submit("steps", work), loop=loop)

        def done(finished: asyncio.Future[bytes | j.Failure]) -> None:
            if finished.cancelled():
                self._step_failed(step, RuntimeError("the step was cancelled because the node stops"))
                return
            error = finished.exception()
            if error is None:
                self._step_done(step, finished.result())
            else:
                self._step_failed(step, error)

        future.add_done_callback(done)

    def _step_done(self, step: Step, result: bytes | j.Failure) -> None:
        self._running.pop(step.completion_id, None)
        if self.over:
            return
        self._out.append(j.Completion(step.completion_id, j.CompletionCode.RUN, result))
        self._flush(ended=False, awaited=True)
        if self._failing is not None:
            self._settle_failure()

    def _step_failed(self, step: Step, error: BaseException) -> None:
        self._running.pop(step.completion_id, None)
        if self.over:
            return
        text = f"{type(error).__name__}: {error}"
        retry_after_ms: int | None = getattr(error, "retry_after_ms", None)
        if step.retry is not None:
            before = (self._row.step_failures or {}).get(step.completion_id)
            failures = 1 if before is None else before.count + 1
            since_first_ms = 0 if before is None else self._host.now_ms() - before.first_at_ms
            delay = step.retry.delay_ms(failures, since_first_ms)
            if delay is None:
                self._step_done(step, j.Failure(500, text))
                return
            retry_after_ms = delay if retry_after_ms is None else retry_after_ms
        if self._failing is None:
            stack = "".join(traceback.format_exception(error))
            attempt_error = AttemptError(
                500, text, stack, command_name=step.name, command_type="Run", step=step.completion_id
            )
            self._failing = (attempt_error, retry_after_ms, False)
            self._bounded = step.retry is not None and step.retry.bounded
        self._settle_failure()

    # --- ends ---------------------------------------------------------------------------------------------------------

    def _settle_failure(self) -> None:
        """An attempt that fails first lets its running steps finish and records them, up to the abort timeout."""
        if self.over:
            return
        if not self._running:
            self._propose_failure()
        elif self._abort_timer is None:
            delay_s = self._spec.abort_timeout_ms / 1000
            self._abort_timer = self._host.loop.call_later(delay_s, self._propose_failure)

    def _propose_failure(self) -> None:
        assert self._failing is not None
        error, retry_after_ms, park = self._failing
        host = self._host
        partition, seq = self.key
        policy = self._spec.retry
        now_ms = host.now_ms()
        counted = not self._bounded
        retry_at_ms: int | None = None
        if not park:
            delay_ms = policy.delay_ms(self._row.attempts_failed + 1, host.random.fraction()) if counted else 0
            if delay_ms is not None:
                retry_at_ms = now_ms + max(1, delay_ms if retry_after_ms is None else retry_after_ms)
        exhausted = "pause" if park else policy.on_max_attempts
        record = AttemptFailed(partition, now_ms, seq, self.epoch, error, retry_at_ms, exhausted, counted)
        host.propose(record, awaited=True)
        self._log_failure(record)
        self._finish()

    def _log_failure(self, record: AttemptFailed) -> None:
        who = f"{self._start.target} ({format_invocation_id(self._start.invocation_id)})"
        if record.retry_at_ms is not None:
            then = f"next attempt in {(record.retry_at_ms - record.at_ms) / 1000:.1f} s"
        else:
            then = "it is paused" if record.exhausted == "pause" else "it ends with this error"
        _logger.warning("attempt %d of %s failed: %s; %s", self.epoch, who, record.error.message, then)
        if record.error.stacktrace:
            _logger.info("%s", record.error.stacktrace)

    def may_suspend(self) -> bool:
        """True when the handler waits, nothing of it runs and all that it asked has been applied."""
        return (
            not self.over
            and self.idle_since > 0
            and not self._running
            and not self._inbound
            and not self._yielded
            and self._failing is None
            and self.last_lsn <= self._host.applied_lsn
        )

    def suspend(self) -> None:
        """Leave memory; the invocation goes on when something it waits for arrives. Only when `may_suspend`."""
        assert self.author is not None
        awaiting = self.author.awaiting()
        partition, seq = self.key
        record = Suspended(partition, self._host.now_ms(), seq, self.epoch, awaiting, self.delivered)
        self._host.propose(record, awaited=False)
        self._finish()

    def abort(self) -> None:
        """The invocation was taken away (killed, paused, a newer epoch): drop everything, propose nothing."""
        if not self.over:
            self._finish()

    @property
    def inactivity_timeout_s(self) -> float:
        return self._spec.inactivity_timeout_ms / 1000

    @property
    def busy(self) -> bool:
        """True while a step runs."""
        return bool(self._running)

    def _cancel_abort(self) -> None:
        if self._abort_timer is not None:
            self._abort_timer.cancel()
            self._abort_timer = None


def _user_line() -> str:
    """` (at FILE:LINE, in FUNCTION)` of the nearest frame that is not perdure's own, or nothing."""
    frame = sys._getframe(1)
    own = __name__.partition(".")[0] + "."
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if not module.startswith((own, "asyncio.")) and module != "asyncio":
            return f" (at {frame.f_code.co_filename}:{frame.f_lineno}, in {frame.f_code.co_name})"
        frame = frame.f_back  # type: ignore[assignment]
    return ""
