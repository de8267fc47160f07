"""A handler as registered: its function, what it takes and gives, and its settings merged with its service's."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias, TypeVar

from perdure.model.driver import Capability
from perdure.model.service import HandlerSpec, PayloadRules, Policies
from perdure.model.target import HandlerKind, ServiceKind
from perdure.sdk.declared_errors import Declared, declared
from perdure.sdk.errors import RegistrationError
from perdure.sdk.retry import InvocationRetryPolicy, retry_choices
from perdure.sdk.serde import Serde, is_default, json_schema, serde_for

F = TypeVar("F", bound=Callable[..., Any])

ContextManagers: TypeAlias = list[Callable[[], AbstractAsyncContextManager[None]]]

HANDLER_ATTRIBUTE = "__perdure_handler__"
RESERVED_NAMES = frozenset({"openapi", "restate"})


@dataclass(slots=True, frozen=True)
class ServiceTag:
    """Which service a handler belongs to."""

    kind: ServiceKind
    name: str
    description: str | None = None
    metadata: dict[str, str] | None = None


@dataclass(slots=True, frozen=True)
class Settings:
    """What may be set on an app, a service and each of its handlers; None: not set here."""

    inactivity_timeout: timedelta | None = None
    abort_timeout: timedelta | None = None
    journal_retention: timedelta | None = None
    idempotency_retention: timedelta | None = None
    workflow_retention: timedelta | None = None
    enable_lazy_state: bool | None = None
    state_preload: bool | list[str] | None = None
    ingress_private: bool | None = None
    retry_policy: InvocationRetryPolicy | None = None
    context_managers: ContextManagers | None = None

    def __post_init__(self) -> None:
        if self.state_preload is not None and self.enable_lazy_state is not None:
            raise RegistrationError(
                "Both state_preload and enable_lazy_state are set.", "Use state_preload; the other is its older name."
            )

    @property
    def lazy(self) -> bool | None:
        if self.state_preload is not None:
            return self.state_preload is False
        return self.enable_lazy_state

    def policies(self) -> Policies:
        """As engines take them."""
        return Policies(
            public=None if self.ingress_private is None else not self.ingress_private,
            lazy_state=self.lazy,
            inactivity_timeout_ms=_ms(self.inactivity_timeout),
            abort_timeout_ms=_ms(self.abort_timeout),
            journal_retention_ms=_ms(self.journal_retention),
            idempotency_retention_ms=_ms(self.idempotency_retention),
            workflow_completion_retention_ms=_ms(self.workflow_retention),
            retry=retry_choices(self.retry_policy),
        )


def _ms(delta: timedelta | None) -> int | None:
    return None if delta is None else delta // timedelta(milliseconds=1)


@dataclass(slots=True)
class Payloads:
    """How a handler's input and output travel."""

    accept: str
    content_type: str
    input_serde: Serde[Any]
    output_serde: Serde[Any]
    takes_input: bool = False


@dataclass(slots=True)
class Handler:
    """One handler; `spec` is what engines see of it."""

    service: ServiceTag
    spec: HandlerSpec
    function: Callable[..., Any]
    payloads: Payloads
    context_managers: ContextManagers
    requires: frozenset[Capability] = frozenset()
    errors: Declared = ()
    """What it declares to end with: raised as the same class where it is called."""

    @property
    def name(self) -> str:
        return self.spec.name


def make_handler(
    service: ServiceTag,
    service_settings: Settings,
    function: Callable[..., Any],
    *,
    name: str | None,
    kind: HandlerKind,
    payloads: Payloads,
    metadata: dict[str, str] | None,
    settings: Settings,
    errors: Iterable[type[Exception]] = (),
) -> Handler:
    """Errors: RegistrationError."""
    name = name or function.__name__
    where = f"{service.name}/{name}"
    if name in RESERVED_NAMES or "/" in name:
        raise RegistrationError(f"{where}: a handler cannot have this name.", "Give it another with `name=`.")
    if not inspect.iscoroutinefunction(function):
        raise RegistrationError(
            f"{where} is not an `async def` function.", "Handlers are coroutines: write `async def`."
        )
    annotations = _annotations(function)
    parameters = list(inspect.signature(function).parameters.values())
    if not 1 <= len(parameters) <= 2:
        raise RegistrationError(
            f"{where} takes {len(parameters)} parameters.", "A handler takes the context and at most one input."
        )
    input_type: Any = None
    if len(parameters) == 2:
        payloads.takes_input = True
        input_type = annotations.get(parameters[1].name)
    output_type = annotations.get("return", inspect.Signature.empty)
    payloads.input_serde = _chosen(payloads.input_serde, input_type)
    payloads.output_serde = _chosen(payloads.output_serde, output_type)
    spec = _spec(name, kind, function, payloads, input_type, output_type, metadata, service_settings, settings)
    managers = (service_settings.context_managers or []) + (settings.context_managers or [])
    return Handler(service, spec, function, payloads, managers, errors=declared(errors))


def _spec(
    name: str,
    kind: HandlerKind,
    function: Callable[..., Any],
    payloads: Payloads,
    input_type: Any,
    output_type: Any,
    metadata: dict[str, str] | None,
    service: Settings,
    own: Settings,
) -> HandlerSpec:
    # A bare -> None, or no annotation at all, says that the handler gives nothing worth a content type.
    void = output_type is None or output_type is type(None) or output_type is inspect.Signature.empty
    return HandlerSpec(
        name=name,
        kind=kind,
        input=PayloadRules(
            content_type=payloads.accept if payloads.takes_input else None,
            json_schema=json_schema(input_type) if payloads.takes_input else None,
        ),
        output=PayloadRules(
            content_type=None if void and output_type is not inspect.Signature.empty else payloads.content_type,
            json_schema=None if void else json_schema(output_type),
        ),
        documentation=inspect.getdoc(function),
        metadata=metadata,
        chosen=own.policies().before(service.policies()),
    )


def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception:
        # Names that exist only inside an enclosing function: try with what the function closes over.
        closed = inspect.getclosurevars(function)
        try:
            names = {**closed.globals, **closed.nonlocals}
            return typing.get_type_hints(function, localns=names, include_extras=True)
        except Exception:
            return {
                name: value
                for name, value in getattr(function, "__annotations__", {}).items()
                if not isinstance(value, str)
            }


def _chosen(serde: Serde[Any], annotation: Any) -> Serde[Any]:
    return serde_for(annotation) if is_default(serde) else serde


def attach_handler(function: F, handler: Handler) -> F:
    """What the decorator returns: the function itself, known as the handler; a copy if it is one already."""
    if HANDLER_ATTRIBUTE in vars(function):
        original: Callable[..., Any] = function

        @functools.wraps(original)
        async def again(*args: Any, **kwargs: Any) -> Any:
            return await original(*args, **kwargs)

        function = typing.cast(F, again)
    vars(function)[HANDLER_ATTRIBUTE] = handler
    return function


def handler_of(function: Callable[..., Any]) -> Handler:
    """The handler that a decorated function stands for. Errors: RegistrationError."""
    handler = getattr(function, HANDLER_ATTRIBUTE, None)
    if not isinstance(handler, Handler):
        raise RegistrationError(
            f"{getattr(function, '__qualname__', function)!r} is not a handler.",
            "Call a function that was decorated with `@service.handler()`.",
        )
    return handler
