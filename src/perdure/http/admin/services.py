"""The routes of services and their handlers, as their latest revisions have them (docs/admin.md)."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from perdure.http.admin import shapes
from perdure.http.admin.durations import in_ms
from perdure.http.admin.replies import AdminRefused, check_ready, decoded_body, json_reply, misshaped
from perdure.http.admin.service_openapi import service_openapi
from perdure.http.local_deployment import LOCAL_REVISION
from perdure.model.service import Policies, ServiceSpec
from perdure.node.engine import Engine
from perdure.node.errors import ServiceNotFound


class ModifyServiceRequest(msgspec.Struct, kw_only=True):
    """null: as it was."""

    public: bool | None = None
    idempotency_retention: str | None = None
    workflow_completion_retention: str | None = None
    journal_retention: str | None = None
    inactivity_timeout: str | None = None
    abort_timeout: str | None = None


class ListServicesResponse(msgspec.Struct):
    services: list[shapes.Service]


class ListHandlersResponse(msgspec.Struct):
    handlers: list[shapes.Handler]


class ServiceRoutes:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def list(self, _: Request) -> Response:
        specs = self._engine.registry.services()
        return json_reply(ListServicesResponse([shapes.latest_service(self._engine, spec) for spec in specs]))

    async def get(self, request: Request) -> Response:
        return json_reply(shapes.latest_service(self._engine, self._spec(request)))

    async def handlers(self, request: Request) -> Response:
        shown = shapes.latest_service(self._engine, self._spec(request))
        return json_reply(ListHandlersResponse(shown.handlers))

    async def handler(self, request: Request) -> Response:
        service, name = request.path_params["name"], request.path_params["handler"]
        try:
            spec = self._engine.registry.service(service)
            found = spec.handlers[name]
        except (ServiceNotFound, KeyError):
            raise AdminRefused(404, f"The requested handler '{name}' on service '{service}' does not exist") from None
        deployment = self._engine.registry.deployment_of(spec.name)
        streams = deployment is None or deployment.bidirectional
        return json_reply(shapes.handler(found, spec.chosen, streams=streams))

    async def openapi(self, request: Request) -> Response:
        spec = self._spec(request)
        deployment = self._engine.registry.deployment_of(spec.name)
        revision = LOCAL_REVISION if deployment is None else deployment.revisions[spec.name]
        return json_reply(service_openapi(spec, revision, self._engine.ingress_url))

    async def modify(self, request: Request) -> Response:
        check_ready(self._engine)
        asked = await decoded_body(request, ModifyServiceRequest)
        name = request.path_params["name"]
        policies = Policies(
            public=asked.public,
            idempotency_retention_ms=_ms("idempotency_retention", asked.idempotency_retention),
            workflow_completion_retention_ms=_ms("workflow_completion_retention", asked.workflow_completion_retention),
            journal_retention_ms=_ms("journal_retention", asked.journal_retention),
            inactivity_timeout_ms=_ms("inactivity_timeout", asked.inactivity_timeout),
            abort_timeout_ms=_ms("abort_timeout", asked.abort_timeout),
        )
        try:
            spec = await self._engine.deployments.modify_service(name, policies)
        except ServiceNotFound:
            if policies == Policies():
                raise _no_such(name) from None
            raise AdminRefused(404, f"not found in the schema registry: service with name '{name}'") from None
        return json_reply(shapes.latest_service(self._engine, spec))

    def _spec(self, request: Request) -> ServiceSpec:
        name = request.path_params["name"]
        try:
            return self._engine.registry.service(name)
        except ServiceNotFound:
            raise _no_such(name) from None


def _no_such(name: str) -> AdminRefused:
    return AdminRefused(404, f"The requested service '{name}' does not exist")


def _ms(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return in_ms(text)
    except ValueError as why:
        raise misshaped(f"{name}: {why}") from None
