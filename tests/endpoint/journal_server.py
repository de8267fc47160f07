"""A Restate server of one invocation, in memory: keeps the journal, answers in an order it draws, cuts attempts off.

It speaks the service protocol (`perdure.wire`) with the driver and the official state machine, without HTTP. What it answers
where a real server would ask others (calls, timers, promises) is made up; in which order is the point.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from perdure.endpoint.attempt import EndpointAttempt
from perdure.endpoint.machine import Machine
from perdure.endpoint.recorded import Recorded
from perdure.model import journal as j
from perdure.model.driver import App, AttemptStart
from perdure.model.ids import format_invocation_id, parse_awakeable_id
from perdure.model.target import Target
from perdure.wire import messages as m
from perdure.wire.commands import decode_command, encode_command
from perdure.wire.framing import FrameDecoder, encode_frame
from perdure.wire.notifications import encode_notification
from perdure.wire.protobuf import decode, encode

T = TypeVar("T")
INVOCATION_ID = bytes.fromhex("548ae3cba54055b31a4318f3bb410fac5dd4ae1745e480ce")
CODE = j.CompletionCode
TURNS = 30
"""Iterations of the event loop after which an attempt has done all it can: no step here waits for anything."""


@dataclass
class Attempt:
    """One attempt as the server sees it. `ended`: how, once it has."""

    machine: Machine
    attempt: EndpointAttempt
    frames: FrameDecoder = field(default_factory=FrameDecoder)
    ended: str = ""


class Inline:
    """An `Executor` that runs a plain step when it is started."""

    def submit(self, name: str, work: Callable[[], T]) -> concurrent.futures.Future[T]:
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)
        return future

    def submit_process(self, work: Callable[[], T], *, timeout_s: float | None) -> concurrent.futures.Future[T]:
        return self.submit("processes", work)

    def shutdown(self, *, wait: bool) -> None:
        pass


class JournalServer:
    def __init__(
        self, app: App, target: Target, body: bytes, seed: int, version: int = 6, *, patient: bool = False
    ) -> None:
        """`patient`: timers fire in their order, and only when nothing else is left to tell."""
        self.journal: list[j.Entry] = [j.Input([], body)]
        self.to_tell: list[j.Notification] = []
        """What has come to be true and is not in the journal yet."""
        self.output: j.Result = None
        self.attempts = 0
        self.commands_replayed = 0
        self._random = random.Random(seed)
        self._app = app
        self._target = target
        self._version = version
        self._callees = 0
        self._patient = patient

    async def run(self, *, cut_off: float = 0.3, suspend: float = 0.0, attempts_max: int = 200) -> j.Result:
        """Until the invocation has ended. How likely an attempt is to be cut off at each wait, and to be suspended."""
        while self.output is None:
            assert self.attempts < attempts_max, self.journal
            attempt = self.begin()
            while not (await self.settle(attempt)):
                if self._random.random() < cut_off:
                    self._cut_off(attempt)
                    break
                if self._random.random() < suspend:
                    attempt.machine.close_input()
                    attempt.attempt.pump()
                else:
                    self.tell_some(attempt)
            assert attempt.ended in ("", "output", "suspended"), attempt.ended
            while attempt.ended == "suspended":  # a server begins the next attempt when something awaited has come
                told = self._draw()
                self.journal.append(told)
                if not (isinstance(told, j.Signal) and isinstance(told.signal_id, str)):
                    break
        return self.output

    def _cut_off(self, attempt: Attempt) -> None:
        """The connection breaks: a result that was proposed may have become durable, or be lost."""
        attempt.attempt.abort()
        proposed = [told for told in self.to_tell if isinstance(told, j.Completion) and told.code == CODE.RUN]
        for told in proposed:
            self.to_tell.remove(told)
            if self._random.random() < 0.5:
                self.journal.append(told)

    def begin(self) -> Attempt:
        self.attempts += 1
        content_type = f"application/vnd.restate.invocation.v{self._version}"
        machine = Machine([("content-type", content_type)], compare_payloads=True)
        start = m.Start(id=INVOCATION_ID, debug_id=format_invocation_id(INVOCATION_ID), key=self._target.key or "")
        start.known_entries, start.partial_state, start.random_seed = len(self.journal), True, 7
        recorded = Recorded()
        for data in (encode_frame(m.Type.START, encode(start)), *map(self._written, self.journal)):
            machine.feed(data)
            recorded.feed(data)
        given = machine.input()
        begin = AttemptStart(
            INVOCATION_ID, self._target, 0, given.seed, 0, [j.Input([], given.body)], [0], state_partial=True
        )
        attempt = EndpointAttempt(machine, self._app, begin, Inline(), 60_000, recorded, lambda: None)
        attempt.pump()
        return Attempt(machine, attempt)

    def _written(self, entry: j.Entry) -> bytes:
        if isinstance(entry, j.Completion | j.Signal):
            return encode_notification(entry, self._version)
        self.commands_replayed += 1
        return encode_command(entry, self._version)

    async def settle(self, attempt: Attempt) -> bool:
        """Take what the attempt writes until it waits; True: it has ended."""
        for _ in range(TURNS):
            await asyncio.sleep(0)
            for frame in attempt.frames.feed(attempt.machine.take_output()):
                self._take(attempt, frame.type, frame.payload, frame)  # type: ignore[arg-type]
        return bool(attempt.ended)

    def tell_some(self, attempt: Attempt) -> None:
        """One answer, or several at once, drawn from those that are due."""
        if not self.to_tell:
            attempt.machine.close_input()
            attempt.attempt.pump()
            return
        for _ in range(1 if self._patient else self._random.randint(1, min(3, len(self.to_tell)))):
            told = self._draw()
            self.journal.append(told)
            attempt.machine.feed(encode_notification(told, self._version))
        attempt.attempt.pump()

    def _draw(self) -> j.Notification:
        if self._patient:
            timers = [told for told in self.to_tell if isinstance(told, j.Completion) and told.code == CODE.SLEEP]
            others = [told for told in self.to_tell if told not in timers]
            told = self._random.choice(others) if others else min(timers, key=self._wake_at_ms)
            self.to_tell.remove(told)
            return told
        return self.to_tell.pop(self._random.randrange(len(self.to_tell)))

    def _wake_at_ms(self, timer: j.Completion) -> int:
        sleeps = (entry for entry in self.journal if isinstance(entry, j.Sleep))
        return next(sleep.wake_at_ms for sleep in sleeps if sleep.completion_id == timer.completion_id)

    def _take(self, attempt: Attempt, kind: int, payload: bytes, frame: object) -> None:
        assert not attempt.ended, f"{attempt.ended}, and then {kind:#x}"
        if kind == m.Type.ERROR:
            attempt.ended = decode(m.Error, payload).message
        elif kind == m.Type.SUSPENSION:
            attempt.ended = "suspended"
        elif kind == m.Type.END:
            attempt.ended = "output"
        elif kind == m.Type.PROPOSE_RUN_COMPLETION:
            proposed = decode(m.ProposeRunCompletion, payload)
            failure = proposed.failure
            result = proposed.value if failure is None else j.Failure(failure.code, failure.message)
            self._due(proposed.result_completion_id, CODE.RUN, result)
        elif kind >= 0x0400:
            self._append(decode_command(frame))  # type: ignore[arg-type]

    def _append(self, command: j.Command) -> None:
        self.journal.append(command)
        match command:
            case j.Output(result):
                self.output = result
            case j.GetLazyState(number, key):
                self._due(number, CODE.LAZY_STATE, self._state().get(key))
            case j.GetLazyStateKeys(number):
                self.to_tell.append(j.Completion(number, CODE.LAZY_STATE_KEYS, sorted(self._state())))
            case j.Sleep(number):
                self._due(number, CODE.SLEEP, None)
            case j.Call(number, id_number):
                self._callees += 1
                self._due(id_number, CODE.CALL_INVOCATION_ID, self._callees.to_bytes(24, "big"))
                self._due(number, CODE.CALL, command.body)
            case j.OneWayCall(id_number):
                self._callees += 1
                self._due(id_number, CODE.CALL_INVOCATION_ID, self._callees.to_bytes(24, "big"))
            case j.GetPromise(number):
                self._due(number, CODE.GET_PROMISE, b'"kept"')
            case j.CompleteAwakeable(awakeable_id, result):
                self.to_tell.append(j.Signal(parse_awakeable_id(awakeable_id)[1], result))
            case _:
                pass

    def _due(self, number: int, code: j.CompletionCode, result: bytes | j.Failure | None) -> None:
        self.to_tell.append(j.Completion(number, code, result))

    def _state(self) -> dict[str, bytes]:
        state: dict[str, bytes] = {}
        for entry in self.journal:
            match entry:
                case j.SetState(key, value):
                    state[key] = value
                case j.ClearState(key):
                    state.pop(key, None)
                case j.ClearAllState():
                    state.clear()
        return state
