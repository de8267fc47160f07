"""The contexts over a driver: each operation becomes a command, and a future where there is something to wait for.

One class serves every kind of handler; which of its operations a handler sees is said by the annotated context type, and
writing state from a shared handler is refused.
"""

from __future__ import annotations

import contextvars
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any, TypeVar
from uuid import UUID

from perdure.model.driver import Capability, Step
from perdure.model.ids import format_awakeable_id, format_invocation_id, parse_awakeable_id, parse_invocation_id
from perdure.model.journal import (
    AttachInvocation,
    Call,
    ClearAllState,
    ClearState,
    CompleteAwakeable,
    Failure,
    GetEagerState,
    GetEagerStateKeys,
    GetLazyState,
    GetLazyStateKeys,
    Input,
    OneWayCall,
    Run,
    SendSignal,
    SetState,
    Sleep,
)
from perdure.model.target import HandlerKind, Target
from perdure.sdk.attempt import Attempt
from perdure.sdk.context import DurablePromise, Request, WorkflowContext, WorkflowSharedContext
from perdure.sdk.dropping import FinishedEvent
from perdure.sdk.errors import CapabilityError, ReadOnlyStateError, TerminalError
from perdure.sdk.futures import (
    Decoder,
    DurableCallFuture,
    DurableFuture,
    DurableSleepFuture,
    InvocationIdSlot,
    SendHandle,
)
from perdure.sdk.handler import handler_of
from perdure.sdk.promises import Promise
from perdure.sdk.scoped import ScopedContext
from perdure.sdk.serde import BYTES, DEFAULT_SERDE, JSON, Serde, chosen
from perdure.sdk.state import RecordedCommands, StateView, plan_keys, plan_read
from perdure.sdk.steps import (
    DEFAULT_OPTIONS,
    RunOptions,
    action_of,
    check_process_step,
    retry_policy,
    run_async,
    run_plain,
    step_serde,
)

T = TypeVar("T")

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
        data = handler.payloads.output_serde.serialize(result)
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
        raise TerminalError(f"the input does not fit the handler: {error}", 400) from error


