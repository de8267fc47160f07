"""A scripted engine in memory: it keeps the journal of one invocation, compares on replay, and runs steps inline.

It does what the driver protocol asks of an engine and nothing more: notifications are delivered one at a time, in journal
order, while the handler waits. Time stands still unless nothing else can happen; then it jumps to the next timer.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from perdure.model.driver import AttemptStart, Capability, Step, Turn
from perdure.model.ids import format_awakeable_id, parse_awakeable_id
from perdure.model.journal import (
    Call,
    ClearAllState,
    ClearState,
    CompleteAwakeable,
    Completion,
    CompletionCode,
    Entry,
    Failure,
    GetEagerState,
    GetEagerStateKeys,
    GetLazyState,
    GetLazyStateKeys,
    Input,
    Notification,
    OneWayCall,
    Output,
    Run,
    SendSignal,
    SetState,
    Signal,
    Sleep,
)
from perdure.model.records import AttemptError
from perdure.model.target import Target
from perdure.sdk.app import App
from perdure.sdk.attempt import Attempt
from perdure.sdk.object import VirtualObject
from perdure.sdk.service import Service

STARTED_AT = 1_700_000_000_000
INVOCATION = bytes(range(24))


class Mismatch(BaseException):
    """The command differs from the journal's."""


def comparable(entry: Entry) -> Entry:
    match entry:
        case Call() | OneWayCall():
            return msgspec.structs.replace(entry, request=None)
        case Sleep():
            return msgspec.structs.replace(entry, wake_at_ms=0)
        case GetEagerState():
            return msgspec.structs.replace(entry, value=None)
        case GetEagerStateKeys():
            return msgspec.structs.replace(entry, keys=[])
    return entry


def is_notification(entry: Entry) -> bool:
    return isinstance(entry, (Completion, Signal))


@dataclass
class Script:
    """What the world answers. `call` and `state` are asked for results; `events` come when their time is reached."""

    call: Callable[[Call], bytes | Failure] = lambda call: call.body
    state: dict[str, bytes] | None = None
    partial: bool = False
    events: list[tuple[int, Notification]] = field(default_factory=list)
    """(ms after the start, signal)"""
    step_ms: int = 1
    """How long each step takes."""
    tail: list[tuple[Entry, int]] | None = None
    """Recorded entries to play out after the journal instead of running anything."""


