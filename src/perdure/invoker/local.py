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
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, cast

from perdure.invoker import replay
from perdure.invoker.admission import TOO_LONG, CommandRefused, admit
from perdure.invoker.errors import AttemptOver
from perdure.invoker.proposals import Proposals
from perdure.invoker.source_places import place_of_caller, recorded_words
from perdure.invoker.steps import Steps
from perdure.model import journal as j
from perdure.model.driver import App, AttemptStart, AuthorAttempt, Capability, Step, Turn
from perdure.model.errors import PerdureError, stack_of
from perdure.model.limits import BODY_BYTES_MAX, IDLE_ATTEMPT_BYTES, JOURNAL_ENTRIES_MAX
from perdure.model.records import AttemptError

if TYPE_CHECKING:
    from perdure.invoker.host import Host
    from perdure.model.service import HandlerSpec
    from perdure.store.rows import Invocation

C = TypeVar("C", bound=j.Command)

CAPABILITIES = frozenset(Capability)


class LocalAttempt:
    """Shapes: `key` is (partition, seq), by which the pool knows it."""

    __slots__ = (
        "_abort_timer",
        "_app",
        "_commands",
        "_completed",
        "_failed_steps",
        "_failing",
        "_hasty",
        "_host",
        "_inbound",
        "_journal_length",
        "_on_lag",
        "_on_over",
        "_out",
        "_proposals",
        "_recorded_left",
        "_row",
        "_spec",
        "_start",
        "_state_bytes",
        "_steps",
        "_uncounted",
        "_yielded",
        "author",
        "delivered",
        "epoch",
        "idle_since",
        "key",
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
        on_lag: Callable[[LocalAttempt], None],
    ) -> None:
        self.key = (partition, row.seq)
        self.epoch = row.epoch
        self.author: AuthorAttempt | None = None
        self.over = False
        self.delivered = 0
        self.idle_since = 0.0
        self.sleeps: dict[int, int] = {}
        self._host = host
        self._app = app
        self._spec = spec
        self._row = row
        self._start = start
        self._on_over = on_over
        self._on_lag = on_lag
        self._commands: deque[j.Command] = deque()
        self._inbound: deque[tuple[j.Notification, int]] = deque()
        self._completed: set[int] = set()
        self._sort_journal(start)
        self._recorded_left = len(self._inbound)
        self._journal_length = len(start.journal)
        self._out: list[j.Entry] = []
        self._hasty = False
        self._steps = Steps(host, self._step_done, self._step_failed)
        self._proposals = Proposals(host, spec, partition, row)
        self._failing: tuple[AttemptError, int | None, bool] | None = None
        self._uncounted = False
        self._failed_steps: list[int] = []
        self._abort_timer: asyncio.TimerHandle | None = None
        self._yielded = False
        self._state_bytes = sum(map(len, (start.state or {}).values()))

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
        kind = type(command)
        if kind is not j.Run:  # nothing to check of the most frequent one but the journal's length
            self._admit(command)
        elif self._journal_length >= JOURNAL_ENTRIES_MAX:
            raise self._end_with(TOO_LONG, park=True)
        if kind is j.Sleep:
            sleep = cast(j.Sleep, command)
            self.sleeps[sleep.completion_id] = sleep.wake_at_ms
        if kind in j.ANSWERED_BY_ENGINE:
            self._hasty = True
        self._journal_length += 1
        self._out.append(command)
        return command

    def _admit(self, command: j.Command) -> None:
        if self._journal_length >= JOURNAL_ENTRIES_MAX:
            raise self._end_with(TOO_LONG, park=True)
        try:
            admit(command, self._host, self._spec, self.key, self._row)
        except CommandRefused as refused:
            raise self._end_with(refused.error, park=refused.park) from refused

    def start_step(self, step: Step) -> None:
        if step.completion_id not in self._completed:
            self._steps.fresh[step.completion_id] = step

    def abandon(self, completion_id: int) -> None:
        self._steps.fresh.pop(completion_id, None)

    def _mismatch(self, recorded: j.Command | None, issued: j.Command | None) -> AttemptOver:
        index = sum(1 for entry in self._start.journal if not isinstance(entry, j.Completion | j.Signal)) - len(
            self._commands
        )
        place = place_of_caller()
        was = recorded_words(recorded, None if place is None else place.file)
        where = "" if place is None else f" (at {place})"
        text = replay.explain(index, recorded, issued, was, where, self._row.deployment, self._app.identity)
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

    # --- turns --------------------------------------------------------------------------------------------------------

    def notify(self, notification: j.Notification, at_ms: int) -> None:
        """Take a notification of this attempt's epoch; it is delivered by the next `pump`."""
        self._journal_length += 1
        self._inbound.append((notification, at_ms))

    def pump(self) -> None:
        """Run turns until the handler waits and nothing is left to tell it, then propose what it asked."""
        if self.over:
            return
        try:
            if self._failing is None:
                self._after_turn(self._run_turns())
            else:
                self._settle_failure()
        except PerdureError as error:
            self.refuse(error)

    def _run_turns(self) -> Turn:
        turn = Turn.WAITING
        if self.author is None:
            turn = self._first_turn()
        elif self._yielded:
            self._yielded = False
            turn = self.author.proceed()
        author = self.author
        while turn is Turn.WAITING and self._inbound and self._failing is None and author is not None:
            notification, at_ms = self._inbound.popleft()
            if self._recorded_left:
                self._recorded_left -= 1
            self.delivered += 1
            if type(notification) is j.Completion:
                self.sleeps.pop(notification.completion_id, None)
            turn = author.deliver(notification, at_ms)
        return turn

    def refuse(self, error: PerdureError) -> None:
        """The log did not take what the attempt proposed: it is over, and the invocation pauses with the reason."""
        if self.over:
            return
        self._out.clear()
        self._failing = (AttemptError(413, error.what, doc_code=error.code), None, True)
        try:
            self._propose_failure()
        except PerdureError:  # the log takes nothing at all any more: the node has failed, and said so
            self._finish()

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

    def _after_turn(self, turn: Turn) -> None:
        author = self.author
        if self._failing is None and author is not None and turn is Turn.FAILED:
            assert author.error is not None
            self._failing = (author.error, author.retry_after_ms, author.park)
            self._uncounted = author.retry_after_ms is not None
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
            steps = self._steps
            if self._hasty or not (steps.running or steps.fresh):
                self._flush(ended=False, awaited=True)
            elif self._out:
                # Only steps are waited for: the commands go out with the first result, unless that takes long.
                self._on_lag(self)
            if steps.fresh and not self._recorded_left:
                steps.start()
            self.idle_since = 0.0 if steps.running else self._host.loop.time()

    def _flush(self, *, ended: bool, awaited: bool) -> None:
        """Propose what was issued."""
        self._hasty = False
        if self._out:
            out, self._out = self._out, []
            self._proposals.progress(out, ended=ended, awaited=awaited)

    def flush_lagging(self) -> None:
        """What was held back for a step's result has waited long enough."""
        if self.over:
            return
        try:
            self._flush(ended=False, awaited=False)
        except PerdureError as error:
            self.refuse(error)

    def _finish(self) -> None:
        self.over = True
        self._cancel_abort()
        if self.author is not None:
            self.author.close()
        self._on_over(self)

    # --- steps --------------------------------------------------------------------------------------------------------

    def _step_done(self, step: Step, result: bytes | j.Failure) -> None:
        if self.over:
            return
        if type(result) is bytes and len(result) > BODY_BYTES_MAX:
            text = (
                f"the step returned {len(result)} bytes; at most {BODY_BYTES_MAX} are kept: return an address instead."
            )
            self._fail(self._step_error(step, text, "", "RT0003"), park=True)
            return
        self._out.append(j.Completion(step.completion_id, j.CompletionCode.RUN, result))
        try:
            self._flush(ended=False, awaited=True)
        except PerdureError as error:
            self.refuse(error)
            return
        if self._failing is not None:
            self._settle_failure()

    def _step_failed(self, step: Step, error: BaseException) -> None:
        if self.over:
            return
        author = self.author
        if self._failing is None and author is not None and author.error is not None:
            self._fail(author.error, park=author.park)  # the step broke the attempt off
            return
        text = f"{type(error).__name__}: {error}"
        if isinstance(error, PerdureError) and error.park:
            self._fail(self._step_error(step, text, stack_of(error), "RT0007"), park=True)
            return
        retry_after_ms: int | None = getattr(error, "retry_after_ms", None)
        asked = retry_after_ms is not None
        if step.retry is not None:
            delay_ms = self._step_delay_ms(step)
            if delay_ms is None:
                self._step_done(step, j.Failure(500, text))
                return
            retry_after_ms = delay_ms if retry_after_ms is None else retry_after_ms
        uncounted = asked or (step.retry is not None and step.retry.bounded)
        self._failed_steps.append(step.completion_id)
        failed = self._step_error(step, text, stack_of(error), "RT0007")
        self._fail(failed, retry_after_ms=retry_after_ms, uncounted=uncounted)

    def _step_delay_ms(self, step: Step) -> int | None:
        """How long the step's own policy waits; None: it gives up."""
        assert step.retry is not None
        before = (self._row.step_failures or {}).get(step.completion_id)
        if before is None:
            return step.retry.delay_ms(1, 0)
        return step.retry.delay_ms(before.count + 1, self._host.now_ms() - before.first_at_ms)

    def _step_error(self, step: Step, text: str, stack: str, doc_code: str) -> AttemptError:
        return AttemptError(
            500, text, stack, doc_code, command_name=step.name, command_type="Run", step=step.completion_id
        )

    # --- ends ---------------------------------------------------------------------------------------------------------

    def _fail(
        self, error: AttemptError, *, retry_after_ms: int | None = None, park: bool = False, uncounted: bool = False
    ) -> None:
        """The first failure is the attempt's. Steps that fail while it settles are counted for themselves."""
        if self._failing is None:
            self._failing = (error, retry_after_ms, park)
            self._uncounted = uncounted
        try:
            self._flush(ended=False, awaited=False)  # the journal shows the step that failed
        except PerdureError as refused:
            self.refuse(refused)
            return
        self._settle_failure()

    def _settle_failure(self) -> None:
        """An attempt that fails first lets its running steps finish and records them, up to the abort timeout."""
        if self.over:
            return
        if not self._steps.running:
            self._propose_failure()
        elif self._abort_timer is None:
            delay_s = self._spec.abort_timeout_ms / 1000
            self._abort_timer = self._host.loop.call_later(delay_s, self._propose_failure)

    def _propose_failure(self) -> None:
        if self.over:
            return
        assert self._failing is not None
        error, retry_after_ms, park = self._failing
        steps = self._failed_steps if len(self._failed_steps) > 1 else None
        self._proposals.failed(
            error, retry_after_ms=retry_after_ms, park=park, counted=not self._uncounted, steps=steps
        )
        self._finish()
        self._steps.cancel()

    def awaiting(self) -> j.Awaiting | None:
        """What the handler waits for; None while it does something else."""
        if self.author is None or not (self.idle_since or self.busy):
            return None
        return self.author.awaiting()

    def may_suspend(self) -> bool:
        """True when the handler waits and dropping the attempt would lose nothing."""
        return self.idle_since > 0 and not self._inbound and self.settled

    @property
    def settled(self) -> bool:
        """Nothing of it runs and all that it asked has been applied: a replay of the journal leads to where it is."""
        return (
            not self.over
            and self.author is not None
            and not self._steps.running
            and not self._steps.fresh
            and not self._yielded
            and self._failing is None
            and self._proposals.last_lsn <= self._host.applied_lsn
        )

    def suspend(self) -> None:
        """Leave memory; the invocation goes on when something it waits for arrives. Only when `may_suspend`."""
        assert self.author is not None
        self._proposals.suspended(self.author.awaiting(), self.delivered)
        self._finish()

    def abort(self) -> None:
        """The invocation was taken away (killed, paused, a newer epoch), or the node ends: drop everything, propose nothing."""
        if not self.over:
            self._finish()
        self._steps.cancel()

    @property
    def inactivity_timeout_s(self) -> float:
        return self._spec.inactivity_timeout_ms / 1000

    @property
    def held_bytes(self) -> int:
        """About what it takes in memory: its task and futures, and the journal and state it was given."""
        return IDLE_ATTEMPT_BYTES + self._row.journal_bytes + self._state_bytes

    @property
    def busy(self) -> bool:
        """True while a step runs."""
        return bool(self._steps.running)

    def _cancel_abort(self) -> None:
        if self._abort_timer is not None:
            self._abort_timer.cancel()
            self._abort_timer = None
