"""`RestateClient`: the client API of Restate's SDK, with the types of the handlers.

What a handler takes and gives is known from the handler that is passed, to type checkers as well. A subclass says how an
invocation is carried (`_call`, `_send`). The names and parameters are those of the official SDK; docs/clients.md shows them.
"""

from __future__ import annotations

import abc
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from perdure.sdk.serde import JSON, Serde

if TYPE_CHECKING:
    from perdure.client.scoped import RestateScopedClient

I = TypeVar("I")  # noqa: E741
O = TypeVar("O")  # noqa: E741


class HttpError(Exception):
    """An answer that is no result: of a handler that failed, or of a request that was not accepted."""

    def __init__(self, status_code: int, message: str, body: str | None = None) -> None:
        super().__init__(f"HTTP {status_code}: {message}")
        self.status_code = status_code
        self.message = message
        self.body = body


class RestateClientSendHandle:
    """A request that was accepted without waiting for its result."""

    def __init__(self, invocation_id: str, status_code: int) -> None:
        self.invocation_id = invocation_id
        self.status_code = status_code


class Sent(RestateClientSendHandle, Generic[O]):
    """An invocation that was accepted; `client.attach(sent)` waits for its result, typed as its handler's.

    `duplicate`: an earlier request with the same idempotency key, or an earlier run of the workflow, had made it.
    """

    def __init__(
        self,
        invocation_id: str,
        duplicate: bool = False,
        output_serde: Serde[Any] = JSON,
        errors: tuple[type[Exception], ...] = (),
    ) -> None:
        super().__init__(invocation_id, 200)
        self.duplicate = duplicate
        self.output_serde = output_serde
        self.errors = errors

    def __repr__(self) -> str:
        return f"Sent({self.invocation_id!r}, duplicate={self.duplicate})"


class RestateClient(abc.ABC):
    """Calls handlers and sends to them.

    What every method may raise: `CallFailed`, a `TerminalError` and an `HttpError`, for the handler's own failure;
    `Refused`, an `HttpError`, when the request was not accepted.
    """

    @abc.abstractmethod
    def scope(self, scope: str) -> RestateScopedClient:
        """A client within a scope. Errors: CapabilityError, for no engine here has scopes."""

    @overload
    async def service_call(
        self,
        tpe: Callable[[Any, I], Awaitable[O]],
        arg: I,
        idempotency_key: str | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> O: ...

    @overload
    async def service_call(
        self,
        tpe: Callable[[Any], Awaitable[O]],
        arg: None = ...,
        idempotency_key: str | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> O: ...

    async def service_call(
        self,
        tpe: Callable[..., Awaitable[Any]],
        arg: Any = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """Run a handler of a service, and its result. The invocation goes on if the caller is cancelled."""
        return await self._call(tpe, None, arg, idempotency_key, headers)

    @overload
    async def service_send(
        self,
        tpe: Callable[[Any, I], Awaitable[O]],
        arg: I,
        send_delay: timedelta | None = ...,
        idempotency_key: str | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> Sent[O]: ...

    @overload
    async def service_send(
        self,
        tpe: Callable[[Any], Awaitable[O]],
        arg: None = ...,
        send_delay: timedelta | None = ...,
        idempotency_key: str | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> Sent[O]: ...

    async def service_send(
        self,
        tpe: Callable[..., Awaitable[Any]],
        arg: Any = None,
        send_delay: timedelta | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Sent[Any]:
        """Have a handler of a service run, now or after a delay. Returns once that is durable."""
        return await self._send(tpe, None, arg, send_delay, idempotency_key, headers)

    @overload
    async def object_call(
        self,
        tpe: Callable[[Any, I], Awaitable[O]],
        key: str,
        arg: I,
        idempotency_key: str | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> O: ...

    @overload
    async def object_call(
        self,
        tpe: Callable[[Any], Awaitable[O]],
        key: str,
        arg: None = ...,
        idempotency_key: str | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> O: ...

    async def object_call(
        self,
        tpe: Callable[..., Awaitable[Any]],
        key: str,
        arg: Any = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """Run a handler of the virtual object or workflow with this key, and its result.

        Errors: Refused (409) for the run of a workflow's key that has run already.
        """
        return await self._call(tpe, key, arg, idempotency_key, headers)

    @overload
    async def object_send(
        self,
        tpe: Callable[[Any, I], Awaitable[O]],
        key: str,
        arg: I,
        send_delay: timedelta | None = ...,
        idempotency_key: str | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> Sent[O]: ...

    @overload
    async def object_send(
        self,
        tpe: Callable[[Any], Awaitable[O]],
        key: str,
        arg: None = ...,
        send_delay: timedelta | None = ...,
        idempotency_key: str | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> Sent[O]: ...

    async def object_send(
        self,
        tpe: Callable[..., Awaitable[Any]],
        key: str,
        arg: Any = None,
        send_delay: timedelta | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Sent[Any]:
        """Have a handler of the virtual object or workflow with this key run, now or after a delay. A second run of a
        workflow's key is a `duplicate` of the first."""
        return await self._send(tpe, key, arg, send_delay, idempotency_key, headers)

    workflow_call = object_call
    workflow_send = object_send

    @abc.abstractmethod
    async def generic_call(
        self,
        service: str,
        handler: str,
        arg: bytes,
        key: str | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
        scope: str | None = None,
        limit_key: str | None = None,
    ) -> bytes:
        """Call a handler by name, bytes in and bytes out."""

    @abc.abstractmethod
    async def generic_send(
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
    ) -> RestateClientSendHandle:
        """Send to a handler by name."""

    @abc.abstractmethod
    async def _call(
        self,
        function: Callable[..., Any],
        key: str | None,
        arg: Any,
        idempotency_key: str | None,
        headers: dict[str, str] | None,
    ) -> Any:
        """Run a handler, and its result."""

    @abc.abstractmethod
    async def _send(
        self,
        function: Callable[..., Any],
        key: str | None,
        arg: Any,
        delay: timedelta | None,
        idempotency_key: str | None,
        headers: dict[str, str] | None,
    ) -> Sent[Any]:
        """Have a handler run."""
