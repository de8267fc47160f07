"""`VirtualObject`: handlers of a key, with state of its own; exclusive ones run one at a time per key."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Literal, TypeVar

from perdure.model.target import HandlerKind, ServiceKind
from perdure.sdk.handler import ContextManagers, Payloads, Settings
from perdure.sdk.retry import InvocationRetryPolicy
from perdure.sdk.serde import DEFAULT_SERDE, Serde
from perdure.sdk.service import Registry

F = TypeVar("F", bound=Callable[..., Any])

_KINDS = {"exclusive": HandlerKind.EXCLUSIVE, "shared": HandlerKind.SHARED}


class VirtualObject(Registry):
    """A set of handlers that share the state of their key. Settings and errors: as of `Service`; with `enable_lazy_state`
    the state is read when it is asked for, instead of being loaded for each attempt."""

    kind = ServiceKind.VIRTUAL_OBJECT

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

    def handler(
        self,
        name: str | None = None,
        kind: Literal["exclusive", "shared"] | None = "exclusive",
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
        """Register a handler of the key: `exclusive` (may write state) or `shared` (reads it, runs beside others).

        Errors: RegistrationError (PD0407).
        """
        return self._decorator(
            name,
            _KINDS[kind or "exclusive"],
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
