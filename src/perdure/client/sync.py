"""`SyncClient`: the client for code that is not asynchronous: scripts, threads, interactive sessions.

Each method does what the method of the same name of `Client` does, and the calling thread waits for it. It knows nothing of
its own: neither of transports nor of values.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar, cast, overload

from perdure.client.blocking import Runner
from perdure.client.client import Client, Output
from perdure.client.client_types import Sent
from perdure.client.sync_operations import SyncOperations
from perdure.sdk.serde import DEFAULT_SERDE, Serde

I = TypeVar("I")  # noqa: E741
O = TypeVar("O")  # noqa: E741
T = TypeVar("T")


class SyncClient(SyncOperations):
    """Errors: those of `Client`; WrongThread where waiting would never end."""

    def __init__(self, client: Client, runner: Runner, on_close: Callable[[], None] | None = None) -> None:
        super().__init__(client, runner)
        self._client = client
        self._on_close = on_close
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Invocations go on. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._runner.run(self._client.close())
        if self._on_close is not None:
            self._on_close()

    @overload
    def service_call(
        self,
        tpe: Callable[[Any, I], Awaitable[O]],
        arg: I,
        idempotency_key: str | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> O: ...

    @overload
    def service_call(
        self,
        tpe: Callable[[Any], Awaitable[O]],
        arg: None = ...,
        idempotency_key: str | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> O: ...

    def service_call(
        self,
        tpe: Callable[..., Awaitable[Any]],
        arg: Any = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """As `Client.service_call`."""
        return self._runner.run(self._client.service_call(tpe, arg, idempotency_key, headers))

    @overload
    def service_send(
        self,
        tpe: Callable[[Any, I], Awaitable[O]],
        arg: I,
        send_delay: timedelta | None = ...,
        idempotency_key: str | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> Sent[O]: ...

    @overload
    def service_send(
        self,
        tpe: Callable[[Any], Awaitable[O]],
        arg: None = ...,
        send_delay: timedelta | None = ...,
        idempotency_key: str | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> Sent[O]: ...

    def service_send(
        self,
        tpe: Callable[..., Awaitable[Any]],
        arg: Any = None,
        send_delay: timedelta | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Sent[Any]:
        """As `Client.service_send`."""
        return self._runner.run(self._client.service_send(tpe, arg, send_delay, idempotency_key, headers))

    @overload
    def object_call(
        self,
        tpe: Callable[[Any, I], Awaitable[O]],
        key: str,
        arg: I,
        idempotency_key: str | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> O: ...

    @overload
    def object_call(
        self,
        tpe: Callable[[Any], Awaitable[O]],
        key: str,
        arg: None = ...,
        idempotency_key: str | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> O: ...

    def object_call(
        self,
        tpe: Callable[..., Awaitable[Any]],
        key: str,
        arg: Any = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """As `Client.object_call`."""
        return self._runner.run(self._client.object_call(tpe, key, arg, idempotency_key, headers))

    @overload
    def object_send(
        self,
        tpe: Callable[[Any, I], Awaitable[O]],
        key: str,
        arg: I,
        send_delay: timedelta | None = ...,
        idempotency_key: str | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> Sent[O]: ...

    @overload
    def object_send(
        self,
        tpe: Callable[[Any], Awaitable[O]],
        key: str,
        arg: None = ...,
        send_delay: timedelta | None = ...,
        idempotency_key: str | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> Sent[O]: ...

    def object_send(
        self,
        tpe: Callable[..., Awaitable[Any]],
        key: str,
        arg: Any = None,
        send_delay: timedelta | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Sent[Any]:
        """As `Client.object_send`."""
        return self._runner.run(self._client.object_send(tpe, key, arg, send_delay, idempotency_key, headers))

    workflow_call = object_call
    workflow_send = object_send

    @overload
    def workflow_submit(
        self,
        tpe: Callable[[Any, I], Awaitable[O]],
        key: str,
        arg: I,
        *,
        send_delay: timedelta | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> Sent[O]: ...

    @overload
    def workflow_submit(
        self,
        tpe: Callable[[Any], Awaitable[O]],
        key: str,
        arg: None = ...,
        *,
        send_delay: timedelta | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> Sent[O]: ...

    def workflow_submit(
        self,
        tpe: Callable[..., Awaitable[Any]],
        key: str,
        arg: Any = None,
        *,
        send_delay: timedelta | None = None,
        headers: dict[str, str] | None = None,
    ) -> Sent[Any]:
        """As `Client.workflow_submit`."""
        return self._runner.run(self._client.workflow_submit(tpe, key, arg, send_delay=send_delay, headers=headers))

    def workflow_attach(self, tpe: Callable[[Any, Any], Awaitable[O]] | Callable[[Any], Awaitable[O]], key: str) -> O:
        """As `Client.workflow_attach`."""
        return self._runner.run(self._client.workflow_attach(tpe, key))

    def workflow_output(
        self, tpe: Callable[[Any, Any], Awaitable[O]] | Callable[[Any], Awaitable[O]], key: str
    ) -> Output[O]:
        """As `Client.workflow_output`."""
        return self._runner.run(self._client.workflow_output(tpe, key))

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
    ) -> bytes:
        """As `Client.generic_call`."""
        return self._runner.run(
            self._client.generic_call(
                service, handler, arg, key, idempotency_key, headers, scope, limit_key, errors=errors
            )
        )

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
        *,
        errors: Iterable[type[Exception]] = (),
    ) -> Sent[bytes]:
        """As `Client.generic_send`."""
        return self._runner.run(
            self._client.generic_send(
                service, handler, arg, key, send_delay, idempotency_key, headers, scope, limit_key, errors=errors
            )
        )

    @overload
    def attach(self, invocation: Sent[T]) -> T: ...

    @overload
    def attach(self, invocation: str, *, errors: Iterable[type[Exception]] = ...) -> Any: ...

    @overload
    def attach(self, invocation: str, type_hint: type[T], *, errors: Iterable[type[Exception]] = ...) -> T: ...

    def attach(
        self,
        invocation: str | Sent[Any],
        type_hint: type[Any] | None = None,
        *,
        errors: Iterable[type[Exception]] = (),
    ) -> Any:
        """As `Client.attach`."""
        return self._runner.run(cast(Any, self._client).attach(invocation, type_hint, errors=errors))

    @overload
    def output(self, invocation: Sent[T]) -> Output[T]: ...

    @overload
    def output(self, invocation: str, *, errors: Iterable[type[Exception]] = ...) -> Output[Any]: ...

    @overload
    def output(self, invocation: str, type_hint: type[T], *, errors: Iterable[type[Exception]] = ...) -> Output[T]: ...

    def output(
        self,
        invocation: str | Sent[Any],
        type_hint: type[Any] | None = None,
        *,
        errors: Iterable[type[Exception]] = (),
    ) -> Output[Any]:
        """As `Client.output`."""
        return self._runner.run(cast(Any, self._client).output(invocation, type_hint, errors=errors))

    def attach_idempotent(
        self,
        tpe: Callable[[Any, Any], Awaitable[O]] | Callable[[Any], Awaitable[O]],
        idempotency_key: str,
        key: str | None = None,
    ) -> O:
        """As `Client.attach_idempotent`."""
        return self._runner.run(self._client.attach_idempotent(tpe, idempotency_key, key))

    def resolve_awakeable(self, awakeable_id: str, value: Any = None, serde: Serde[Any] = DEFAULT_SERDE) -> None:
        """As `Client.resolve_awakeable`."""
        return self._runner.run(self._client.resolve_awakeable(awakeable_id, value, serde))

    def reject_awakeable(self, awakeable_id: str, message: str, code: int = 500) -> None:
        """As `Client.reject_awakeable`."""
        return self._runner.run(self._client.reject_awakeable(awakeable_id, message, code))

    def resolve_signal(
        self, invocation_id: str, name: str, value: Any = None, serde: Serde[Any] = DEFAULT_SERDE
    ) -> None:
        """As `Client.resolve_signal`."""
        return self._runner.run(self._client.resolve_signal(invocation_id, name, value, serde))

    def reject_signal(self, invocation_id: str, name: str, message: str, code: int = 500) -> None:
        """As `Client.reject_signal`."""
        return self._runner.run(self._client.reject_signal(invocation_id, name, message, code))
