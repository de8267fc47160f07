"""`RestateScopedClient`: the interface of a client within a scope, for annotations. No engine here has scopes:
`client.scope()` says so."""

from __future__ import annotations

import abc
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from perdure.client.client_types import RestateClientSendHandle


class RestateScopedClient(abc.ABC):
    """The methods of `RestateClient`, each with a `limit_key`."""

    @abc.abstractmethod
    async def service_call(
        self,
        tpe: Callable[..., Awaitable[Any]],
        arg: Any = None,
        limit_key: str | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """As `RestateClient.service_call`, in the scope."""

    @abc.abstractmethod
    async def service_send(
        self,
        tpe: Callable[..., Awaitable[Any]],
        arg: Any = None,
        send_delay: timedelta | None = None,
        limit_key: str | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> RestateClientSendHandle:
        """As `RestateClient.service_send`, in the scope."""

    @abc.abstractmethod
    async def object_call(
        self,
        tpe: Callable[..., Awaitable[Any]],
        key: str,
        arg: Any = None,
        limit_key: str | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """As `RestateClient.object_call`, in the scope."""

    @abc.abstractmethod
    async def object_send(
        self,
        tpe: Callable[..., Awaitable[Any]],
        key: str,
        arg: Any = None,
        send_delay: timedelta | None = None,
        limit_key: str | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> RestateClientSendHandle:
        """As `RestateClient.object_send`, in the scope."""

    @abc.abstractmethod
    async def workflow_call(
        self,
        tpe: Callable[..., Awaitable[Any]],
        key: str,
        arg: Any = None,
        limit_key: str | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """As `RestateClient.workflow_call`, in the scope."""

    @abc.abstractmethod
    async def workflow_send(
        self,
        tpe: Callable[..., Awaitable[Any]],
        key: str,
        arg: Any = None,
        send_delay: timedelta | None = None,
        limit_key: str | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> RestateClientSendHandle:
        """As `RestateClient.workflow_send`, in the scope."""
