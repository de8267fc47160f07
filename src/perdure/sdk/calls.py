"""Calling, sending to, cancelling and attaching to other invocations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import Any, TypeVar

from perdure.model.journal import AttachInvocation, Call, OneWayCall
from perdure.model.target import Target
from perdure.sdk.declared_errors import Declared, declared
from perdure.sdk.errors import CapabilityError
from perdure.sdk.futures import (
    Decoder,
    DurableCallFuture,
    DurableFuture,
    DurableResultFuture,
    InvocationIdSlot,
    SendHandle,
)
from perdure.sdk.handler import handler_of
from perdure.sdk.invocation_ids import raw_invocation_id
from perdure.sdk.operations import Operations
from perdure.sdk.scoped import ScopedContext
from perdure.sdk.serde import BYTES, DEFAULT_SERDE, Serde, chosen

T = TypeVar("T")

_MS = timedelta(milliseconds=1)


class CallOperations(Operations):
    """See `context` for what each means."""

    __slots__ = ()

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
        *,
        errors: Iterable[type[Exception]] = (),
    ) -> DurableCallFuture[bytes]:
        _refuse_scope(scope, limit_key)
        target, body = Target(service, key, handler), self._encode(BYTES, arg)
        return self._call(target, body, BYTES, idempotency_key, headers, declared(errors))

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
        raise _no_scopes()

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
        return self._call(target, body, handler.payloads.output_serde, idempotency_key, headers, handler.errors)

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
        errors: Declared = (),
    ) -> DurableCallFuture[Any]:
        attempt = self._attempt
        id_number = attempt.next_completion()
        number = attempt.next_completion()
        attempt.issue(Call(number, id_number, target, list(headers.items()) if headers else [], body, idempotency_key))
        callee = InvocationIdSlot(attempt, id_number)
        future: DurableCallFuture[Any] = DurableCallFuture(loop=attempt.loop)
        attempt.prepare(future, number, serde, str(target))
        future.callee = callee
        future.declared = errors
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

    def cancel_invocation(self, invocation_id: str) -> None:
        self._attempt.cancel_invocation(invocation_id)

    def attach_invocation(
        self,
        invocation_id: str,
        serde: Serde[T] = DEFAULT_SERDE,
        type_hint: type[T] | None = None,
        *,
        errors: Iterable[type[Exception]] = (),
    ) -> DurableFuture[T]:
        attempt = self._attempt
        raw, classes = raw_invocation_id(invocation_id), declared(errors)
        number = attempt.next_completion()
        attempt.issue(AttachInvocation(number, raw))
        future: DurableResultFuture[T] = DurableResultFuture(loop=attempt.loop)
        attempt.prepare(future, number, chosen(serde, type_hint), f"attach {invocation_id}")
        future.declared = classes
        attempt.expect(number, future)
        return future


def _no_scopes() -> CapabilityError:
    return CapabilityError("Calls within a scope are not supported by this engine.", "Leave out scope and limit_key.")


def _refuse_scope(scope: str | None, limit_key: str | None) -> None:
    if scope is not None or limit_key is not None:
        raise _no_scopes()
