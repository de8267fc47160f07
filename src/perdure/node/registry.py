"""Which services there are, and the policies that apply to each handler: what its author chose, else the node's settings."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from perdure.model.service import HandlerSpec, ServiceSpec
from perdure.model.target import HandlerKind
from perdure.node.errors import HandlerNotFound, ServiceNotFound
from perdure.node.settings import EngineSettings


class Registry:
    def __init__(self, services: Sequence[ServiceSpec], settings: EngineSettings) -> None:
        self._defaults = HandlerSpec(
            name="",
            kind=HandlerKind.PLAIN,
            inactivity_timeout_ms=settings.inactivity_timeout_ms,
            abort_timeout_ms=settings.abort_timeout_ms,
            journal_retention_ms=settings.journal_retention_ms,
            idempotency_retention_ms=settings.idempotency_retention_ms,
            workflow_completion_retention_ms=settings.workflow_completion_retention_ms,
            retry=settings.default_retry,
        )
        self._services = {service.name: self._resolved(service) for service in services}

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

    def policies(self, service: ServiceSpec) -> HandlerSpec:
        """Those of a handler of `service` that chooses none itself."""
        return msgspec.structs.replace(self._defaults, chosen=service.chosen).resolved(self._defaults)

    def _resolved(self, service: ServiceSpec) -> ServiceSpec:
        handlers = {name: spec.resolved(self._defaults) for name, spec in service.handlers.items()}
        return msgspec.structs.replace(service, handlers=handlers)
