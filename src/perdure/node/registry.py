"""Which services there are, and the settings that apply to each handler."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from perdure.model.retry import RetryPolicy
from perdure.model.service import HandlerSpec, ServiceSpec
from perdure.node.errors import HandlerNotFound, ServiceNotFound
from perdure.node.settings import EngineSettings

_UNSET = HandlerSpec(name="", kind=0)  # type: ignore[arg-type]
"""What a handler has where its author said nothing: there the node's settings count."""
_FROM_SETTINGS = (
    "inactivity_timeout_ms",
    "abort_timeout_ms",
    "journal_retention_ms",
    "idempotency_retention_ms",
    "workflow_completion_retention_ms",
)


class Registry:
    def __init__(self, services: Sequence[ServiceSpec], settings: EngineSettings) -> None:
        self._services = {service.name: _with_defaults(service, settings) for service in services}

    def resolve(self, service: str, handler: str) -> tuple[ServiceSpec, HandlerSpec]:
        """Errors: ServiceNotFound, HandlerNotFound."""
        spec = self._services.get(service)
        if spec is None:
            raise ServiceNotFound(service)
        found = spec.handlers.get(handler)
        if found is None:
            raise HandlerNotFound(service, handler)
        return spec, found

    def services(self) -> list[ServiceSpec]:
        return sorted(self._services.values(), key=lambda service: service.name)


def _with_defaults(service: ServiceSpec, settings: EngineSettings) -> ServiceSpec:
    handlers = {name: _handler_with_defaults(spec, settings) for name, spec in service.handlers.items()}
    return msgspec.structs.replace(service, handlers=handlers)


def _handler_with_defaults(spec: HandlerSpec, settings: EngineSettings) -> HandlerSpec:
    unset = {name: getattr(settings, name) for name in _FROM_SETTINGS if getattr(spec, name) == getattr(_UNSET, name)}
    if spec.retry == RetryPolicy():
        unset["retry"] = settings.default_retry
    return msgspec.structs.replace(spec, **unset)
