"""The contexts that handlers are given: everything durable that a handler can ask for.

Abstract here, with the names and shapes of the Restate Python SDK; `runtime` implements them over a driver. Each
operation is issued when it is called, in source order, and returns a future (or nothing); awaiting only waits.
"""

from __future__ import annotations

import abc
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any, ParamSpec, Protocol, TypeVar, overload
from uuid import UUID

from perdure.sdk.durable_promise import DurablePromise as DurablePromise
from perdure.sdk.futures import DurableCallFuture, DurableFuture, DurableSleepFuture, SendHandle
from perdure.sdk.scoped import ScopedContext
from perdure.sdk.serde import DEFAULT_SERDE, Serde
from perdure.sdk.steps import DEFAULT_OPTIONS, RunOptions

T = TypeVar("T")
D = TypeVar("D")
I = TypeVar("I")  # noqa: E741
O = TypeVar("O")  # noqa: E741
P = ParamSpec("P")


class AttemptFinishedEvent(Protocol):
    """Set when this attempt is over (done, failed or dropped): for steps that hold resources of an attempt."""

    def is_set(self) -> bool: ...

    async def wait(self) -> None: ...


@dataclass(slots=True)
class Request:
    """What called the handler. `body` is as it came; `attempt_headers` belong to this attempt only."""

    id: str
    headers: dict[str, str]
    attempt_headers: dict[str, str]
    body: bytes
    attempt_finished_event: AttemptFinishedEvent
    scope: str | None = None
    limit_key: str | None = None
    idempotency_key: str | None = None


