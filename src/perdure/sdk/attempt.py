"""One attempt of a handler: the author's side of the driver protocol (`model.driver.AuthorAttempt`).

It owns the loop, the numbering of durable operations, and the table of what waits for which notification. What always
holds: commands leave only during a turn, in the order the handler asked; a notification is handed over only while the
handler waits; once the attempt is failed or dropped, no command reaches the driver, whatever user code still does.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from perdure.model import limits
from perdure.model.driver import AttemptStart, C, Capability, Driver, Turn
from perdure.model.errors import PerdureError
from perdure.model.ids import CANCEL_SIGNAL, FIRST_USER_SIGNAL
from perdure.model.journal import Awaiting, Completion, Notification, Output, Run, SendSignal, Signal, Sleep
from perdure.model.records import AttemptError
from perdure.sdk import dropping
from perdure.sdk.declared_errors import failure_from
from perdure.sdk.durable_timers import DurableTimers, LoopTimers
from perdure.sdk.errors import NothingToWaitForError, TurnTooLongError, cancelled_error, retryable_cause
from perdure.sdk.failing import describe
from perdure.sdk.futures import DurableFuture, InvocationIdSlot, LoopTimer, Pending
from perdure.sdk.invocation_ids import raw_invocation_id
from perdure.sdk.loop import DeterministicLoop
from perdure.sdk.signal_box import SignalBox

if TYPE_CHECKING:
    from perdure.sdk.codec import Codec
    from perdure.sdk.dev import DevWatch
    from perdure.sdk.futures import Decoder
    from perdure.sdk.handler import Handler

_F = TypeVar("_F", bound=DurableFuture[Any])

_log = logging.getLogger("perdure.handler")


class Attempt:
    """A running attempt; see `model.driver.AuthorAttempt` for the calls an engine makes."""

    __slots__ = (
        "__weakref__",
        "_broken_by",
        "_callbacks",
        "_calls",
        "_cancel_due",
        "_dated",
        "_durable_timers",
        "_ended",
        "_exception",
        "_inert",
        "_main",
        "_next_completion",
        "_next_signal",
        "_output",
        "_pending",
        "_signals",
        "_waits_refused",
        "cancel_waits",
        "cancelled",
        "codec",
        "complete_hooks",
        "driver",
        "error",
        "finished_event",
        "handler",
        "issued",
        "loop",
        "park",
        "retry_after_ms",
        "start_info",
        "watch",
    )

    def __init__(
        self,
        driver: Driver,
        start: AttemptStart,
        handler: Handler,
        codec: Codec | None,
        watch: DevWatch | None,
    ) -> None:
        self.driver: Driver = driver
        self.start_info = start
        self.handler = handler
        self.codec = codec
        self.watch = watch
        self.error: AttemptError | None = None
        self.retry_after_ms: int | None = None
        self.park = False
        self.cancelled = False
        self.cancel_waits = False
        """A cancellation has come, and is held until the ids of all children are known."""
        self.issued = 1
        """Commands issued so far, the `Input` counted."""
        self.complete_hooks: tuple[Callable[[], object], ...] = ()
        self.finished_event: dropping.FinishedEvent | None = None
        self._dated = Capability.CLOCK in driver.capabilities
        self.loop = DeterministicLoop(self, start.seed, start.started_at_ms, dated=self._dated)  # type: ignore[abstract]
        self._main: asyncio.Task[None] | None = None
        self._output: bytes | None = None
        self._exception: BaseException | None = None
        self._ended = False
        self._inert = False
        self._broken_by: BaseException | None = None
        """What the engine refused a command with, on its way through the handler."""
        self._waits_refused = 0
        self._callbacks = 0
        self._next_completion = 1
        self._next_signal = FIRST_USER_SIGNAL
        self._pending: dict[int, Pending] = {}
        self._signals: SignalBox | None = None
        self._calls: dict[int, InvocationIdSlot] | None = None
        self._cancel_due = False
        self._durable_timers: DurableTimers | None = None

    # --- the engine's calls -------------------------------------------------------------------------------------------

    def start(self) -> Turn:
        from perdure.sdk.anyio_support import support_anyio
        from perdure.sdk.logging import say_once
        from perdure.sdk.runtime import run_handler

        support_anyio()
        say_once()
        entered = self._enter()
        try:
            self._main = self.loop.create_task(run_handler(self), name="handler", context=contextvars.Context())
            return self._run_turn()
        except BaseException as error:
            return self._crashed(error)
        finally:
            self._leave(entered)

    def deliver(self, notification: Notification, at_ms: int) -> Turn:
        if self.error is not None:
            return Turn.FAILED
        loop = self.loop
        if at_ms > loop.now_ms:
            loop.now_ms = at_ms
        self._callbacks = 0
        entered = self._enter() if self.watch is not None else loop.enter()
        try:
            if type(notification) is Completion:
                waiting = self._pending.pop(notification.completion_id, None)
                if waiting is not None:
                    waiting.resolve(notification.result)
                    if self.cancel_waits:
                        self._cancel()
            else:
                self._signalled(notification)  # type: ignore[arg-type]
            return self._run_turn()
        except BaseException as error:
            return self._crashed(error)
        finally:
            if self.watch is not None:
                self._leave(entered)
            else:
                loop.leave(entered)

    def proceed(self) -> Turn:
        entered = self._enter()
        try:
            return self._run_turn()
        except BaseException as error:
            return self._crashed(error)
        finally:
            self._leave(entered)

    def awaiting(self) -> Awaiting:
        completions = [number for number, waiting in self._pending.items() if waiting.wanted()]
        if self.loop.next_wake_ms() is not None:
            timer = self._first_durable_timer()
            if timer is not None and timer[1] not in completions:
                completions.append(timer[1])
        return Awaiting(completions=completions, signals=self._signals.awaited() if self._signals else [])

    def fail(self, error: AttemptError, *, retry_after_ms: int | None = None, park: bool = False) -> None:
        if self.error is None:
            self.error = error
            self.retry_after_ms = retry_after_ms
            self.park = park
        self._go_inert()

    def close(self) -> None:
        if self._main is None and self._inert:
            return
        self._go_inert()
        if self.finished_event is not None:
            self.finished_event.set()
        dropping.drop(self.loop)
        self._main = None
        self._exception = self._broken_by = None
        self._pending.clear()
        self._signals = None
        self._calls = None
        self.complete_hooks = ()

    # --- one turn -----------------------------------------------------------------------------------------------------

    def _enter(self) -> Any:
        entered = self.loop.enter()
        if self.watch is not None:
            self.watch.begin()  # after the collector has stopped: what it calls is not the handler's doing
        return entered

    def _leave(self, entered: Any) -> None:
        if self.watch is not None:
            self.watch.end()
        self.loop.leave(entered)

    def _run_turn(self) -> Turn:
        if self.error is not None:
            return Turn.FAILED
        quiescent = self.loop.run(limits.TURN_CALLBACKS_BUDGET)
        if self.error is not None:
            return Turn.FAILED
        if self._output is not None or self._exception is not None:
            return self._end()
        if not quiescent:
            self._callbacks += limits.TURN_CALLBACKS_BUDGET
            if self._callbacks >= limits.TURN_CALLBACKS_MAX:
                self.break_off(
                    TurnTooLongError(
                        f"{self.start_info.target} ran {self._callbacks} callbacks without waiting for anything durable.",
                        "Wait with a durable operation (`ctx.sleep`, an awakeable) instead of polling.",
                    ),
                    park=False,
                )
                return Turn.FAILED
            return Turn.YIELDED
        self._callbacks = 0
        wake_ms = self.loop.next_wake_ms()
        if wake_ms is not None:
            if self._dated:
                self._make_durable(wake_ms)
            else:
                self._make_all_durable()
            return Turn.WAITING
        for waiting in self._pending.values():
            if waiting.wanted():
                return Turn.WAITING
        if self._signals is None or not self._signals.awaited():
            self.break_off(
                NothingToWaitForError(
                    f"{self.start_info.target} waits, but nothing durable is pending that could ever wake it.",
                    "Look for an Event, Queue or Future that nobody sets any more.",
                ),
                park=True,
            )
            return Turn.FAILED
        return Turn.WAITING

    def _end(self) -> Turn:
        """The handler is done: cancel what it left running, then say how it ended."""
        exception = self._exception
        failure = None if exception is None else failure_from(exception, self.handler.errors)
        if exception is not None and failure is None:
            self._fail_from(exception)
            return Turn.FAILED
        self._cancel_the_rest()
        if self.error is not None:
            return Turn.FAILED
        result = self._output if failure is None else failure
        assert result is not None
        self.issue(Output(result=result))
        self._ended = True
        self._exception = None
        hooks, self.complete_hooks = self.complete_hooks, ()
        for hook in reversed(hooks):
            try:
                hook()
            except Exception:
                _log.exception("An on_complete hook of %s failed", self.start_info.target)
        self._go_inert()
        return Turn.ENDED

    def _cancel_the_rest(self) -> None:
        left = self.loop.unfinished_tasks()
        self.loop.resume()
        if left:
            for task in left:
                task.cancel()
            self.loop.run(limits.TURN_CALLBACKS_MAX)

    def finished(self, output: bytes | None, exception: BaseException | None) -> None:
        """The handler's coroutine is through; the turn stops at this callback."""
        broken_by, self._broken_by = self._broken_by, None
        if broken_by is not None and output is not None:
            dropping.say_swallowed([broken_by])
        self._output = output
        self._exception = exception
        self.loop.halt()

    # --- failing ------------------------------------------------------------------------------------------------------

    @property
    def replaying(self) -> bool:
        return self.driver.replaying

    def break_off(self, error: BaseException, *, park: bool) -> None:
        """Fail the attempt out of band: user code may swallow the exception that tells it."""
        self.fail(describe(error), park=park)

    def _crashed(self, error: BaseException) -> Turn:
        """Something other than the handler's task raised: the engine (a mismatch), or a callback."""
        if self.error is None:
            self.fail(describe(error))
        if isinstance(error, KeyboardInterrupt):
            raise error
        return Turn.FAILED

    def flag_inline_call(self, func: Callable[..., Any]) -> None:
        if self.watch is not None:
            self.watch.flag_inline_call(func)

    def _fail_from(self, exception: BaseException) -> None:
        retryable = retryable_cause(exception)
        delay_ms = None if retryable is None else retryable.retry_after_ms
        park = isinstance(exception, PerdureError) and exception.park
        self.fail(describe(exception), retry_after_ms=delay_ms, park=park)
        self._exception = None

    def _go_inert(self) -> None:
        if self._inert:
            return
        self._inert = True
        self.driver = dropping.InertDriver(self.driver.capabilities)
        self.loop.stop_for_good()

    # --- durable operations -------------------------------------------------------------------------------------------

    def issue(self, command: C) -> C:
        """Hand a command to the engine; what comes back is the command as it stands in the journal."""
        self.loop.check_in_turn()
        self.issued += 1
        try:
            return self.driver.issue(command)
        except BaseException as error:
            # The engine refused it (a mismatch). User code may catch what passes through it; the attempt is over anyway.
            if self.error is None:
                self.fail(describe(error))
                self._broken_by = error
            raise

    def run_step(self, name: str, serde: Decoder) -> DurableFuture[Any]:
        """Issue a `Run`: what `next_completion`, `issue`, `prepare` and `expect` do, in one, because it is the hot path."""
        self._next_completion = (number := self._next_completion) + 1
        self.issue(Run(number, name))
        loop = self.loop
        future: DurableFuture[Any] = DurableFuture(loop=loop)
        future.attempt = self
        future.completion_id = number
        future.serde = serde
        future.name = name
        future.number = loop.next_number()
        if self._inert or self._cancel_due:
            self._refuse_wait(future)
        self._pending[number] = future
        return future

    def next_completion(self) -> int:
        number = self._next_completion
        self._next_completion = number + 1
        return number

    def new_future(self, completion_id: int, serde: Decoder | None, name: str) -> DurableFuture[Any]:
        """A future that waits for nothing yet; `expect` makes it wait."""
        return self.prepare(DurableFuture(loop=self.loop), completion_id, serde, name)

    def prepare(self, future: _F, completion_id: int, serde: Decoder | None, name: str) -> _F:
        future.attempt = self
        future.completion_id = completion_id
        future.serde = serde
        future.name = name
        future.number = self.loop.next_number()
        if self._inert or self._cancel_due:
            self._refuse_wait(future)
        return future

    def _refuse_wait(self, future: DurableFuture[Any]) -> None:
        if self._inert:
            self._waits_refused += 1
            if self._waits_refused <= dropping.WAITS_REFUSED_MAX:
                dropping.fail_with_exit(future)
        elif self.take_cancel():
            future.fail(cancelled_error())

    def expect(self, completion_id: int, waiting: Pending) -> None:
        self._pending[completion_id] = waiting

    def abandoned(self, completion_id: int) -> None:
        if completion_id:
            self.driver.abandon(completion_id)

    # --- timers -------------------------------------------------------------------------------------------------------

    def durable_timer(self, completion_id: int, wake_at_ms: int) -> None:
        if self._durable_timers is None:
            self._durable_timers = DurableTimers()
        self._durable_timers.add(completion_id, wake_at_ms)

    def timer_fired(self, completion_id: int, wake_at_ms: int) -> None:
        self.loop.advance(wake_at_ms)
        if self._durable_timers is not None:
            self._durable_timers.fired(completion_id)

    def _first_durable_timer(self) -> tuple[int, int] | None:
        return None if self._durable_timers is None else self._durable_timers.first(self._pending)

    def _make_durable(self, wake_ms: int) -> None:
        """One durable timer for the earliest of the loop's timers, unless one wakes no later."""
        first = self._first_durable_timer()
        if first is not None and first[0] <= wake_ms:
            return
        number = self.next_completion()
        wake_at_ms = self.issue(Sleep(completion_id=number, wake_at_ms=wake_ms, name="timer")).wake_at_ms
        self.durable_timer(number, wake_at_ms)
        self._pending[number] = LoopTimer(self, number, wake_at_ms)

    def _make_all_durable(self) -> None:
        """A durable timer for those of the loop's that this turn made, one for all that are due at one time."""
        for wake_ms, timers in self.loop.take_timers():
            number = self.next_completion()
            self.issue(Sleep(completion_id=number, wake_at_ms=wake_ms, name="timer"))
            self._pending[number] = LoopTimers(self.loop, wake_ms, timers)

    # --- signals and cancellation -------------------------------------------------------------------------------------

    def next_awakeable(self) -> int:
        self.loop.check_in_turn()
        number = self._next_signal
        self._next_signal = number + 1
        return number

    def expect_signal(self, signal: int | str, future: DurableFuture[Any]) -> None:
        self._signal_box().expect(signal, future)

    def _signal_box(self) -> SignalBox:
        if self._signals is None:
            self._signals = SignalBox()
        return self._signals

    def _signalled(self, signal: Signal) -> None:
        number = signal.signal_id
        if number == CANCEL_SIGNAL:
            self._cancel()
        else:
            # An answer to an awakeable that was answered already is dropped; one to come is kept.
            self._signal_box().deliver(signal, keep=isinstance(number, str) or number >= self._next_signal)

    def _cancel(self) -> None:
        """Cancellation, once: children are told, then whatever is durable and pending fails.

        It waits for the id of every child: a handler that ends before would leave one behind that nobody can tell.
        """
        children = list((self._calls or {}).values())
        self.cancel_waits = not self.cancelled and any(callee.completion_id in self._pending for callee in children)
        if self.cancelled or self.cancel_waits:
            return
        self.cancelled = True
        for callee in children:
            if callee.raw is not None:  # else it was refused
                self.issue(SendSignal(invocation_id=callee.raw, signal_id=CANCEL_SIGNAL))
        failed = False
        for number, waiting in list(self._pending.items()):
            if waiting.fail(cancelled_error()):
                failed = True
                self.driver.abandon(number)
        for future in self._signals.pending() if self._signals is not None else ():
            failed = future.fail(cancelled_error()) or failed
        for sleeper in self.loop.sleepers():
            sleeper.set_exception(cancelled_error())
            failed = True
        self._cancel_due = not failed

    def take_cancel(self) -> bool:
        due, self._cancel_due = self._cancel_due, False
        return due

    def track_call(self, completion_id: int, callee: InvocationIdSlot) -> None:
        if self._calls is None:
            self._calls = {}
        self._calls[completion_id] = callee

    def child_done(self, completion_id: int) -> None:
        if self._calls is not None:
            self._calls.pop(completion_id, None)

    def cancel_invocation(self, invocation_id: str) -> None:
        self.issue(SendSignal(invocation_id=raw_invocation_id(invocation_id), signal_id=CANCEL_SIGNAL))
