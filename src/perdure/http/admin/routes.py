"""The routes of the admin API: each is served plain and under the prefixes of the versions it speaks."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeAlias

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from perdure.http.admin import shapes
from perdure.http.admin.own import UNCHANGED, OwnRoutes
from perdure.http.admin.replies import (
    AdminRefused,
    ErrorBody,
    invocation_id,
    json_reply,
    number_of,
)
from perdure.model.errors import PerdureError
from perdure.model.ids import BadId, format_invocation_id, parse_ulid
from perdure.node.engine import Engine
from perdure.node.errors import ControlRefused, InvocationNotFound, NodeError, NodeStopped, ServiceNotFound
from perdure.node.phase import Phase

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
_VERSIONS = ("/v2", "/v3", "/v4")
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_KEEP = ("keep", "Keep", "latest", "Latest", "")


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
        self._own = OwnRoutes(engine)
        self._since = datetime.now(UTC)

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/health", self.health),
            Route("/version", self.version),
            Route("/services", self.services),
            Route("/services/{name}", self.service),
            Route("/services/{name}/handlers", self.handlers),
            Route("/services/{name}/handlers/{handler}", self.handler),
            Route("/services/{name}/state", self._own.modify_state, methods=["POST"]),
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
            Route("/invocations/{id}/purge-journal", self.purge_journal, methods=["PATCH"]),
            Route("/invocations/{id}/restart-as-new", self.restart, methods=["PATCH"]),
            Route("/invocations/{id}", self.end, methods=["DELETE"]),
            *self._own.routes(),
        ]

    # --- what there is ----------------------------------------------------------------------------------------------------

    async def health(self, _: Request) -> Response:
        return Response(status_code=200 if self._engine.phase is Phase.READY else 503)

    async def version(self, _: Request) -> Response:
        return json_reply(shapes.VersionInformation(self._ingress_url()))

    async def services(self, _: Request) -> Response:
        specs = self._engine.registry.services()
        return json_reply({"services": [shapes.service(self._engine, spec) for spec in specs]})

    async def service(self, request: Request) -> Response:
        return json_reply(self._service(request))

    async def handlers(self, request: Request) -> Response:
        return json_reply({"handlers": self._service(request).handlers})

    async def handler(self, request: Request) -> Response:
        name = request.path_params["handler"]
        for handler in self._service(request).handlers:
            if handler.name == name:
                return json_reply(handler)
        raise AdminRefused(404, f"The requested handler '{name}' does not exist")

    async def deployments(self, _: Request) -> Response:
        listed = [] if self._engine.app is None else [shapes.deployment(self._engine, self._since, detailed=False)]
        return json_reply({"deployments": listed})

    async def deployment(self, request: Request) -> Response:
        wanted = request.path_params["id"]
        try:
            parse_ulid("dp", wanted)
        except BadId as why:
            return PlainTextResponse(f"bad deployment id '{wanted}': {why}", 400)
        if self._engine.app is None or wanted != shapes.deployment_id(self._engine):
            raise AdminRefused(404, f"The requested deployment '{wanted}' does not exist")
        return json_reply(shapes.deployment(self._engine, self._since, detailed=True))

    # --- single invocations -----------------------------------------------------------------------------------------------

    async def cancel(self, request: Request) -> Response:
        return Response(status_code=200 if await self._engine.cancel(invocation_id(self._engine, request)) else 202)

    async def kill(self, request: Request) -> Response:
        await self._engine.kill(invocation_id(self._engine, request))
        return Response()

    async def purge(self, request: Request) -> Response:
        await self._engine.purge(invocation_id(self._engine, request))
        return Response()

    async def purge_journal(self, request: Request) -> Response:
        await self._engine.purge_journal(invocation_id(self._engine, request))
        return Response()

    async def pause(self, request: Request) -> Response:
        return Response(status_code=202 if await self._engine.pause(invocation_id(self._engine, request)) else 200)

    async def resume(self, request: Request) -> Response:
        asked = invocation_id(self._engine, request)
        self._check_deployment(request)
        resumed = await self._engine.resume(asked)
        return Response(headers=None if resumed else UNCHANGED)

    async def restart(self, request: Request) -> Response:
        asked = invocation_id(self._engine, request)
        self._check_deployment(request)
        new_id = await self._engine.restart(asked, from_index=number_of(request, "from", 0))
        return json_reply({"new_invocation_id": format_invocation_id(new_id)})

    async def end(self, request: Request) -> Response:
        """The older form of cancel, kill and purge: accepted whatever comes of it."""
        mode = request.query_params.get("mode", "cancel").lower()
        ends = {"cancel": self._engine.cancel, "kill": self._engine.kill, "purge": self._engine.purge}
        if mode not in ends:
            raise AdminRefused(400, f"bad mode '{mode}': use cancel, kill or purge")
        with contextlib.suppress(InvocationNotFound, ControlRefused):
            await ends[mode](invocation_id(self._engine, request))
        return Response(status_code=202)

    # --- inside -----------------------------------------------------------------------------------------------------------

    def _service(self, request: Request) -> shapes.Service:
        name = request.path_params["name"]
        for spec in self._engine.registry.services():
            if spec.name == name:
                return shapes.service(self._engine, spec)
        raise ServiceNotFound(name)

    def _check_deployment(self, request: Request) -> None:
        deployment = request.query_params.get("deployment", "")
        if deployment not in (*_KEEP, shapes.deployment_id(self._engine)):
            raise AdminRefused(
                400, f"bad deployment '{deployment}': use Keep, Latest or the id of a deployment that is here"
            )


def _later(what: str) -> Handler:
    async def not_there_yet(_: Request) -> Response:
        return json_reply(ErrorBody(f"{what} is not there yet in this version of perdure"), 501)

    return not_there_yet


async def _unsupported_version(_: Request) -> Response:
    return PlainTextResponse("unsupported version of the admin API; use v2, v3 or v4", 400)


async def _bare(_: Request, error: Exception) -> Response:
    """Unknown routes and wrong methods: the status alone."""
    assert isinstance(error, HTTPException)
    return Response(status_code=error.status_code, headers=error.headers)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, AdminRefused)
    return json_reply(ErrorBody(error.message), error.status)


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
    return json_reply(ErrorBody(message), status)
