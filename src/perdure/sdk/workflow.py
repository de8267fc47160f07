"""`Workflow`: one run per key, and shared handlers that look at it and signal it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, TypeVar

from perdure.model.target import HandlerKind, ServiceKind
from perdure.sdk.errors import RegistrationError
from perdure.sdk.handler import ContextManagers, Payloads, Settings
from perdure.sdk.retry import InvocationRetryPolicy
from perdure.sdk.serde import DEFAULT_SERDE, Serde
from perdure.sdk.service import Registry

F = TypeVar("F", bound=Callable[..., Any])


class Workflow(Registry):
    """A `main` handler that runs at most once per key, with state and durable promises, and shared handlers beside it.

    Settings and errors: as of `VirtualObject`.
    """

    kind = ServiceKind.WORKFLOW

    def __init__(
        self,
        name: str,
        description: str | None = None,
        metadata: dict[str, str] | None = None,
        inactivity_timeout: timedelta | None = None,
        abort_timeout: timedelta | None = None,
        journal_retention: timedelta | None = None,
        idempotency_retention: timedelta | None = None,
        enable_lazy_state: bool | None = None,
        state_preload: bool | list[str] | None = None,
        ingress_private: bool | None = None,
        invocation_retry_policy: InvocationRetryPolicy | None = None,
        invocation_context_managers: ContextManagers | None = None,
    ) -> None:
        super().__init__(
            name,
            description,
            metadata,
            Settings(
                inactivity_timeout=inactivity_timeout,
                abort_timeout=abort_timeout,
                journal_retention=journal_retention,
                idempotency_retention=idempotency_retention,
                enable_lazy_state=enable_lazy_state,
                state_preload=state_preload,
                ingress_private=ingress_private,
                retry_policy=invocation_retry_policy,
                context_managers=invocation_context_managers,
            ),
        )

    def main(
        self,
        name: str | None = None,
        accept: str = "application/json",
        content_type: str = "application/json",
        input_serde: Serde[Any] = DEFAULT_SERDE,
        output_serde: Serde[Any] = DEFAULT_SERDE,
        metadata: dict[str, str] | None = None,
        inactivity_timeout: timedelta | None = None,
        abort_timeout: timedelta | None = None,
        journal_retention: timedelta | None = None,
        workflow_retention: timedelta | None = None,
        enable_lazy_state: bool | None = None,
        state_preload: bool | list[str] | None = None,
        ingress_private: bool | None = None,
        invocation_retry_policy: InvocationRetryPolicy | None = None,
        invocation_context_managers: ContextManagers | None = None,
        *,
        errors: Iterable[type[Exception]] = (),
    ) -> Callable[[F], F]:
        """Register the run of the workflow. Errors: RegistrationError (PD0407), also for a second one."""
        if any(handler.spec.kind is HandlerKind.RUN for handler in self.handlers.values()):
            raise RegistrationError(f"{self.name} has a main handler already.", "Make the other one a `handler()`.")
        return self._decorator(
            name,
            HandlerKind.RUN,
            Payloads(accept, content_type, input_serde, output_serde),
            metadata,
            Settings(
                inactivity_timeout=inactivity_timeout,
                abort_timeout=abort_timeout,
                journal_retention=journal_retention,
                workflow_retention=workflow_retention,
                enable_lazy_state=enable_lazy_state,
                state_preload=state_preload,
                ingress_private=ingress_private,
                retry_policy=invocation_retry_policy,
                context_managers=invocation_context_managers,
            ),
            errors,
        )

    def handler(
        self,
        name: str | None = None,
        accept: str = "application/json",
        content_type: str = "application/json",
        input_serde: Serde[Any] = DEFAULT_SERDE,
        output_serde: Serde[Any] = DEFAULT_SERDE,
        metadata: dict[str, str] | None = None,
        inactivity_timeout: timedelta | None = None,
        abort_timeout: timedelta | None = None,
        journal_retention: timedelta | None = None,
        idempotency_retention: timedelta | None = None,
        enable_lazy_state: bool | None = None,
        state_preload: bool | list[str] | None = None,
        ingress_private: bool | None = None,
        invocation_retry_policy: InvocationRetryPolicy | None = None,
        invocation_context_managers: ContextManagers | None = None,
        *,
        errors: Iterable[type[Exception]] = (),
    ) -> Callable[[F], F]:
        """Register a shared handler: it runs beside the run, reads its state and completes its promises."""
        return self._decorator(
            name,
            HandlerKind.SHARED,
            Payloads(accept, content_type, input_serde, output_serde),
            metadata,
            Settings(
                inactivity_timeout=inactivity_timeout,
                abort_timeout=abort_timeout,
                journal_retention=journal_retention,
                idempotency_retention=idempotency_retention,
                enable_lazy_state=enable_lazy_state,
                state_preload=state_preload,
                ingress_private=ingress_private,
                retry_policy=invocation_retry_policy,
                context_managers=invocation_context_managers,
            ),
            errors,
        )
