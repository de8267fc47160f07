"""The driver of an attempt on a Restate cluster: commands of the author's side become calls of Restate's state machine.

What always holds:
* Each completion id of the author's side stands for one handle of the machine; signals get theirs once somebody waits.
* `take_next` tells answers one at a time in the order of the journal, so a replay tells the same ones in the same order.
* Time is the handler's own: it begins at 0 and moves on only by its waits (`Capability.CLOCK` is missing).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

from perdure.endpoint.machine import (
    Cancelled,
    Completed,
    Execute,
    Machine,
    MachineError,
    Suspended,
)
from perdure.endpoint.recorded import Recorded
from perdure.model import journal as j
from perdure.model.driver import Capability, Step
from perdure.model.ids import CANCEL_SIGNAL, FIRST_USER_SIGNAL, format_invocation_id, parse_invocation_id

C = TypeVar("C", bound=j.Command)

CAPABILITIES: Final = frozenset(Capability) - {Capability.ATTEMPT_EPOCH, Capability.PARK, Capability.CLOCK}


class CommandRefused(BaseException):
    """The machine refused a command: the attempt is over, whatever the handler's code catches."""


class SuspendNow(Exception):
    """The machine has written the suspension: nothing more can be told in this attempt."""


class RestateDriver:
    """See `model.driver.Driver`. `execute` starts a step that the machine wants run."""

    def __init__(self, machine: Machine, execute: Callable[[int, Step], None], recorded: Recorded) -> None:
        self.failed = False
        """The machine has refused something, and has told the server so."""
        self.now_ms = 0
        self._machine = machine
        self._execute = execute
        self._recorded = recorded
        self._open: dict[int, tuple[int, int] | int | str] = {}
        """By handle, in the order they were made: (completion id, its code) or a signal; what is still to be told."""
        self._handles: dict[int, int] = {}
        """By completion id."""
        self._signals: dict[int | str, int] = {}
        """Handles of the signals somebody waits for."""
        self._next_awakeable = FIRST_USER_SIGNAL
        self._steps: dict[int, Step] = {}
        self._wakes: dict[int, int] = {}
        self._written: dict[str, bool] = {}
        """Keys of the state that this attempt set (True) or cleared."""
        self._written_before: dict[int, dict[str, bool]] = {}
        """The same as of the question for all keys with this completion id: the machine forgets what was cleared."""
        self._calls: set[int] = set()
        """Calls made, by the completion id of the callee's id."""
        self._cancelled_for_us: set[int] = set()
        """Those of them that the machine has cancelled, as it does when this invocation is."""
        self._callees: dict[bytes, int] = {}
        """By raw id of a called or sent-to invocation: the completion id that told it."""
        self._searched = False
        """The handler waits since the last search, so it awaits the same."""
        self._awaited: dict[int, None] = {}
        """Handles, as of the last search."""

    # --- the protocol -------------------------------------------------------------------------------------------------

    @property
    def capabilities(self) -> frozenset[Capability]:
        return CAPABILITIES

    @property
    def replaying(self) -> bool:
        return self._machine.replaying or self._recorded.left(self._signals)

    def issue(self, command: C) -> C:
        try:
            _ISSUE[type(command)](self, command)
        except MachineError as error:
            self.failed = True
            raise CommandRefused(str(error)) from error
        return command

    def start_step(self, step: Step) -> None:
        self._steps[step.completion_id] = step

    def abandon(self, completion_id: int) -> None:
        self._steps.pop(completion_id, None)

    # --- telling ------------------------------------------------------------------------------------------------------

    def take_next(
        self, awaiting: Callable[[], j.Awaiting], running: Iterable[int]
    ) -> tuple[j.Notification, int] | None:
        """What the waiting handler is told next and its time, or None: nothing yet.

        `running`: handles of steps under way; their attempt is not suspended. Errors: SuspendNow, MachineError.
        """
        if not self._searched:
            if told := self._take_completed():
                return told
            self._awaited = self._handles_of(awaiting())
        handles = list(self._awaited | dict.fromkeys(running))
        while True:
            match self._machine.progress(handles):
                case Completed():
                    self._searched = False
                    told = self._take_completed()
                    assert told is not None, "the machine found an answer that nobody asked for"
                    return told
                case Cancelled():
                    self._searched = False
                    self._cancelled_for_us.update(self._calls)
                    self._calls.clear()
                    cancel = j.Signal(CANCEL_SIGNAL)
                    self._recorded.told(cancel)
                    return cancel, self.now_ms
                case Execute(handle):
                    told_as = self._open[handle]
                    assert isinstance(told_as, tuple)
                    self._execute(handle, self._steps.pop(told_as[0]))
                case Suspended():
                    raise SuspendNow
                case _:
                    # What was passed over meanwhile is told with the next answer found, as a replay would.
                    self._searched = True
                    self._recorded.all_told()
                    return None

    def _handles_of(self, awaiting: j.Awaiting) -> dict[int, None]:
        """In an order that every attempt repeats."""
        by_number = self._handles
        handles = {by_number[number]: None for number in awaiting.completions if number in by_number}
        for signal in awaiting.signals:
            handles[self._signal_handle(signal)] = None
        return handles

    def _take_completed(self) -> tuple[j.Notification, int] | None:
        """The first made of those that have an answer."""
        for handle, told_as in self._open.items():
            if self._machine.completed(handle):
                del self._open[handle]
                told = self._told(told_as, self._machine.take(handle))
                self._recorded.told(told)
                return told, self.now_ms
        return None

    def _told(self, told_as: tuple[int, int] | int | str, answer: Any) -> j.Notification:
        if not isinstance(told_as, tuple):
            del self._signals[told_as]
            return j.Signal(told_as, answer)
        completion_id, code = told_as
        del self._handles[completion_id]
        if code == j.CompletionCode.SLEEP:
            self.now_ms = max(self.now_ms, self._wakes.pop(completion_id))
        elif code == j.CompletionCode.LAZY_STATE_KEYS:
            written = self._written_before.pop(completion_id)
            answer = sorted(key for key in {*answer, *written} if written.get(key, True))
        elif code == j.CompletionCode.CALL_INVOCATION_ID:
            answer = parse_invocation_id(answer)
            self._callees[answer] = completion_id
        return j.Completion(completion_id, code, answer)

    def _signal_handle(self, signal: int | str) -> int:
        if signal not in self._signals:
            if isinstance(signal, str):
                self._expect_signal(signal, self._machine.signal(signal))
            else:
                # The machine numbers awakeables as they are made, and so does the author's side.
                for number in range(self._next_awakeable, signal + 1):
                    self._expect_signal(number, self._machine.awakeable())
                self._next_awakeable = signal + 1
        return self._signals[signal]

    def _expect_signal(self, signal: int | str, handle: int) -> None:
        self._signals[signal] = handle
        self._open[handle] = signal

    def _expect(self, completion_id: int, code: j.CompletionCode, handle: int) -> None:
        """An answer to come."""
        self._handles[completion_id] = handle
        self._open[handle] = (completion_id, code)

    # --- commands -----------------------------------------------------------------------------------------------------

    def _output(self, command: j.Output) -> None:
        assert command.result is not None
        self._machine.output(command.result)

    def _get_state(self, command: j.GetLazyState) -> None:
        handle = self._machine.get_state(command.key, command.name)
        self._expect(command.completion_id, j.CompletionCode.LAZY_STATE, handle)

    def _get_state_keys(self, command: j.GetLazyStateKeys) -> None:
        handle = self._machine.get_state_keys(command.name)
        self._written_before[command.completion_id] = dict(self._written)
        self._expect(command.completion_id, j.CompletionCode.LAZY_STATE_KEYS, handle)

    def _answered_already(self, command: j.GetEagerState | j.GetEagerStateKeys) -> None:
        """What the handler knows by what it was told or wrote before needs no entry of the journal."""

    def _set_state(self, command: j.SetState) -> None:
        self._machine.set_state(command.key, command.value, command.name)
        self._written[command.key] = True

    def _clear_state(self, command: j.ClearState) -> None:
        self._machine.clear_state(command.key, command.name)
        self._written[command.key] = False

    def _clear_all_state(self, command: j.ClearAllState) -> None:
        self._machine.clear_all_state(command.name)

    def _get_promise(self, command: j.GetPromise) -> None:
        self._expect(command.completion_id, j.CompletionCode.GET_PROMISE, self._machine.get_promise(command.key))

    def _peek_promise(self, command: j.PeekPromise) -> None:
        self._expect(command.completion_id, j.CompletionCode.PEEK_PROMISE, self._machine.peek_promise(command.key))

    def _complete_promise(self, command: j.CompletePromise) -> None:
        assert command.result is not None
        handle = self._machine.complete_promise(command.key, command.result)
        self._expect(command.completion_id, j.CompletionCode.COMPLETE_PROMISE, handle)

    def _sleep(self, command: j.Sleep) -> None:
        handle = self._machine.sleep(max(0, command.wake_at_ms - self.now_ms), command.name)
        self._wakes[command.completion_id] = command.wake_at_ms
        self._expect(command.completion_id, j.CompletionCode.SLEEP, handle)

    def _call(self, command: j.Call) -> None:
        id_handle, handle = self._machine.call(command)
        self._calls.add(command.invocation_id_completion_id)
        self._expect(command.invocation_id_completion_id, j.CompletionCode.CALL_INVOCATION_ID, id_handle)
        self._expect(command.completion_id, j.CompletionCode.CALL, handle)

    def _send(self, command: j.OneWayCall) -> None:
        delay_ms = max(0, command.invoke_at_ms - self.now_ms) if command.invoke_at_ms else None
        handle = self._machine.send(command, delay_ms)
        self._expect(command.invocation_id_completion_id, j.CompletionCode.CALL_INVOCATION_ID, handle)

    def _send_signal(self, command: j.SendSignal) -> None:
        if isinstance(command.signal_id, str):
            assert command.result is not None
            target = format_invocation_id(command.invocation_id)
            self._machine.complete_signal(target, command.signal_id, command.result)
            return
        assert command.signal_id == CANCEL_SIGNAL
        callee = self._callees.get(command.invocation_id)
        if callee in self._cancelled_for_us:
            self._cancelled_for_us.discard(callee)
        else:
            self._machine.cancel(format_invocation_id(command.invocation_id))

    def _run(self, command: j.Run) -> None:
        self._expect(command.completion_id, j.CompletionCode.RUN, self._machine.run(command.name))

    def _attach(self, command: j.AttachInvocation) -> None:
        handle = self._machine.attach(format_invocation_id(command.invocation_id))
        self._expect(command.completion_id, j.CompletionCode.ATTACH, handle)

    def _complete_awakeable(self, command: j.CompleteAwakeable) -> None:
        assert command.result is not None
        self._machine.complete_awakeable(command.awakeable_id, command.result)


_ISSUE: Mapping[type, Callable[[RestateDriver, Any], None]] = MappingProxyType(
    {
        j.Output: RestateDriver._output,
        j.GetLazyState: RestateDriver._get_state,
        j.GetLazyStateKeys: RestateDriver._get_state_keys,
        j.GetEagerState: RestateDriver._answered_already,
        j.GetEagerStateKeys: RestateDriver._answered_already,
        j.SetState: RestateDriver._set_state,
        j.ClearState: RestateDriver._clear_state,
        j.ClearAllState: RestateDriver._clear_all_state,
        j.GetPromise: RestateDriver._get_promise,
        j.PeekPromise: RestateDriver._peek_promise,
        j.CompletePromise: RestateDriver._complete_promise,
        j.Sleep: RestateDriver._sleep,
        j.Call: RestateDriver._call,
        j.OneWayCall: RestateDriver._send,
        j.SendSignal: RestateDriver._send_signal,
        j.Run: RestateDriver._run,
        j.AttachInvocation: RestateDriver._attach,
        j.CompleteAwakeable: RestateDriver._complete_awakeable,
    }
)
