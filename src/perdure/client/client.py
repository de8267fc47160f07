"""`Client`: everything that can be asked of an engine from outside, typed by the handlers.

The same class whether the engine is in this process (`node.client`) or behind HTTP (`perdure.connect(url)`): what differs
is the transport. It turns handlers and values into targets and bytes and back; how these travel it must not know.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Generator, Iterable
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, overload

from perdure.client.client_types import RestateClient, Sent
from perdure.client.errors import CallFailed, Refused
from perdure.client.operations import Operations, checked_id
from perdure.client.operator import Operator
from perdure.client.scoped import RestateScopedClient
from perdure.client.transport import Existing, Invoke, Transport
from perdure.model.ids import parse_awakeable_id
from perdure.model.journal import Failure, Headers
from perdure.model.target import HandlerKind, ServiceKind, Target
from perdure.sdk.codec import Codec
from perdure.sdk.declared_errors import Declared, declared, declared_error
from perdure.sdk.errors import CapabilityError
from perdure.sdk.handler import Handler, handler_of
from perdure.sdk.serde import BYTES, DEFAULT_SERDE, JSON, Serde, chosen

I = TypeVar("I")  # noqa: E741
O = TypeVar("O")  # noqa: E741
T = TypeVar("T")

_MS = timedelta(milliseconds=1)


@dataclass(slots=True, frozen=True)
class Output(Generic[T]):
    """What is known of an invocation's result: `value` counts only when it is `ready`."""

    ready: bool
    value: T | None = None


