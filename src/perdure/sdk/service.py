"""`Service`: handlers without a key, each call on its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, TypeVar

import msgspec

from perdure.model.service import HandlerSpec, Policies, ServiceSpec
from perdure.model.target import HandlerKind, ServiceKind
from perdure.sdk.errors import RegistrationError
from perdure.sdk.handler import (
    RESERVED_NAMES,
    ContextManagers,
    Handler,
    Payloads,
    ServiceTag,
    Settings,
    attach_handler,
    make_handler,
)
from perdure.sdk.retry import InvocationRetryPolicy
from perdure.sdk.serde import DEFAULT_SERDE, Serde

F = TypeVar("F", bound=Callable[..., Any])


NOTHING_CHOSEN = Policies()


def _within(app: Policies, spec: HandlerSpec) -> HandlerSpec:
    """A handler as it is without a node's settings."""
    spec = msgspec.structs.replace(spec, chosen=spec.chosen.before(app))
    return spec.resolved(HandlerSpec(name=spec.name, kind=spec.kind))


class Registry:
    """What the three kinds of service share: a name, settings, and handlers by name."""

    kind: ServiceKind

    def __init__(self, name: str, description: str | None, metadata: dict[str, str] | None, settings: Settings) -> None:
        if not name or "/" in name or name in RESERVED_NAMES:
            raise RegistrationError(f"{name!r} cannot be the name of a service.", "Use letters, digits, `.`, `_`, `-`.")
        self.service_tag = ServiceTag(self.kind, name, description, metadata)
        self.settings = settings
        self.handlers: dict[str, Handler] = {}

    @property
    def name(self) -> str:
        """The name by which it is called."""
        return self.service_tag.name

    def spec(self, app: Policies = NOTHING_CHOSEN) -> ServiceSpec:
        """The service as engines see it, in an app with these policies."""
        chosen = self.settings.policies().before(app)
        return ServiceSpec(
            name=self.name,
            kind=self.kind,
            handlers={name: _within(app, handler.spec) for name, handler in self.handlers.items()},
            public=chosen.public is not False,
            chosen=chosen,
            documentation=self.service_tag.description,
            metadata=self.service_tag.metadata,
        )

    def _decorator(
        self,
        name: str | None,
        kind: HandlerKind,
        payloads: Payloads,
        metadata: dict[str, str] | None,
        settings: Settings,
        errors: Iterable[type[Exception]] = (),
    ) -> Callable[[F], F]:
        errors = tuple(errors)

        def decorate(function: F) -> F:
            handler = make_handler(
                self.service_tag,
                self.settings,
                function,
                name=name,
                kind=kind,
                payloads=payloads,
                metadata=metadata,
                settings=settings,
                errors=errors,
            )
            if handler.name in self.handlers:
                raise RegistrationError(
                    f"{self.name} has a handler named {handler.name} already.", "Give one of them another name."
                )
            self.handlers[handler.name] = handler
            return attach_handler(function, handler)

        return decorate


class Service(Registry):
    """A set of handlers that keep nothing between calls and run in any number at once.

    The settings hold for each handler that does not say otherwise (docs/policies.md). Errors: RegistrationError (PD0407).
    """

    kind = ServiceKind.SERVICE

    def __init__(
        self,
        name: str,
        description: str | None = None,
        metadata: dict[str, str] | None = None,
        inactivity_timeout: timedelta | None = None,
        abort_timeout: timedelta | None = None,
        journal_retention: timedelta | None = None,
        idempotency_retention: timedelta | None = None,
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
                ingress_private=ingress_private,
                retry_policy=invocation_retry_policy,
                context_managers=invocation_context_managers,
            ),
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
        ingress_private: bool | None = None,
        invocation_retry_policy: InvocationRetryPolicy | None = None,
        invocation_context_managers: ContextManagers | None = None,
        *,
        errors: Iterable[type[Exception]] = (),
    ) -> Callable[[F], F]:
        """Register the decorated coroutine function as a handler; its name unless `name` says otherwise.

        Errors: RegistrationError (PD0407).
        """
        return self._decorator(
            name,
            HandlerKind.PLAIN,
            Payloads(accept, content_type, input_serde, output_serde),
            metadata,
            Settings(
                inactivity_timeout=inactivity_timeout,
                abort_timeout=abort_timeout,
                journal_retention=journal_retention,
                idempotency_retention=idempotency_retention,
                ingress_private=ingress_private,
                retry_policy=invocation_retry_policy,
                context_managers=invocation_context_managers,
            ),
            errors,
        )