class ScriptedDriver:
    """One invocation. `journal` and `times` survive attempts; `replaying` is true until its notifications are used up."""

    def __init__(
        self,
        app: App,
        service: str,
        handler: str,
        body: bytes = b"",
        *,
        key: str | None = None,
        script: Script | None = None,
        seed: int = 7,
        journal: list[Entry] | None = None,
        times: list[int] | None = None,
        headers: list[tuple[str, str]] | None = None,
    ) -> None:
        self.app = app
        self.target = Target(service, key, handler)
        self.script = script or Script()
        self.seed = seed
        self.journal: list[Entry] = journal or [Input(headers=headers or [], body=body)]
        self.times: list[int] = times or [STARTED_AT] * len(self.journal)
        self.capabilities = frozenset(Capability)
        self.now_ms = self.times[-1]
        self.step_runs: dict[int, int] = {}
        self.step_errors: list[tuple[str, BaseException]] = []
        self.attempts = 0
        self.crash_at: int | None = None
        """Stop once the journal has this many entries, as a crash does."""
        self.attempt: Attempt | None = None
        self.outcome: Turn | None = None
        self._events = list(self.script.events)
        self._done_awakeables: list[Entry] = []

    # --- the driver protocol ------------------------------------------------------------------------------------------

    @property
    def replaying(self) -> bool:
        return self._delivered < len(self._recorded_notifications)

    def issue(self, command: Any) -> Any:
        assert self._in_turn, "a command outside a turn"
        if self._cursor < len(self._recorded_commands):
            recorded = self._recorded_commands[self._cursor]
            self._cursor += 1
            if comparable(recorded) != comparable(command):
                raise Mismatch(f"recorded {recorded}, now {command}")
            return recorded
        self._cursor += 1
        self._recorded_commands.append(command)
        self._append(command)
        self._live.append(command)
        return command

    def start_step(self, step: Step) -> None:
        self._steps[step.completion_id] = step

    def abandon(self, completion_id: int) -> None:
        self.abandoned.add(completion_id)
        self._steps.pop(completion_id, None)

    # --- running ------------------------------------------------------------------------------------------------------

    def begin(self) -> Attempt:
        self.attempts += 1
        self._recorded_commands = [entry for entry in self.journal[1:] if not is_notification(entry)]
        self._recorded_notifications = [
            (entry, at) for entry, at in zip(self.journal, self.times, strict=True) if is_notification(entry)
        ]
        self._cursor = 0
        self._delivered = 0
        self._steps: dict[int, Step] = {}
        self._live: list[Entry] = []
        self._in_turn = False
        self.abandoned: set[int] = set()
        self.attempt = self.app.begin(self, self.attempt_start())  # type: ignore[assignment]
        assert self.attempt is not None
        return self.attempt

    def attempt_start(self) -> AttemptStart:
        return AttemptStart(
            invocation_id=INVOCATION,
            target=self.target,
            epoch=self.attempts,
            seed=self.seed,
            started_at_ms=STARTED_AT,
            journal=list(self.journal),
            times=list(self.times),
            state=None if self.target.key is None else ({} if self.script.partial else self.current_state()),
            state_partial=self.script.partial,
        )

    def current_state(self) -> dict[str, bytes]:
        state = dict(self.script.state or {})
        for entry in self.journal:
            match entry:
                case SetState(key, value):
                    state[key] = value
                case ClearState(key):
                    state.pop(key, None)
                case ClearAllState():
                    state.clear()
        return state

    def turn(self, call: Callable[[], Turn]) -> Turn:
        """A turn, and the ones it gave way to. Asserts that the engine's own surroundings come back."""
        self._in_turn = True
        outcome = call()
        while outcome is Turn.YIELDED:
            outcome = self.attempt.proceed()  # type: ignore[union-attr]
        self._in_turn = False
        return outcome

    def run(self) -> Turn:
        """One attempt, until it ends, fails, or nothing more can happen (WAITING)."""
        attempt = self.begin()
        outcome = self.turn(attempt.start)
        while outcome is Turn.WAITING and not self._crashing():
            if self._delivered < len(self._recorded_notifications):
                entry, at = self._recorded_notifications[self._delivered]
            else:
                self._answer_all()
                if self._crashing() or not self._next_live():
                    break
                entry, at = self._recorded_notifications[self._delivered]
            self._delivered += 1
            outcome = self.turn(lambda entry=entry, at=at: attempt.deliver(entry, at))  # type: ignore[misc,arg-type]
        attempt.close()
        return outcome

    def run_to_end(self, attempts: int = 50) -> Turn:
        """Attempt after attempt until one ends."""
        for _ in range(attempts):
            outcome = self.run()
            if outcome is Turn.ENDED:
                return outcome
        raise AssertionError(f"not ended after {attempts} attempts: {self.error}")

    @property
    def error(self) -> AttemptError | None:
        return None if self.attempt is None else self.attempt.error

    @property
    def output(self) -> Any:
        last = self.journal[-1]
        assert isinstance(last, Output), f"no output: {self.journal[-3:]} {self.error}"
        return last.result

    def _crashing(self) -> bool:
        return self.crash_at is not None and len(self.journal) >= self.crash_at

    def _append(self, entry: Entry) -> None:
        if self._crashing():
            return  # written after the crash: lost
        self.journal.append(entry)
        self.times.append(self.now_ms)

    def _notify(self, entry: Notification) -> None:
        if self._crashing():
            return
        self._append(entry)
        self._recorded_notifications.append((entry, self.now_ms))

    def _answer_all(self) -> None:
        """Answer what can be answered now: calls at once, steps by running them."""
        if self.script.tail is not None:
            return
        answered = {entry.completion_id for entry in self.journal if isinstance(entry, Completion)}
        for command in [entry for entry in self.journal if not is_notification(entry)]:
            if self._crashing():
                return
            match command:
                case Call():
                    if command.invocation_id_completion_id not in answered:
                        self._notify(
                            Completion(
                                command.invocation_id_completion_id,
                                CompletionCode.CALL_INVOCATION_ID,
                                bytes([command.completion_id % 256]) * 24,
                            )
                        )
                    if command.completion_id not in answered:
                        result = self.script.call(command)
                        if result is not None:
                            self._notify(Completion(command.completion_id, CompletionCode.CALL, result))
                case OneWayCall() if command.invocation_id_completion_id not in answered:
                    self._notify(
                        Completion(
                            command.invocation_id_completion_id,
                            CompletionCode.CALL_INVOCATION_ID,
                            bytes([command.invocation_id_completion_id % 256]) * 24,
                        )
                    )
                case GetLazyState() if command.completion_id not in answered:
                    value = self._state_before(command).get(command.key)
                    self._notify(Completion(command.completion_id, CompletionCode.LAZY_STATE, value))
                case GetLazyStateKeys() if command.completion_id not in answered:
                    keys = sorted(self._state_before(command))
                    self._notify(Completion(command.completion_id, CompletionCode.LAZY_STATE_KEYS, keys))
                case Run() if command.completion_id not in answered and command.completion_id in self._steps:
                    self._run_step(self._steps.pop(command.completion_id))
                case CompleteAwakeable() if not any(entry is command for entry in self._done_awakeables):
                    self._done_awakeables.append(command)
                    invocation, signal = parse_awakeable_id(command.awakeable_id)
                    if invocation == INVOCATION:
                        self._notify(Signal(signal, command.result))

    def _state_before(self, command: Entry) -> dict[str, bytes]:
        state = dict(self.script.state or {})
        for entry in self.journal:
            if entry is command:
                break
            match entry:
                case SetState(key, value):
                    state[key] = value
                case ClearState(key):
                    state.pop(key, None)
                case ClearAllState():
                    state.clear()
        return state

    def _run_step(self, step: Step) -> None:
        self.step_runs[step.completion_id] = self.step_runs.get(step.completion_id, 0) + 1
        assert step.context is not None
        try:
            if step.mode == "async":
                result = _run_in(step)
            else:
                result = step.context.run(step.body)
        except Exception as error:
            self.step_errors.append((step.name, error))
            retry = step.retry
            if retry is not None and retry.delay_ms(self.step_runs[step.completion_id], 0) is None:
                result = Failure(500, f"{type(error).__name__}: {error}")
            elif self.step_runs[step.completion_id] < 20:
                self._run_step(step)
                return
            else:
                assert self.attempt is not None
                self.attempt.fail(AttemptError(500, str(error)))
                return
        self.now_ms += self.script.step_ms
        assert isinstance(result, (bytes, Failure))
        self._notify(Completion(step.completion_id, CompletionCode.RUN, result))

    def _next_live(self) -> bool:
        """Make the next thing happen; False when nothing will."""
        if self._delivered < len(self._recorded_notifications):
            return True
        if self.script.tail:
            entry, at = self.script.tail.pop(0)
            self.now_ms = at
            self._notify(entry)  # type: ignore[arg-type]
            return True
        if self.script.tail is not None:
            return False
        answered = {entry.completion_id for entry in self.journal if isinstance(entry, Completion)}
        timers = sorted(
            (entry.wake_at_ms, entry.completion_id)
            for entry in self.journal
            if isinstance(entry, Sleep) and entry.completion_id not in answered
        )
        event_at = STARTED_AT + self._events[0][0] if self._events else None
        if event_at is not None and (not timers or event_at <= timers[0][0]):
            self.now_ms = max(self.now_ms, event_at)
            self._notify(self._events.pop(0)[1])
            return True
        if timers:
            wake_at, completion_id = timers[0]
            self.now_ms = max(self.now_ms, wake_at)
            self._notify(Completion(completion_id, CompletionCode.SLEEP, None))
            return True
        return False


