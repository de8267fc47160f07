"""Which services there are, where they run, and the policies that apply to each handler.

A service runs in this process (the node's own app) or in a remote deployment; of several deployments that have it, the one
with the highest revision takes new invocations. A policy is what an operator has set, else what the handler's author
chose, else the node's setting.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import msgspec

from perdure.model.deployment import Deployment
from perdure.model.service import HandlerSpec, Policies, ServiceSpec
from perdure.model.target import HandlerKind
from perdure.node.errors import DeploymentNotFound, HandlerNotFound, ServiceNotFound
from perdure.node.settings import EngineSettings
from perdure.store.rows import Invocation


class Registry:
    """`services`: those of this process, whose code has this `identity`; no deployment takes them over."""

    def __init__(self, services: Sequence[ServiceSpec], settings: EngineSettings, identity: str | None = None) -> None:
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
        self._settings = settings
        self._identity = identity
        self._local = {service.name: self._resolved(service, Policies()) for service in services}
        self._deployments: dict[str, Deployment] = {}
        self._remote: dict[str, dict[str, ServiceSpec]] = {}
        """By deployment: its services, resolved."""
        self._latest: dict[str, Deployment] = {}
        """By service: the deployment that takes its new invocations."""

    # --- what runs where ----------------------------------------------------------------------------------------------------

    def resolve(self, service: str, handler: str) -> tuple[ServiceSpec, HandlerSpec]:
        """Where new invocations go. Errors: ServiceNotFound, HandlerNotFound."""
        spec = self._service(service)
        if spec is None:
            raise ServiceNotFound(service)
        found = spec.handlers.get(handler)
        if found is None:
            raise HandlerNotFound(service, handler)
        return spec, found

    def place(self, row: Invocation) -> tuple[HandlerSpec, Deployment | None]:
        """Where the next attempt of this invocation runs: None = in this process.

        Errors: ServiceNotFound, HandlerNotFound, DeploymentNotFound.
        """
        service, handler = row.target.service, row.target.handler
        if row.protocol_version is None:
            _, spec = self.resolve(service, handler)
            return spec, self.deployment_of(service)
        deployment = self._deployments.get(row.deployment or "")
        if deployment is None:
            raise DeploymentNotFound(row.deployment or "")
        found = self._remote[deployment.id].get(service)
        if found is None or handler not in found.handlers:
            raise HandlerNotFound(service, handler)
        return found.handlers[handler], deployment

    def services(self) -> list[ServiceSpec]:
        """At their latest revisions, by name."""
        names = {*self._local, *self._latest}
        return [spec for name in sorted(names) if (spec := self._service(name)) is not None]

    def deployment_of(self, service: str) -> Deployment | None:
        """The deployment that takes new invocations of the service; None: this process, or nobody."""
        return None if service in self._local else self._latest.get(service)

    def accepted_by(self, service: str) -> str | None:
        """The identity of the code in this process that takes new invocations of the service; None: it is elsewhere."""
        return self._identity if service in self._local else None

    def is_local(self, service: str) -> bool:
        return service in self._local

    def service(self, name: str) -> ServiceSpec:
        """At its latest revision. Errors: ServiceNotFound."""
        found = self._service(name)
        if found is None:
            raise ServiceNotFound(name)
        return found

    def _service(self, name: str) -> ServiceSpec | None:
        local = self._local.get(name)
        if local is not None:
            return local
        deployment = self._latest.get(name)
        return None if deployment is None else self._remote[deployment.id][name]

    # --- deployments --------------------------------------------------------------------------------------------------------

    def deployments(self) -> list[Deployment]:
        """The remote ones, in the order of their registration."""
        return sorted(self._deployments.values(), key=lambda deployment: (deployment.created_at_ms, deployment.id))

    def deployment(self, deployment_id: str) -> Deployment:
        """Errors: DeploymentNotFound."""
        found = self._deployments.get(deployment_id)
        if found is None:
            raise DeploymentNotFound(deployment_id)
        return found

    def services_of(self, deployment: Deployment) -> list[ServiceSpec]:
        """The services of a deployment, registered or not, with the policies that apply to them there."""
        return [
            self._resolved(service, deployment.modified.get(service.name, Policies()))
            for service in deployment.services
        ]

    def changed(self, deployment_id: str, deployment: Deployment | None) -> None:
        """The tables say so: a deployment stands anew, or no longer."""
        if deployment is None:
            self._deployments.pop(deployment_id, None)
            self._remote.pop(deployment_id, None)
        else:
            self._deployments[deployment_id] = deployment
            self._remote[deployment_id] = {spec.name: spec for spec in self.services_of(deployment)}
        latest: dict[str, Deployment] = {}
        for candidate in self._deployments.values():
            for name, revision in candidate.revisions.items():
                if name not in latest or revision > latest[name].revisions[name]:
                    latest[name] = candidate
        self._latest = latest

    # --- policies -----------------------------------------------------------------------------------------------------------

    def policies(self, service: ServiceSpec) -> HandlerSpec:
        """Those of a handler of `service` that chooses none itself."""
        return self._bounded(msgspec.structs.replace(self._defaults, chosen=service.chosen).resolved(self._defaults))

    def _resolved(self, service: ServiceSpec, modified: Policies) -> ServiceSpec:
        """What an operator has modified replaces what the service chose; a handler keeps what it chose for itself, but
        one of a service that was made private is private.
        """
        chosen = modified.before(service.chosen)
        public = service.public if chosen.public is None else chosen.public
        handlers = {
            name: self._resolved_handler(spec, spec.chosen.beyond(service.chosen).before(chosen), modified)
            for name, spec in service.handlers.items()
        }
        return msgspec.structs.replace(service, handlers=handlers, chosen=chosen, public=public)

    def _resolved_handler(self, spec: HandlerSpec, chosen: Policies, modified: Policies) -> HandlerSpec:
        resolved = self._bounded(msgspec.structs.replace(spec, chosen=chosen).resolved(self._defaults))
        return msgspec.structs.replace(resolved, public=False) if modified.public is False else resolved

    def _bounded(self, spec: HandlerSpec) -> HandlerSpec:
        """No policy goes beyond what the node allows, whoever chose it."""
        settings, policy = self._settings, spec.retry
        attempts = _at_most(settings.retry_attempts_max, policy.max_attempts)
        return msgspec.structs.replace(
            spec,
            journal_retention_ms=_at_most(settings.journal_retention_max_ms, spec.journal_retention_ms),
            idempotency_retention_ms=_at_most(settings.idempotency_retention_max_ms, spec.idempotency_retention_ms),
            workflow_completion_retention_ms=_at_most(
                settings.workflow_completion_retention_max_ms, spec.workflow_completion_retention_ms
            ),
            retry=msgspec.structs.replace(policy, max_attempts=attempts),
        )


@overload
def _at_most(bound: int | None, value: int) -> int: ...
@overload
def _at_most(bound: int | None, value: int | None) -> int | None: ...
def _at_most(bound: int | None, value: int | None) -> int | None:
    """None: no bound, or no end."""
    return value if bound is None else bound if value is None else min(bound, value)
