"""Calls within a scope: a sub-grouping of invocations with limits of its own (`ctx.scope(...)`).

Only the shape is here: no engine of this release has scopes, and `ctx.scope` says so.
"""

from __future__ import annotations

import abc
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from perdure.sdk.futures import DurableCallFuture, SendHandle

_Handler = Callable[..., Awaitable[Any]]


class ScopedContext(abc.ABC):
    """The calls and sends of a context, made within one scope; `limit_key` names a limit in it."""

    __slots__ = ()

    @abc.abstractmethod
    def service_call(
        self,
        tpe: _Handler,
        arg: Any,
        limit_key: str | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> DurableCallFuture[Any]:
        """As `Context.service_call`, in the scope."""

    @abc.abstractmethod
    def service_send(
        self,
        tpe: _Handler,
        arg: Any,
        send_delay: timedelta | None = None,
        limit_key: str | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> SendHandle:
        """As `Context.service_send`, in the scope."""

    @abc.abstractmethod
    def object_call(
        self,
        tpe: _Handler,
        key: str,
        arg: Any,
        limit_key: str | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> DurableCallFuture[Any]:
        """As `Context.object_call`, in the scope."""

    @abc.abstractmethod
    def object_send(
        self,
        tpe: _Handler,
        key: str,
        arg: Any,
        send_delay: timedelta | None = None,
        limit_key: str | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> SendHandle:
        """As `Context.object_send`, in the scope."""

    @abc.abstractmethod
    def workflow_call(
        self,
        tpe: _Handler,
        key: str,
        arg: Any,
        limit_key: str | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> DurableCallFuture[Any]:
        """As `Context.workflow_call`, in the scope."""

    @abc.abstractmethod
    def workflow_send(
        self,
        tpe: _Handler,
        key: str,
        arg: Any,
        send_delay: timedelta | None = None,
        limit_key: str | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> SendHandle:
        """As `Context.workflow_send`, in the scope."""
