"""The routes of the admin API, as one table: what is served and what `/openapi` describes come from it.

Each is served plain and under the prefixes of the versions it speaks (docs/admin.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route, Router

from perdure.http.admin import control, deployments, elsewhere, own, services, shapes
from perdure.http.admin.openapi import admin_openapi
from perdure.http.admin.operation import Answer, Operation, Query
from perdure.http.admin.replies import AdminRefused, json_reply, refusal
from perdure.http.query.queries import queries_of
from perdure.http.query.routes import Asked, QueryRoutes
from perdure.model.errors import PerdureError
from perdure.node.engine import Engine
from perdure.node.errors import ControlRefused, InvocationNotFound, NodeError, NodeStopped
from perdure.node.phase import Phase
from perdure.wire.discovery import BadManifest, NoCommonVersion, ReservedName

_VERSIONS = ("/v2", "/v3", "/v4")
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_ONE = (400, 404, 503)
_TEXT = {"type": "string"}
_FLAG = {"type": "boolean", "default": False}
_DEPLOYMENT = Query("deployment", _TEXT, "`keep`, `latest`, or the id of a deployment.")
_FROM = Query("from", {"type": "integer", "minimum": 0, "default": 0}, "The last entry of the journal that is kept.")
_COMPRESSED_BYTES_MIN = 1024
"""Replies that are larger are compressed for whoever asks for it."""
_BATCH = "/internal/invocations_batch_operations"


def application(engine: Engine, ingress_url: Callable[[], str]) -> Starlette:
    table = operations(engine, ingress_url)
    answers: dict[str, dict[str, Answer]] = {}
    for each in table:
        answers.setdefault(each.path, {})[each.method] = each.answer
    served: list[BaseRoute] = [Route(path, _by_method(of), methods=list(of)) for path, of in answers.items()]
    api = Starlette(
        routes=[
            *(Mount(version, app=Router(served, redirect_slashes=False)) for version in _VERSIONS),
            Route("/v1/{rest:path}", _unsupported_version, methods=_METHODS),
            *served,
        ],
        middleware=[Middleware(GZipMiddleware, minimum_size=_COMPRESSED_BYTES_MIN)],
        exception_handlers={HTTPException: _bare, AdminRefused: _refused, PerdureError: _failed},
    )
    api.router.redirect_slashes = False
    return api


def _by_method(answers: Mapping[str, Answer]) -> Answer:
    """One route for each path, so that a refused method is told all that are served."""

    async def answer(request: Request) -> Response:
        return await answers["GET" if request.method == "HEAD" else request.method](request)

    return answer


def operations(engine: Engine, ingress_url: Callable[[], str]) -> list[Operation]:
    """All of them, in the order of docs/admin.md."""
    server = ServerRoutes(engine, ingress_url)
    return [
        *_server(server),
        *_deployments(deployments.DeploymentRoutes(engine)),
        *_services(services.ServiceRoutes(engine), own.OwnRoutes(engine)),
        *_control(control.ControlRoutes(engine)),
        *_batches(control.ControlRoutes(engine)),
        *_elsewhere(elsewhere.ElsewhereRoutes(engine)),
        *_own(own.OwnRoutes(engine)),
        *_sql(QueryRoutes(queries_of(engine))),
        Operation("GET", "/openapi", server.openapi, "This description.", {200: dict[str, object]}),
    ]


def _server(routes: ServerRoutes) -> list[Operation]:
    return [
        Operation("GET", "/health", routes.health, "Whether the server takes calls.", errors=(503,)),
        Operation(
            "GET", "/version", routes.version, "Version, and where the ingress is.", {200: shapes.VersionInformation}
        ),
    ]


def _deployments(routes: deployments.DeploymentRoutes) -> list[Operation]:
    register, update = deployments.RegisterDeploymentRequest, deployments.UpdateDeploymentRequest
    registered, detailed = shapes.RegisterDeploymentResponse, shapes.DetailedDeployment
    one, force = "/deployments/{id}", Query("force", _FLAG, "Needed: whatever is pinned to it fails.")
    refused = (400, 404, 409, 415, 422, 500, 503)
    return [
        Operation("GET", "/deployments", routes.list, "All deployments.", {200: deployments.ListDeploymentsResponse}),
        Operation(
            "POST",
            "/deployments",
            routes.register,
            "Register the services of an address.",
            {200: registered, 201: registered},
            (400, 409, 415, 422, 500, 503),
            register,
        ),
        Operation("GET", one, routes.get, "One deployment, with its services.", {200: detailed}, (400, 404)),
        Operation("PATCH", one, routes.update, "Change its address or its headers.", {200: detailed}, refused, update),
        Operation("PUT", one, routes.replace, "The older form of PATCH.", {200: detailed}, (*refused, 405), update),
        Operation("DELETE", one, routes.remove, "Forget it.", {202: None}, (400, 404, 409, 501, 503), query=(force,)),
    ]


def _services(routes: services.ServiceRoutes, state: own.OwnRoutes) -> list[Operation]:
    one = "/services/{name}"
    return [
        Operation("GET", "/services", routes.list, "All services.", {200: services.ListServicesResponse}),
        Operation("GET", one, routes.get, "One service.", {200: shapes.Service}, (404,)),
        Operation(
            "PATCH",
            one,
            routes.modify,
            "Change its settings; a registration sets them back.",
            {200: shapes.Service},
            (400, 404, 409, 415, 422, 503),
            services.ModifyServiceRequest,
        ),
        Operation(
            "GET", f"{one}/handlers", routes.handlers, "Its handlers.", {200: services.ListHandlersResponse}, (404,)
        ),
        Operation("GET", f"{one}/handlers/{{handler}}", routes.handler, "One handler.", {200: shapes.Handler}, (404,)),
        Operation("GET", f"{one}/openapi", routes.openapi, "OpenAPI of its routes.", {200: dict[str, object]}, (404,)),
        Operation(
            "POST",
            f"{one}/state",
            state.modify_state,
            "Replace the state of a key, at once or in its turn.",
            {202: None},
            (400, 404, 413, 415, 422, 429, 503),
            own.ModifyStateRequest,
        ),
    ]


def _control(routes: control.ControlRoutes) -> list[Operation]:
    one = "/invocations/{id}"
    mode = Query("mode", {"type": "string", "enum": ["cancel", "kill", "purge", "Cancel", "Kill", "Purge"]}, "How.")
    new, again = control.RestartAsNewResponse, (*_ONE, 409, 410, 422, 425)
    return [
        Operation("PATCH", f"{one}/cancel", routes.cancel, "Ask it to end.", {200: None, 202: None}, (*_ONE, 409)),
        Operation("PATCH", f"{one}/kill", routes.kill, "End it now.", errors=(*_ONE, 409)),
        Operation("PATCH", f"{one}/purge", routes.purge, "Forget it.", errors=(*_ONE, 409)),
        Operation("PATCH", f"{one}/purge-journal", routes.purge_journal, "Forget its journal.", errors=(*_ONE, 409)),
        Operation("PATCH", f"{one}/pause", routes.pause, "Let it wait.", {200: None, 202: None}, (*_ONE, 409)),
        Operation(
            "PATCH", f"{one}/resume", routes.resume, "Go on now.", errors=(*_ONE, 409, 425), query=(_DEPLOYMENT,)
        ),
        Operation(
            "PATCH",
            f"{one}/restart-as-new",
            routes.restart,
            "Run a finished one again.",
            {200: new},
            again,
            query=(_FROM, _DEPLOYMENT),
        ),
        Operation("DELETE", one, routes.end, "The older form of these.", {202: None}, (400, 503), query=(mode,)),
    ]


def _batches(routes: control.ControlRoutes) -> list[Operation]:
    many = {
        "cancel": (routes.cancel_all, control.BatchResult),
        "kill": (routes.kill_all, control.BatchResult),
        "purge": (routes.purge_all, control.BatchResult),
        "purge-journal": (routes.purge_journals, control.BatchResult),
        "pause": (routes.pause_all, control.BatchResult),
        "resume": (routes.resume_all, control.BatchResult),
        "restart-as-new": (routes.restart_all, control.BatchRestartResult),
    }
    return [
        Operation(
            "POST",
            f"{_BATCH}/{name}",
            answer,
            f"{name} of up to {control.BATCH_MAX} invocations.",
            {200: result},
            (400, 413, 415, 422, 503),
            control.BatchRequest,
        )
        for name, (answer, result) in many.items()
    ]


def _elsewhere(routes: elsewhere.ElsewhereRoutes) -> list[Operation]:
    shaped, cluster = (400, 415, 422), "/kafka-clusters/{name}"
    subscription, rules = "/subscriptions/{id}", "/limits/rules"
    filters = tuple(Query(name, _TEXT, f"Only of this {name}.") for name in ("sink", "source"))
    health = {200: elsewhere.ClusterHealth}
    return [
        Operation("GET", "/cluster-health", routes.cluster_health, "The cluster of one.", health),
        Operation(
            "GET",
            "/subscriptions",
            routes.subscriptions,
            "None.",
            {200: elsewhere.ListSubscriptionsResponse},
            query=filters,
        ),
        Operation(
            "POST", "/subscriptions", routes.subscribe, "Refused.", {}, shaped, elsewhere.CreateSubscriptionRequest
        ),
        Operation("GET", subscription, routes.subscription, "None.", {}, (400, 404)),
        Operation("DELETE", subscription, routes.subscription, "None.", {}, (400, 404)),
        Operation("GET", "/kafka-clusters", routes.kafka_clusters, "None.", {200: elsewhere.ListKafkaClustersResponse}),
        Operation(
            "POST",
            "/kafka-clusters",
            routes.add_kafka_cluster,
            "Refused.",
            {},
            shaped,
            elsewhere.CreateKafkaClusterRequest,
        ),
        Operation("GET", cluster, routes.kafka_cluster, "None.", {}, (404,)),
        Operation(
            "PATCH",
            cluster,
            routes.change_kafka_cluster,
            "None.",
            {},
            (*shaped, 404),
            elsewhere.PatchKafkaClusterRequest,
        ),
        Operation("DELETE", cluster, routes.remove_kafka_cluster, "None.", {}, (404,)),
        Operation(
            "PUT",
            rules,
            routes.set_rules,
            "Refused, but for none.",
            {200: list[elsewhere.Rule]},
            shaped,
            list[elsewhere.UpsertRule],
        ),
        Operation(
            "POST",
            f"{rules}/bulk-delete",
            routes.delete_rules,
            "There are none.",
            {200: list[str]},
            shaped,
            list[elsewhere.DeleteRule],
        ),
        Operation("POST", "/vqueues/{id}/pause", routes.vqueue, "None.", {}, (400,)),
        Operation("POST", "/vqueues/{id}/resume", routes.vqueue, "None.", {}, (400,)),
    ]


def _own(routes: own.OwnRoutes) -> list[Operation]:
    one, anything = "/perdure/invocations/{id}", dict[str, object]
    signal = f"{one}/signals/{{name}}"
    told = (*_ONE, 409, 413, 425)
    filters = (
        Query("status", _TEXT, "One or several, with commas."),
        Query("service", _TEXT, "Only of this service."),
        Query("handler", _TEXT, "Only of this handler."),
        Query("key", _TEXT, "Only of this key."),
        Query("limit", {"type": "integer", "minimum": 0}, "At most so many."),
        Query("after", _TEXT, "Go on behind the last answer."),
    )
    return [
        Operation("GET", "/perdure/stats", routes.stats, "Counters.", {200: anything}, (503,)),
        Operation(
            "GET", "/perdure/invocations", routes.invocations, "A list.", {200: anything}, (400, 503), query=filters
        ),
        Operation("GET", one, routes.invocation, "Everything of one.", {200: anything}, _ONE),
        Operation("POST", signal, routes.signal, "Tell it something.", {202: None}, told, bytes),
        Operation("POST", f"{signal}/reject", routes.reject_signal, "Let a wait fail.", {202: None}, told, bytes),
        Operation(
            "GET", "/perdure/state/{service}/{key:path}", routes.state, "The state of a key.", {200: anything}, _ONE
        ),
        Operation(
            "GET", "/perdure/deployments/in-flight", routes.in_flight, "What is pinned where.", {200: anything}, (503,)
        ),
    ]


def _sql(routes: QueryRoutes) -> list[Operation]:
    errors = (400, 413, 415, 422, 429, 500, 501, 503)
    rows: dict[int, object | None] = {200: dict[str, object]}
    return [
        Operation("POST", "/query", routes.query, "SQL; an Arrow stream, or JSON.", rows, errors, Asked),
        Operation("POST", "/perdure/query", routes.table, "The same as a table.", rows, errors, Asked),
    ]


class ServerRoutes:
    def __init__(self, engine: Engine, ingress_url: Callable[[], str]) -> None:
        self._engine = engine
        self._ingress_url = ingress_url
        self._description: dict[str, object] | None = None

    async def health(self, _: Request) -> Response:
        return Response(status_code=200 if self._engine.phase is Phase.READY else 503)

    async def version(self, _: Request) -> Response:
        return json_reply(shapes.version_information(self._engine, self._ingress_url()))

    async def openapi(self, _: Request) -> Response:
        if self._description is None:
            self._description = admin_openapi(operations(self._engine, self._ingress_url))
        return json_reply(self._description)


async def _unsupported_version(_: Request) -> Response:
    return PlainTextResponse(
        "Unsupported Admin API version V1. This server supports versions between V2 and V4.", status_code=400
    )


async def _bare(_: Request, error: Exception) -> Response:
    """Unknown routes and wrong methods: the status alone."""
    assert isinstance(error, HTTPException)
    return Response(status_code=error.status_code, headers=error.headers)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, AdminRefused)
    return refusal(error)


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, PerdureError)
    match error:
        case ControlRefused():
            status = error.refused_status
        case NodeStopped():
            status = 503
        case NodeError() | BadManifest() | NoCommonVersion() | ReservedName():
            status = error.status
        case _:
            status = 500
    if isinstance(error, InvocationNotFound):
        message = f"The requested invocation '{request.path_params['id']}' does not exist"
    else:
        message = f"{error.what} {error.next_step}".rstrip()
    code = None if error.code.startswith("PD") else error.code
    return refusal(AdminRefused(status, f"[{code}] {message}" if code else message, restate_code=code))