def _run_in(step: Step) -> bytes | Failure:
    async def main() -> Any:
        return await asyncio.get_running_loop().create_task(step.body(), context=step.context)  # type: ignore[arg-type]

    running = asyncio._get_running_loop()
    task = None
    if sys.version_info >= (3, 14) and running is not None:
        task = asyncio.tasks._swap_current_task(running, None)  # the current task is the thread's there
    asyncio._set_running_loop(None)
    try:
        result: bytes | Failure = asyncio.run(main())
    finally:
        asyncio._set_running_loop(running)
        if task is not None:
            asyncio.tasks._swap_current_task(running, task)
    return result


def awakeable(number: int = 17) -> str:
    return format_awakeable_id(INVOCATION, number)


def cancel_signal() -> SendSignal:
    return SendSignal(INVOCATION, 1)


def commands(journal: list[Entry]) -> list[Entry]:
    return [entry for entry in journal if not is_notification(entry)]


def drive(
    function: Callable[..., Any],
    body: bytes = b"",
    *,
    key: str | None = None,
    shared: bool = False,
    script: Script | None = None,
    dev: bool = False,
    run: bool = True,
    **kwargs: Any,
) -> ScriptedDriver:
    """Run one function as a handler: of a service, or with a key of an object."""
    if key is None:
        service: Service | VirtualObject = Service("S")
        service.handler(name="h")(function)
    else:
        service = VirtualObject("S")
        service.handler(name="h", kind="shared" if shared else "exclusive")(function)
    driver = ScriptedDriver(App([service], dev=dev), "S", "h", body, key=key, script=script, **kwargs)
    if run:
        driver.outcome = driver.run()
    return driver


def replayed(driver: ScriptedDriver) -> ScriptedDriver:
    """A second attempt over the whole journal but its end, in the same app."""
    again = ScriptedDriver(
        driver.app,
        driver.target.service,
        driver.target.handler,
        key=driver.target.key,
        journal=driver.journal[:-1],
        times=driver.times[:-1],
        script=Script(state=driver.script.state, partial=driver.script.partial),
    )
    again.outcome = again.run()
    return again
