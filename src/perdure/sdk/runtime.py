"""A handler's task and its context, over a driver: each operation becomes a command, and a future where there is
something to wait for.

One class serves every kind of handler; which of its operations a handler sees is said by the annotated context type, and
writing state from a shared handler is refused.
"""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any
from uuid import UUID

from perdure.model.driver import Capability, Step
from perdure.model.ids import format_invocation_id
from perdure.model.journal import Input, Sleep
from perdure.sdk.attempt import Attempt
from perdure.sdk.calls import CallOperations
from perdure.sdk.context import Request, WorkflowContext, WorkflowSharedContext
from perdure.sdk.dropping import FinishedEvent
from perdure.sdk.errors import TerminalError
from perdure.sdk.futures import DurableFuture, DurableSleepFuture
from perdure.sdk.keyed import StateOperations
from perdure.sdk.serde import DEFAULT_SERDE, JSON, Serde, in_words, written
from perdure.sdk.signals import SignalOperations
from perdure.sdk.steps import (
    DEFAULT_OPTIONS,
    RunOptions,
    action_of,
    check_process_step,
    no_options,
    retry_policy,
    run_async,
    run_plain,
    step_serde,
    step_timeout_ms,
)

_MS = timedelta(milliseconds=1)
_current: contextvars.ContextVar[InvocationContext] = contextvars.ContextVar("perdure_context")


def current_context() -> InvocationContext | None:
    """The context of the handler whose body or step is running."""
    return _current.get(None)


async def run_handler(attempt: Attempt) -> None:
    """The handler's task: read the input, run the handler, write down how it ended."""
    handler = attempt.handler
    context = InvocationContext(attempt)
    _current.set(context)
    try:
        arguments: tuple[Any, ...] = (context, _input(attempt)) if handler.payloads.takes_input else (context,)
        if handler.context_managers:
            async with AsyncExitStack() as stack:
                for manager in handler.context_managers:
                    await stack.enter_async_context(manager())
                result = await handler.function(*arguments)
        else:
            result = await handler.function(*arguments)
        data = written(handler.payloads.output_serde, result, f"The result of {attempt.start_info.target}")
        output = data if attempt.codec is None else attempt.codec.encode(data)
    except GeneratorExit:
        raise
    except BaseException as error:
        attempt.finished(None, error)
    else:
        attempt.finished(output, None)


def _input(attempt: Attempt) -> Any:
    first = attempt.start_info.journal[0]
    assert isinstance(first, Input)
    try:
        body = first.body if attempt.codec is None else attempt.codec.decode(first.body)
        return attempt.handler.payloads.input_serde.deserialize(body)
    except Exception as error:
        raise TerminalError(f"the input does not fit the handler: {in_words(error)}", 400) from error


class InvocationContext(  # pyright: ignore[reportIncompatibleMethodOverride]
    StateOperations, CallOperations, SignalOperations, WorkflowContext, WorkflowSharedContext
):
    """See `context` for what each operation means."""

    __slots__ = ("_random",)

    def __init__(self, attempt: Attempt) -> None:
        super().__init__(attempt)
        self._random: Random | None = None

    @property
    def replaying(self) -> bool:
        return self._attempt.replaying

    # --- the invocation -----------------------------------------------------------------------------------------------

    def request(self) -> Request:
        attempt = self._attempt
        start = attempt.start_info
        first = start.journal[0]
        assert isinstance(first, Input)
        if attempt.finished_event is None:
            attempt.finished_event = FinishedEvent()
        return Request(
            id=format_invocation_id(start.invocation_id),
            headers=dict(first.headers),
            attempt_headers=dict(start.attempt_headers),
            body=first.body,
            attempt_finished_event=attempt.finished_event,
            scope=start.scope,
            limit_key=start.limit_key,
            idempotency_key=start.idempotency_key,
        )

    def attempt_epoch(self) -> int:
        self._require(Capability.ATTEMPT_EPOCH)
        return self._attempt.start_info.epoch

    def on_complete(self, hook: Callable[[], object]) -> None:
        self._attempt.complete_hooks += (hook,)

    def random(self) -> Random:
        if self._random is None:
            self._random = Random(self._attempt.start_info.seed)
        return self._random

    def uuid(self) -> UUID:
        return UUID(int=self.random().getrandbits(128), version=4)

    # --- steps and timers ---------------------------------------------------------------------------------------------

    def run(
        self,
        name: str,
        action: Callable[..., Any],
        serde: Serde[Any] = DEFAULT_SERDE,
        max_attempts: int | None = None,
        max_retry_duration: timedelta | None = None,
        type_hint: Any = None,
        args: tuple[Any, ...] | None = None,
    ) -> DurableFuture[Any]:
        options = DEFAULT_OPTIONS
        if max_attempts is not None or max_retry_duration is not None:
            options = RunOptions(max_attempts=max_attempts, max_duration=max_retry_duration)
        return self._step(name, action, serde, type_hint, options, args or (), {})

    def run_typed(
        self,
        name: str,
        action: Callable[..., Any],
        options: RunOptions[Any] = DEFAULT_OPTIONS,
        /,
        *args: Any,
        **kwargs: Any,
    ) -> DurableFuture[Any]:
        if not isinstance(options, RunOptions):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise no_options(options)
        return self._step(name, action, options.serde, options.type_hint, options, args, kwargs)

    def _step(
        self,
        name: str,
        function: Callable[..., Any],
        serde: Serde[Any],
        type_hint: Any,
        options: RunOptions[Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> DurableFuture[Any]:
        attempt = self._attempt
        action = action_of(function)
        mode = action.mode
        serde = action.serde if serde is DEFAULT_SERDE and type_hint is None else step_serde(serde, type_hint, action)
        if options.pool is not None:
            check_process_step(function, args, kwargs, serde)
            mode = "process"
        timeout_ms = None if options.timeout is None else step_timeout_ms(options, mode)
        future = attempt.run_step(name, serde)
        number = future.completion_id
        if not future.done():
            runner: Callable[..., Any] = run_async if mode == "async" else run_plain
            here = attempt.codec if mode != "process" else None
            body = partial(runner, function, args, kwargs, serde, here, attempt.handler.errors, name)
            retry = None if options is DEFAULT_OPTIONS else retry_policy(options)
            step = Step(number, name, mode, body, contextvars.copy_context(), retry, timeout_ms)
            if mode == "process" and attempt.codec is not None:
                step.encode = attempt.codec.encode
            attempt.driver.start_step(step)
        return future

    def time(self) -> DurableFuture[float]:
        return self._step("timestamp", _now, JSON, None, DEFAULT_OPTIONS, (), {})

    def sleep(self, delta: timedelta | float, name: str | None = None) -> DurableSleepFuture:
        attempt = self._attempt
        delay_ms = delta // _MS if isinstance(delta, timedelta) else int(delta * 1000)
        wake_at_ms = attempt.loop.now_ms + max(0, delay_ms)
        number = attempt.next_completion()
        wake_at_ms = attempt.issue(Sleep(number, wake_at_ms, name or "")).wake_at_ms
        future = attempt.prepare(DurableSleepFuture(loop=attempt.loop), number, None, name or "sleep")
        future.wake_at_ms = wake_at_ms
        attempt.expect(number, future)
        attempt.durable_timer(number, wake_at_ms)
        return future


async def _now() -> float:
    return time.time()