class Context(abc.ABC):
    """What every handler has."""

    __slots__ = ()

    @abc.abstractmethod
    def request(self) -> Request:
        """What called the handler: its id, headers and body."""

    @abc.abstractmethod
    def random(self) -> Random:
        """A random source that gives the same in every attempt. Not for secrets."""

    @abc.abstractmethod
    def uuid(self) -> UUID:
        """A UUID that is the same in every attempt."""

    @abc.abstractmethod
    def time(self) -> DurableFuture[float]:
        """The time now, as recorded the first time. Units: seconds since 1970."""

    @overload
    def run(
        self,
        name: str,
        action: Callable[..., Coroutine[Any, Any, T]],
        serde: Serde[T] = ...,
        max_attempts: int | None = ...,
        max_retry_duration: timedelta | None = ...,
        type_hint: type[T] | None = ...,
        args: tuple[Any, ...] | None = ...,
    ) -> DurableFuture[T]: ...

    @overload
    def run(
        self,
        name: str,
        action: Callable[..., T],
        serde: Serde[T] = ...,
        max_attempts: int | None = ...,
        max_retry_duration: timedelta | None = ...,
        type_hint: type[T] | None = ...,
        args: tuple[Any, ...] | None = ...,
    ) -> DurableFuture[T]: ...

    @abc.abstractmethod
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
        """Run a step: a side effect whose result is recorded, and never run again once it is.

        An `async def` function runs on the engine's loop, a plain one in a thread. Its exceptions are retried;
        `TerminalError` is recorded and raised here. `run_typed` is the better-typed form.
        """

    @overload
    def run_typed(
        self,
        name: str,
        action: Callable[P, Coroutine[Any, Any, T]],
        options: RunOptions[T] = ...,
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> DurableFuture[T]: ...

    @overload
    def run_typed(
        self,
        name: str,
        action: Callable[P, T],
        options: RunOptions[T] = ...,
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> DurableFuture[T]: ...

    @abc.abstractmethod
    def run_typed(
        self,
        name: str,
        action: Callable[..., Any],
        options: RunOptions[Any] = DEFAULT_OPTIONS,
        /,
        *args: Any,
        **kwargs: Any,
    ) -> DurableFuture[Any]:
        """Run a step with arguments and options; see `run`."""

    @abc.abstractmethod
    def sleep(self, delta: timedelta | float, name: str | None = None) -> DurableSleepFuture:
        """A durable timer; a number counts seconds."""

    @overload
    def service_call(
        self,
        tpe: Callable[[Any, I], Awaitable[O]],
        arg: I,
        idempotency_key: str | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> DurableCallFuture[O]: ...

    @overload
    def service_call(
        self,
        tpe: Callable[[Any], Awaitable[O]],
        arg: None = ...,
        idempotency_key: str | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> DurableCallFuture[O]: ...

    @abc.abstractmethod
    def service_call(
        self,
        tpe: Callable[..., Awaitable[Any]],
        arg: Any = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> DurableCallFuture[Any]:
        """Call a handler of a service and wait for its result."""

    @overload
    def service_send(
        self,
        tpe: Callable[[Any, I], Awaitable[Any]],
        arg: I,
        send_delay: timedelta | None = ...,
        idempotency_key: str | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> SendHandle: ...

    @overload
    def service_send(
        self,
        tpe: Callable[[Any], Awaitable[Any]],
        arg: None = ...,
        send_delay: timedelta | None = ...,
        idempotency_key: str | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> SendHandle: ...

    @abc.abstractmethod
    def service_send(
        self,
        tpe: Callable[..., Awaitable[Any]],
        arg: Any = None,
        send_delay: timedelta | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> SendHandle:
        """Have a handler of a service run, now or after a delay, without waiting for it."""

    @overload
    def object_call(
        self,
        tpe: Callable[[Any, I], Awaitable[O]],
        key: str,
        arg: I,
        idempotency_key: str | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> DurableCallFuture[O]: ...

    @overload
    def object_call(
        self,
        tpe: Callable[[Any], Awaitable[O]],
        key: str,
        arg: None = ...,
        idempotency_key: str | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> DurableCallFuture[O]: ...

    @abc.abstractmethod
    def object_call(
        self,
        tpe: Callable[..., Awaitable[Any]],
        key: str,
        arg: Any = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> DurableCallFuture[Any]:
        """Call a handler of the virtual object or workflow with this key and wait for its result.

        Errors, from the future: TerminalError, as it ended; 409 for the run of a workflow's key that has run already.
        """

    @overload
    def object_send(
        self,
        tpe: Callable[[Any, I], Awaitable[Any]],
        key: str,
        arg: I,
        send_delay: timedelta | None = ...,
        idempotency_key: str | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> SendHandle: ...

    @overload
    def object_send(
        self,
        tpe: Callable[[Any], Awaitable[Any]],
        key: str,
        arg: None = ...,
        send_delay: timedelta | None = ...,
        idempotency_key: str | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> SendHandle: ...

    @abc.abstractmethod
    def object_send(
        self,
        tpe: Callable[..., Awaitable[Any]],
        key: str,
        arg: Any = None,
        send_delay: timedelta | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> SendHandle:
        """Have a handler of the virtual object or workflow with this key run, now or after a delay, without waiting for it.
        A second run of a workflow's key changes nothing."""

    workflow_call = object_call
    workflow_send = object_send

    @abc.abstractmethod
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
        *,
        errors: Iterable[type[Exception]] = (),
    ) -> DurableCallFuture[bytes]:
        """Call a handler by name, bytes in and bytes out. `errors`: classes that it declares, to be raised as such."""

    @abc.abstractmethod
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
        """Have a handler run by its name, bytes in, now or after a delay."""

    @abc.abstractmethod
    def awakeable(
        self, serde: Serde[T] = DEFAULT_SERDE, type_hint: type[T] | None = None
    ) -> tuple[str, DurableFuture[T]]:
        """An id to give to the outside, and the future that is done when somebody resolves or rejects it."""

    @abc.abstractmethod
    def awakeable_url(self, awakeable_id: str) -> str:
        """Where the outside completes an awakeable: POST the value there, as JSON unless its serde differs.

        The address is the one of the server that runs this attempt. It is not recorded, so use it inside a step, as in
        `ctx.run("mail", lambda: mail(ctx.awakeable_url(name)))`, and give other handlers the id.
        Errors: TerminalError for text that is no awakeable id; CapabilityError where no address is known.
        """

    @abc.abstractmethod
    def resolve_awakeable(self, name: str, value: Any, serde: Serde[Any] = DEFAULT_SERDE) -> None:
        """Complete an awakeable, of any invocation. The first to complete one wins. Errors: TerminalError (400) for no id."""

    @abc.abstractmethod
    def reject_awakeable(self, name: str, failure_message: str, failure_code: int = 500) -> None:
        """Have whoever waits for an awakeable fail with a TerminalError. Errors: as `resolve_awakeable`."""

    @abc.abstractmethod
    def signal(self, name: str, serde: Serde[T] = DEFAULT_SERDE, type_hint: type[T] | None = None) -> DurableFuture[T]:
        """The next signal of this name that is sent to this invocation."""

    @abc.abstractmethod
    def resolve_signal(self, invocation_id: str, name: str, value: Any, serde: Serde[Any] = DEFAULT_SERDE) -> None:
        """Send an invocation the next signal of this name. One that has ended ignores it."""

    @abc.abstractmethod
    def reject_signal(self, invocation_id: str, name: str, failure_message: str, failure_code: int = 500) -> None:
        """Have the wait for the next signal of this name fail with a TerminalError."""

    @abc.abstractmethod
    def scope(self, scope: str) -> ScopedContext:
        """Make calls within a scope. Errors: CapabilityError where the engine has none."""

    @abc.abstractmethod
    def cancel_invocation(self, invocation_id: str) -> None:
        """Ask another invocation to end."""

    @abc.abstractmethod
    def attach_invocation(
        self,
        invocation_id: str,
        serde: Serde[T] = DEFAULT_SERDE,
        type_hint: type[T] | None = None,
        *,
        errors: Iterable[type[Exception]] = (),
    ) -> DurableFuture[T]:
        """The result of another invocation, by its id. `errors`: classes that its handler declares.

        Errors: TerminalError, as it ended; 404 when the id is unknown or past its retention.
        """

    @abc.abstractmethod
    def attempt_epoch(self) -> int:
        """The number of this attempt, which only grows: a fencing token for systems outside. It differs between
        attempts, so use it inside steps only. Errors: CapabilityError where the engine has none."""

    @abc.abstractmethod
    def on_complete(self, hook: Callable[[], object]) -> None:
        """Call `hook` when the invocation completes, not when an attempt is dropped; the last registered first."""


class _ReadsState(Context):
    __slots__ = ()

    @abc.abstractmethod
    def key(self) -> str:
        """The key of this object or workflow."""

    @overload
    def get(
        self, name: str, serde: Serde[T], type_hint: type[T] | None = ..., entry_name: str | None = ...
    ) -> DurableFuture[T | None]: ...

    @overload
    def get(self, name: str, *, type_hint: type[T], entry_name: str | None = ...) -> DurableFuture[T | None]: ...

    @overload
    def get(
        self, name: str, *, type_hint: type[T], entry_name: str | None = ..., default: D
    ) -> DurableFuture[T | D]: ...

    @overload
    def get(self, name: str, *, entry_name: str | None = ..., default: Any = ...) -> DurableFuture[Any]: ...

    @abc.abstractmethod
    def get(
        self,
        name: str,
        serde: Serde[Any] = DEFAULT_SERDE,
        type_hint: Any = None,
        entry_name: str | None = None,
        *,
        default: Any = None,
    ) -> DurableFuture[Any]:
        """The value of a key of the state; `default` when there is none."""

    @abc.abstractmethod
    def state_keys(self, entry_name: str | None = None) -> DurableFuture[list[str]]:
        """The names of all values of the state, sorted."""


class KeyValueStore(abc.ABC):
    """State that can be written."""

    __slots__ = ()

    @abc.abstractmethod
    def set(self, name: str, value: Any, serde: Serde[Any] = DEFAULT_SERDE, entry_name: str | None = None) -> None:
        """Write a value; JSON unless `serde` says otherwise. Not durable before what is awaited next."""

    @abc.abstractmethod
    def clear(self, name: str, entry_name: str | None = None) -> None:
        """Remove a value."""

    @abc.abstractmethod
    def clear_all(self, entry_name: str | None = None) -> None:
        """Remove all values."""


class ObjectSharedContext(_ReadsState):
    """For shared handlers of an object: state can be read."""

    __slots__ = ()


class ObjectContext(_ReadsState, KeyValueStore):
    """For exclusive handlers of an object: state can be read and written."""

    __slots__ = ()


class _HasPromises(abc.ABC):
    __slots__ = ()

    @abc.abstractmethod
    def promise(
        self, name: str, serde: Serde[T] = DEFAULT_SERDE, type_hint: type[T] | None = None
    ) -> DurablePromise[T]:
        """The durable promise of this name. JSON of `type_hint`, unless `serde` says otherwise."""


class WorkflowContext(ObjectContext, _HasPromises):
    """For the run of a workflow."""

    __slots__ = ()


class WorkflowSharedContext(ObjectSharedContext, _HasPromises):
    """For the handlers beside a workflow's run."""

    __slots__ = ()