class Client(Operations, RestateClient):
    """Calls, sends, results, awakeables and signals; and what an operator does.

    What every method may raise: the handler's own failure, as the class that it declares (`errors=`), else as `CallFailed`,
    a `TerminalError`; `Refused` when the request was not accepted; `BadId` for text that is no id; over HTTP also
    `Unreachable`, `ConnectionLost` and `CallTimeout`. Where there is no handler to know them from, declared classes are
    named in `errors`.
    """

    def __init__(self, transport: Transport, operator: Operator, codec: Codec | None = None) -> None:
        self._transport = transport
        self._operator = operator
        self._codec = codec

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Invocations go on."""
        await self._transport.close()
        await self._operator.close()

    def scope(self, scope: str) -> RestateScopedClient:
        raise _no_scopes()

    # --- workflows --------------------------------------------------------------------------------------------------------

    @overload
    async def workflow_submit(
        self,
        tpe: Callable[[Any, I], Awaitable[O]],
        key: str,
        arg: I,
        *,
        send_delay: timedelta | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> Sent[O]: ...

    @overload
    async def workflow_submit(
        self,
        tpe: Callable[[Any], Awaitable[O]],
        key: str,
        arg: None = ...,
        *,
        send_delay: timedelta | None = ...,
        headers: dict[str, str] | None = ...,
    ) -> Sent[O]: ...

    async def workflow_submit(
        self,
        tpe: Callable[..., Awaitable[Any]],
        key: str,
        arg: Any = None,
        *,
        send_delay: timedelta | None = None,
        headers: dict[str, str] | None = None,
    ) -> Sent[Any]:
        """Start the run of a workflow; `duplicate` when this key has run already."""
        _run_of(tpe)
        return await self._send(tpe, key, arg, send_delay, None, headers)

    async def workflow_attach(
        self, tpe: Callable[[Any, Any], Awaitable[O]] | Callable[[Any], Awaitable[O]], key: str
    ) -> O:
        """Wait for the result of a workflow's run. Errors: Refused (404) when this key has not been run."""
        handler = _run_of(tpe)
        result: O = await self._attach(_existing(handler, key), handler.payloads.output_serde, handler.errors)
        return result

    async def workflow_output(
        self, tpe: Callable[[Any, Any], Awaitable[O]] | Callable[[Any], Awaitable[O]], key: str
    ) -> Output[O]:
        """The result of a workflow's run, if it has ended. Errors: Refused (404) when this key has not been run."""
        handler = _run_of(tpe)
        return await self._output(_existing(handler, key), handler.payloads.output_serde, handler.errors)

    # --- by name ----------------------------------------------------------------------------------------------------------

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
        *,
        errors: Iterable[type[Exception]] = (),
    ) -> bytes:
        """Call a handler by name, bytes in and bytes out; JSON unless `headers` name another content type."""
        invoke = self._by_name(Target(service, key, handler), arg, idempotency_key, headers, scope, limit_key)
        with _raising(declared(errors)):
            return self._decoded(await self._transport.call(invoke))

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
        *,
        errors: Iterable[type[Exception]] = (),
    ) -> Sent[bytes]:
        """Send to a handler by name, now or after a delay. Attaching to what it gives raises the `errors` declared."""
        classes = declared(errors)
        invoke = self._by_name(Target(service, key, handler), arg, idempotency_key, headers, scope, limit_key)
        invoke.delay_ms = _milliseconds(send_delay)
        receipt = await self._transport.send(invoke)
        return Sent(receipt.invocation_id, receipt.duplicate, BYTES, classes)

    # --- results ----------------------------------------------------------------------------------------------------------

    @overload
    async def attach(self, invocation: Sent[T]) -> T: ...

    @overload
    async def attach(self, invocation: str, *, errors: Iterable[type[Exception]] = ...) -> Any: ...

    @overload
    async def attach(self, invocation: str, type_hint: type[T], *, errors: Iterable[type[Exception]] = ...) -> T: ...

    async def attach(
        self,
        invocation: str | Sent[Any],
        type_hint: type[Any] | None = None,
        *,
        errors: Iterable[type[Exception]] = (),
    ) -> Any:
        """Wait for the result of an invocation. Errors: Refused (404) when it is unknown or past its retention."""
        return await self._attach(*_named(invocation, type_hint, errors))

    @overload
    async def output(self, invocation: Sent[T]) -> Output[T]: ...

    @overload
    async def output(self, invocation: str, *, errors: Iterable[type[Exception]] = ...) -> Output[Any]: ...

    @overload
    async def output(
        self, invocation: str, type_hint: type[T], *, errors: Iterable[type[Exception]] = ...
    ) -> Output[T]: ...

    async def output(
        self,
        invocation: str | Sent[Any],
        type_hint: type[Any] | None = None,
        *,
        errors: Iterable[type[Exception]] = (),
    ) -> Output[Any]:
        """The result of an invocation, if it has ended. Errors: as `attach`."""
        return await self._output(*_named(invocation, type_hint, errors))

    async def attach_idempotent(
        self,
        tpe: Callable[[Any, Any], Awaitable[O]] | Callable[[Any], Awaitable[O]],
        idempotency_key: str,
        key: str | None = None,
    ) -> O:
        """Wait for the result of the request that was made with this idempotency key. Errors: as `attach`."""
        handler = handler_of(tpe)
        existing = _existing(handler, key, idempotency_key)
        result: O = await self._attach(existing, handler.payloads.output_serde, handler.errors)
        return result

    # --- what is told to invocations --------------------------------------------------------------------------------------

    async def resolve_awakeable(self, awakeable_id: str, value: Any = None, serde: Serde[Any] = DEFAULT_SERDE) -> None:
        """Complete an awakeable; durable on return. One that is completed or gone already is left as it is."""
        parse_awakeable_id(awakeable_id)
        await self._transport.complete(awakeable_id, self._encoded(chosen(serde, type(value)), value))

    async def reject_awakeable(self, awakeable_id: str, message: str, code: int = 500) -> None:
        """Fail an awakeable: its handler sees a TerminalError. Over HTTP the code is always 500."""
        parse_awakeable_id(awakeable_id)
        await self._transport.complete(awakeable_id, Failure(code, message))

    async def resolve_signal(
        self, invocation_id: str, name: str, value: Any = None, serde: Serde[Any] = DEFAULT_SERDE
    ) -> None:
        """Give an invocation the next signal of this name. Errors: Refused, 404 when it is unknown, 409 when it has ended."""
        await self._signal(invocation_id, name, self._encoded(chosen(serde, type(value)), value))

    async def reject_signal(self, invocation_id: str, name: str, message: str, code: int = 500) -> None:
        """Have the wait for the next signal of this name fail with a TerminalError. Over HTTP the code is always 500."""
        await self._signal(invocation_id, name, Failure(code, message))

    # --- inside -----------------------------------------------------------------------------------------------------------

    async def _call(
        self,
        function: Callable[..., Any],
        key: str | None,
        arg: Any,
        idempotency_key: str | None,
        headers: dict[str, str] | None,
    ) -> Any:
        handler = handler_of(function)
        invoke = self._invoke(handler, key, arg, idempotency_key, headers)
        with _raising(handler.errors):
            return self._value(await self._transport.call(invoke), handler.payloads.output_serde)

    async def _send(
        self,
        function: Callable[..., Any],
        key: str | None,
        arg: Any,
        delay: timedelta | None,
        idempotency_key: str | None,
        headers: dict[str, str] | None,
    ) -> Sent[Any]:
        handler = handler_of(function)
        invoke = self._invoke(handler, key, arg, idempotency_key, headers)
        invoke.delay_ms = _milliseconds(delay)
        receipt = await self._transport.send(invoke)
        return Sent(receipt.invocation_id, receipt.duplicate, handler.payloads.output_serde, handler.errors)

    def _invoke(
        self,
        handler: Handler,
        key: str | None,
        arg: Any,
        idempotency_key: str | None,
        headers: dict[str, str] | None,
    ) -> Invoke:
        payloads = handler.payloads
        if arg is not None and not payloads.takes_input:
            raise Refused(400, f"{handler.service.name}/{handler.name} takes no input.", "Leave the argument out.")
        content_type, others = _split(headers)
        body = self._encoded(payloads.input_serde, arg) if payloads.takes_input else b""
        if body and content_type is None:
            content_type = payloads.content_type if "*" in payloads.accept else payloads.accept
        return Invoke(
            Target(handler.service.name, key, handler.name),
            body,
            content_type,
            others,
            idempotency_key,
            workflow_run=handler.spec.kind is HandlerKind.RUN,
        )

    def _by_name(
        self,
        target: Target,
        arg: bytes,
        idempotency_key: str | None,
        headers: dict[str, str] | None,
        scope: str | None,
        limit_key: str | None,
    ) -> Invoke:
        if scope is not None or limit_key is not None:
            raise _no_scopes()
        content_type, others = _split(headers)
        body = arg if self._codec is None else self._codec.encode(arg)
        if content_type is None and body:
            content_type = "application/json"
        return Invoke(target, body, content_type, others, idempotency_key)

    async def _attach(self, existing: Existing, serde: Serde[Any], errors: Declared) -> Any:
        with _raising(errors):
            return self._value(await self._transport.attach(existing), serde)

    async def _output(self, existing: Existing, serde: Serde[Any], errors: Declared) -> Output[Any]:
        with _raising(errors):
            found = await self._transport.output(existing)
            return Output(False) if found is None else Output(True, self._value(found, serde))

    def _encoded(self, serde: Serde[Any], value: Any) -> bytes:
        data = serde.serialize(value)
        return data if self._codec is None else self._codec.encode(data)

    def _decoded(self, data: bytes) -> bytes:
        return data if self._codec is None else self._codec.decode(data)

    def _value(self, data: bytes, serde: Serde[Any]) -> Any:
        return serde.deserialize(self._decoded(data))


