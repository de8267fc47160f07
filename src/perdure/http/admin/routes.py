"""The routes of the admin API: each is served plain and under the prefixes of the versions it speaks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeAlias

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from perdure.http.admin import shapes
from perdure.http.admin.invocations import described
from perdure.model.errors import PerdureError
from perdure.model.ids import BadId, InvocationId, parse_invocation_id, parse_ulid
from perdure.node.engine import Engine
from perdure.node.errors import ControlRefused, InvocationNotFound, NodeError, NodeStopped, ServiceNotFound
from perdure.node.phase import Phase

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
_VERSIONS = ("/v2", "/v3", "/v4")
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_KEEP = ("keep", "Keep", "latest", "Latest", "")


class AdminRefused(Exception):
    """A request that is answered with this status and message."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        self.message = message
        super().__init__(message)


class ErrorBody(msgspec.Struct):
    message: str
    restate_code: str | None = None


def application(engine: Engine, ingress_url: Callable[[], str]) -> Starlette:
    api = AdminRoutes(engine, ingress_url)
    routes: list[BaseRoute] = [Mount(version, routes=api.routes()) for version in _VERSIONS]
    routes += [Route("/v1/{rest:path}", _unsupported_version, methods=_METHODS), *api.routes()]
    return Starlette(
        routes=routes,
        exception_handlers={
            HTTPException: _bare,
            AdminRefused: _refused,
            PerdureError: _failed,
        },
    )


class AdminRoutes:
    def __init__(self, engine: Engine, ingress_url: Callable[[], str]) -> None:
        self._engine = engine
        self._ingress_url = ingress_url
        self._since = datetime.now(UTC)

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/health", self.health),
            Route("/version", self.version),
            Route("/services", self.services),
            Route("/services/{name}", self.service),
            Route("/services/{name}/handlers", self.handlers),
            Route("/services/{name}/handlers/{handler}", self.handler),
            Route("/services/{name}/openapi", _later("the OpenAPI description of a service")),
            Route("/openapi", _later("the OpenAPI description of this API")),
            Route("/deployments", self.deployments),
            Route("/deployments", _later("the registration of remote deployments"), methods=["POST"]),
            Route("/deployments/{id}", self.deployment),
            Route("/query", _later("SQL over invocations and state"), methods=["POST"]),
            Route("/invocations/{id}/cancel", self.cancel, methods=["PATCH"]),
            Route("/invocations/{id}/kill", self.kill, methods=["PATCH"]),
            Route("/invocations/{id}/purge", self.purge, methods=["PATCH"]),
            Route("/invocations/{id}/pause", self.pause, methods=["PATCH"]),
            Route("/invocations/{id}/resume", self.resume, methods=["PATCH"]),
            Route("/perdure/stats", self.stats),
            Route("/perdure/invocations/{id}", self.invocation),
        ]

    # --- what there is ----------------------------------------------------------------------------------------------------

    async def health(self, _: Request) -> Response:
        return Response(status_code=200 if self._engine.phase is Phase.READY else 503)

    async def version(self, _: Request) -> Response:
        return _json(shapes.VersionInformation(self._ingress_url()))

    async def services(self, _: Request) -> Response:
        specs = self._engine.registry.services()
        return _json({"services": [shapes.service(self._engine, spec) for spec in specs]})

    async def service(self, request: Request) -> Response:
        return _json(self._service(request))

    async def handlers(self, request: Request) -> Response:
        return _json({"handlers": self._service(request).handlers})

    async def handler(self, request: Request) -> Response:
        name = request.path_params["handler"]
        for handler in self._service(request).handlers:
            if handler.name == name:
                return _json(handler)
        raise AdminRefused(404, f"The requested handler '{name}' does not exist")

    async def deployments(self, _: Request) -> Response:
        listed = [] if self._engine.app is None else [shapes.deployment(self._engine, self._since, detailed=False)]
        return _json({"deployments": listed})

    async def deployment(self, request: Request) -> Response:
        wanted = request.path_params["id"]
        try:
            parse_ulid("dp", wanted)
        except BadId as why:
            return PlainTextResponse(f"bad deployment id '{wanted}': {why}", 400)
        if self._engine.app is None or wanted != shapes.deployment_id(self._engine):
            raise AdminRefused(404, f"The requested deployment '{wanted}' does not exist")
        return _json(shapes.deployment(self._engine, self._since, detailed=True))

    async def stats(self, _: Request) -> Response:
        self._check_ready()
        return _json(self._engine.stats())

    # --- single invocations -----------------------------------------------------------------------------------------------

    async def cancel(self, request: Request) -> Response:
        return Response(status_code=200 if await self._engine.cancel(self._invocation_id(request)) else 202)

    async def kill(self, request: Request) -> Response:
        await self._engine.kill(self._invocation_id(request))
        return Response()

    async def purge(self, request: Request) -> Response:
        await self._engine.purge(self._invocation_id(request))
        return Response()

    async def pause(self, request: Request) -> Response:
        return Response(status_code=202 if await self._engine.pause(self._invocation_id(request)) else 200)

    async def resume(self, request: Request) -> Response:
        invocation_id = self._invocation_id(request)
        deployment = request.query_params.get("deployment", "")
        if deployment not in (*_KEEP, shapes.deployment_id(self._engine)):
            raise AdminRefused(
                400, f"bad deployment '{deployment}': use Keep, Latest or the id of a deployment that is here"
            )
        await self._engine.resume(invocation_id)
        return Response()

    async def invocation(self, request: Request) -> Response:
        return _json(described(*self._engine.describe(self._invocation_id(request))))

    # --- inside -----------------------------------------------------------------------------------------------------------

    def _service(self, request: Request) -> shapes.Service:
        name = request.path_params["name"]
        for spec in self._engine.registry.services():
            if spec.name == name:
                return shapes.service(self._engine, spec)
        raise ServiceNotFound(name)

    def _invocation_id(self, request: Request) -> InvocationId:
        self._check_ready()
        text = request.path_params["id"]
        try:
            return parse_invocation_id(text)
        except BadId as why:
            raise AdminRefused(400, f"bad invocation id '{text}': {why}") from None

    def _check_ready(self) -> None:
        phase = self._engine.phase
        if phase is not Phase.READY:
            raise AdminRefused(503, f"the server is {phase.name.lower()}")


def _json(body: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


def _later(what: str) -> Handler:
    async def not_there_yet(_: Request) -> Response:
        return _json(ErrorBody(f"{what} is not there yet in this version of perdure"), 501)

    return not_there_yet


async def _unsupported_version(_: Request) -> Response:
    return PlainTextResponse("unsupported version of the admin API; use v2, v3 or v4", 400)


async def _bare(_: Request, error: Exception) -> Response:
    """Unknown routes and wrong methods: the status alone."""
    assert isinstance(error, HTTPException)
    return Response(status_code=error.status_code, headers=error.headers)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, AdminRefused)
    return _json(ErrorBody(error.message), error.status)


async def _failed(_: Request, error: Exception) -> Response:
    assert isinstance(error, PerdureError)
    match error:
        case ControlRefused():
            status = error.refused_status
        case NodeStopped():
            status = 503
        case NodeError():
            status = error.status
        case _:
            status = 500
    message = error.what if isinstance(error, InvocationNotFound) else f"{error.what} {error.next_step}".rstrip()
    return _json(ErrorBody(message), status)