class InvocationContext(WorkflowContext, WorkflowSharedContext):
    """See `context` for what each operation means."""

    __slots__ = ("_attempt", "_random", "_recorded", "_state")

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._random: Random | None = None
        self._state: StateView | None = None
        self._recorded: RecordedCommands | None = None

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

    def key(self) -> str:
        key = self._attempt.start_info.target.key
        if key is None:
            raise RuntimeError(f"{self._attempt.start_info.target} has no key: it is a handler of a plain service.")
        return key

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

    def _require(self, capability: Capability) -> None:
        if capability not in self._attempt.driver.capabilities:
            raise CapabilityError(
                f"This engine has no {capability.value}.",
                "Run the handler on an engine that has it, such as `perdure serve`.",
            )

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
        if options.pool is not None:
            check_process_step(function, args, kwargs)
            mode = "process"
        serde = action.serde if serde is DEFAULT_SERDE and type_hint is None else step_serde(serde, type_hint, action)
        number = attempt.next_completion()
        attempt.issue(Run(number, name))
        future: DurableFuture[Any] = attempt.prepare(DurableFuture(loop=attempt.loop), number, serde, name)
        attempt.expect(number, future)
        if not future.done():
            runner: Callable[..., Any] = run_async if mode == "async" else run_plain
            body = partial(runner, function, args, kwargs, serde, attempt.codec)
            retry = None if options is DEFAULT_OPTIONS else retry_policy(options)
            attempt.driver.start_step(Step(number, name, mode, body, contextvars.copy_context(), retry))
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

    # --- calls --------------------------------------------------------------------------------------------------------

    def service_call(
        self,
        tpe: Callable[..., Awaitable[Any]],
        arg: Any = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> DurableCallFuture[Any]:
        return self._call_handler(tpe, None, arg, idempotency_key, headers)

    def service_send(
        self,
        tpe: Callable[..., Awaitable[Any]],
        arg: Any = None,
        send_delay: timedelta | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> SendHandle:
        return self._send_handler(tpe, None, arg, send_delay, idempotency_key, headers)

    def object_call(
        self,
        tpe: Callable[..., Awaitable[Any]],
        key: str,
        arg: Any = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> DurableCallFuture[Any]:
        return self._call_handler(tpe, key, arg, idempotency_key, headers)

    def object_send(
        self,
        tpe: Callable[..., Awaitable[Any]],
        key: str,
        arg: Any = None,
        send_delay: timedelta | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> SendHandle:
        return self._send_handler(tpe, key, arg, send_delay, idempotency_key, headers)

    workflow_call = object_call
    workflow_send = object_send

    def generic_call(
        self,
        service: str,
        handler: str,
        arg: bytes,
        key: str | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
        scope: str | None = None,
        limit_key: str | None = None,
    ) -> DurableCallFuture[bytes]:
        _refuse_scope(scope, limit_key)
        return self._call(Target(service, key, handler), self._encode(BYTES, arg), BYTES, idempotency_key, headers)

    def generic_send(
        self,
        service: str,
        handler: str,
        arg: bytes,
        key: str | None = None,
        send_delay: timedelta | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
        scope: str | None = None,
        limit_key: str | None = None,
    ) -> SendHandle:
        _refuse_scope(scope, limit_key)
        target = Target(service, key, handler)
        return self._send(target, self._encode(BYTES, arg), send_delay, idempotency_key, headers)

    def scope(self, scope: str) -> ScopedContext:
        _refuse_scope(scope, None)
        raise AssertionError("not reached")

    def _call_handler(
        self,
        function: Callable[..., Any],
        key: str | None,
        arg: Any,
        idempotency_key: str | None,
        headers: dict[str, str] | None,
    ) -> DurableCallFuture[Any]:
        handler = handler_of(function)
        body = self._encode(handler.payloads.input_serde, arg) if handler.payloads.takes_input else b""
        target = Target(handler.service.name, key, handler.spec.name)
        return self._call(target, body, handler.payloads.output_serde, idempotency_key, headers)

    def _send_handler(
        self,
        function: Callable[..., Any],
        key: str | None,
        arg: Any,
        delay: timedelta | None,
        idempotency_key: str | None,
        headers: dict[str, str] | None,
    ) -> SendHandle:
        handler = handler_of(function)
        body = self._encode(handler.payloads.input_serde, arg) if handler.payloads.takes_input else b""
        target = Target(handler.service.name, key, handler.spec.name)
        return self._send(target, body, delay, idempotency_key, headers)

    def _call(
        self,
        target: Target,
        body: bytes,
        serde: Decoder,
        idempotency_key: str | None,
        headers: dict[str, str] | None,
    ) -> DurableCallFuture[Any]:
        attempt = self._attempt
        id_number = attempt.next_completion()
        number = attempt.next_completion()
        attempt.issue(Call(number, id_number, target, list(headers.items()) if headers else [], body, idempotency_key))
        callee = InvocationIdSlot(attempt, id_number)
        future: DurableCallFuture[Any] = DurableCallFuture(loop=attempt.loop)
        attempt.prepare(future, number, serde, str(target))
        future.callee = callee
        attempt.expect(id_number, callee)
        attempt.expect(number, future)
        attempt.track_call(number, callee)
        return future

    def _send(
        self,
        target: Target,
        body: bytes,
        delay: timedelta | None,
        idempotency_key: str | None,
        headers: dict[str, str] | None,
    ) -> SendHandle:
        attempt = self._attempt
        id_number = attempt.next_completion()
        invoke_at_ms = attempt.loop.now_ms + delay // _MS if delay else 0
        attempt.issue(
            OneWayCall(id_number, target, list(headers.items()) if headers else [], body, invoke_at_ms, idempotency_key)
        )
        callee = InvocationIdSlot(attempt, id_number)
        attempt.expect(id_number, callee)
        return SendHandle(callee)

    # --- other invocations --------------------------------------------------------------------------------------------

    def cancel_invocation(self, invocation_id: str) -> None:
        self._attempt.cancel_invocation(invocation_id)

    def attach_invocation(
        self, invocation_id: str, serde: Serde[T] = DEFAULT_SERDE, type_hint: type[T] | None = None
    ) -> DurableFuture[T]:
        attempt = self._attempt
        raw = _raw_invocation_id(invocation_id)
        number = attempt.next_completion()
        attempt.issue(AttachInvocation(number, raw))
        future: DurableFuture[T] = attempt.new_future(number, chosen(serde, type_hint), f"attach {invocation_id}")
        attempt.expect(number, future)
        return future

    # --- awakeables and signals ---------------------------------------------------------------------------------------

    def awakeable(
        self, serde: Serde[T] = DEFAULT_SERDE, type_hint: type[T] | None = None
    ) -> tuple[str, DurableFuture[T]]:
        attempt = self._attempt
        signal = attempt.next_awakeable()
        name = format_awakeable_id(attempt.start_info.invocation_id, signal)
        future = attempt.new_future(0, chosen(serde, type_hint), "awakeable")
        attempt.expect_signal(signal, future)
        return name, future

    def resolve_awakeable(self, name: str, value: Any, serde: Serde[Any] = DEFAULT_SERDE) -> None:
        self._complete_awakeable(name, self._encode(serde, value))

    def reject_awakeable(self, name: str, failure_message: str, failure_code: int = 500) -> None:
        self._complete_awakeable(name, Failure(failure_code, failure_message))

    def _complete_awakeable(self, name: str, result: bytes | Failure) -> None:
        try:
            parse_awakeable_id(name)
        except ValueError as error:
            raise TerminalError(f"bad awakeable id: {error}", 400) from error
        self._attempt.issue(CompleteAwakeable(name, result))

    def signal(self, name: str, serde: Serde[T] = DEFAULT_SERDE, type_hint: type[T] | None = None) -> DurableFuture[T]:
        future = self._attempt.new_future(0, chosen(serde, type_hint), f"signal {name}")
        self._attempt.expect_signal(name, future)
        return future

    def resolve_signal(self, invocation_id: str, name: str, value: Any, serde: Serde[Any] = DEFAULT_SERDE) -> None:
        self._attempt.issue(SendSignal(_raw_invocation_id(invocation_id), name, self._encode(serde, value)))

    def reject_signal(self, invocation_id: str, name: str, failure_message: str, failure_code: int = 500) -> None:
        self._attempt.issue(SendSignal(_raw_invocation_id(invocation_id), name, Failure(failure_code, failure_message)))

    def promise(
        self, name: str, serde: Serde[T] = DEFAULT_SERDE, type_hint: type[T] | None = None
    ) -> DurablePromise[T]:
        self._require(Capability.PROMISES)
        return Promise(self._attempt, name, chosen(serde, type_hint))

    # --- state --------------------------------------------------------------------------------------------------------

    def get(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        name: str,
        serde: Serde[Any] = DEFAULT_SERDE,
        type_hint: Any = None,
        entry_name: str | None = None,
        *,
        default: Any = None,
    ) -> DurableFuture[Any]:
        attempt = self._attempt
        view = self._view()
        decoder = _StateDecoder(view, name, chosen(serde, type_hint), default)
        future: DurableFuture[Any]
        planned = plan_read(view, self._recorded_command(), name)
        if planned is not None:
            value = attempt.issue(GetEagerState(name, planned.value, entry_name or "")).value
            future = attempt.prepare(_StateFuture(loop=attempt.loop), 0, decoder, f"state {name}")
            future.resolve(value)
            return future
        number = attempt.next_completion()
        attempt.issue(GetLazyState(number, name, entry_name or ""))
        future = attempt.prepare(_StateFuture(loop=attempt.loop), number, decoder, f"state {name}")
        attempt.expect(number, future)
        return future

    def state_keys(self, entry_name: str | None = None) -> DurableFuture[list[str]]:
        attempt = self._attempt
        keys = plan_keys(self._view(), self._recorded_command())
        if keys is not None:
            keys = attempt.issue(GetEagerStateKeys(keys, entry_name or "")).keys
            future = attempt.new_future(0, None, "state keys")
            future.resolve(keys)
            return future
        number = attempt.next_completion()
        attempt.issue(GetLazyStateKeys(number, entry_name or ""))
        future = attempt.new_future(number, None, "state keys")
        attempt.expect(number, future)
        return future

    def set(self, name: str, value: Any, serde: Serde[Any] = DEFAULT_SERDE, entry_name: str | None = None) -> None:
        self._refuse_shared()
        data = self._encode(serde, value)
        self._attempt.issue(SetState(name, data, entry_name or ""))
        self._view().set(name, data)

    def clear(self, name: str, entry_name: str | None = None) -> None:
        self._refuse_shared()
        self._attempt.issue(ClearState(name, entry_name or ""))
        self._view().clear(name)

    def clear_all(self, entry_name: str | None = None) -> None:
        self._refuse_shared()
        self._attempt.issue(ClearAllState(entry_name or ""))
        self._view().clear_all()

    def _view(self) -> StateView:
        if self._state is None:
            start = self._attempt.start_info
            self.key()
            self._state = StateView(start.state, start.state_partial)
        return self._state

    def _recorded_command(self) -> Any:
        if self._recorded is None:
            self._recorded = RecordedCommands(self._attempt.start_info.journal)
        return self._recorded.at(self._attempt.issued)

    def _refuse_shared(self) -> None:
        if self._attempt.handler.spec.kind is HandlerKind.SHARED:
            raise ReadOnlyStateError(
                f"{self._attempt.start_info.target} is a shared handler and cannot write state.",
                'Declare it with kind="exclusive", or send to a handler that is.',
            )

    def _encode(self, serde: Serde[Any], value: Any) -> bytes:
        data = serde.serialize(value)
        codec = self._attempt.codec
        return data if codec is None else codec.encode(data)


class _StateFuture(DurableFuture[T]):
    """A value of the state, or its default."""

    __slots__ = ()

    def resolve(self, result: bytes | Failure | list[str] | None) -> None:
        decoder = self.serde
        assert isinstance(decoder, _StateDecoder)
        if result is None or isinstance(result, bytes):
            decoder.view.learn(decoder.key, result)
        if result is None and not self.done():
            self.set_result(decoder.default)
        else:
            super().resolve(result)


class _StateDecoder:
    __slots__ = ("default", "deserialize", "key", "view")

    def __init__(self, view: StateView, key: str, serde: Serde[Any], default: Any) -> None:
        self.view = view
        self.key = key
        self.deserialize = serde.deserialize
        self.default = default


async def _now() -> float:
    return time.time()


def _raw_invocation_id(text: str) -> bytes:
    try:
        return parse_invocation_id(text)
    except ValueError as error:
        raise TerminalError(f"bad invocation id: {error}", 400) from error


def _refuse_scope(scope: str | None, limit_key: str | None) -> None:
    if scope is not None or limit_key is not None:
        raise CapabilityError(
            "Calls within a scope are not supported by this engine.", "Leave out scope and limit_key."
        )