def _existing(handler: Handler, key: str | None, idempotency_key: str | None = None) -> Existing:
    return Existing(target=Target(handler.service.name, key, handler.name), idempotency_key=idempotency_key)


def _named(
    invocation: str | Sent[Any], type_hint: Any, errors: Iterable[type[Exception]]
) -> tuple[Existing, Serde[Any], Declared]:
    existing = Existing(checked_id(invocation))
    if isinstance(invocation, Sent):
        return existing, invocation.output_serde, (*invocation.errors, *declared(errors))
    return existing, chosen(JSON if type_hint is None else None, type_hint), declared(errors)


@contextlib.contextmanager
def _raising(errors: Declared) -> Generator[None]:
    """Failures are raised as the class that was declared, if it was one of these."""
    try:
        yield
    except CallFailed as failed:
        error = declared_error(Failure(failed.status_code, failed.message, failed.metadata), errors)
        if error is None:
            raise
        raise error from failed


def _run_of(function: Callable[..., Any]) -> Handler:
    handler = handler_of(function)
    if handler.service.kind is not ServiceKind.WORKFLOW or handler.spec.kind is not HandlerKind.RUN:
        raise Refused(
            400,
            f"{handler.service.name}/{handler.name} is not the run of a workflow.",
            "Pass the function that `@workflow.main()` decorates.",
        )
    return handler


def _split(headers: dict[str, str] | None) -> tuple[str | None, Headers]:
    """The content type, and the other headers."""
    content_type: str | None = None
    others: Headers = []
    for name, value in (headers or {}).items():
        if name.lower() == "content-type":
            content_type = value
        else:
            others.append((name, value))
    return content_type, others


def _milliseconds(delay: timedelta | None) -> int:
    return 0 if delay is None else max(0, delay // _MS)


def _no_scopes() -> CapabilityError:
    return CapabilityError("Calls within a scope are not supported by this engine.", "Leave out scope and limit_key.")
