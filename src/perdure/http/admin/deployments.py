"""The routes of deployments: where services run, beside the app of this process (docs/admin.md)."""

from __future__ import annotations

import re
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from perdure.http.admin import shapes
from perdure.http.admin.replies import (
    AdminRefused,
    check_ready,
    decoded_body,
    flag_of,
    id_in_path,
    json_reply,
    misshaped,
    version_of,
)
from perdure.node.deployments import Registered
from perdure.node.engine import Engine
from perdure.node.errors import DeploymentNotFound

T = TypeVar("T")
Headers = dict[
    Annotated[str, Meta(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")], Annotated[str, Meta(pattern=r"^[\x20-\x7e]*$")]
]


class RegisterDeploymentRequest(msgspec.Struct, kw_only=True):
    uri: str | None = None
    arn: str | None = None
    additional_headers: Headers | None = None
    use_http_11: bool = False
    auth: dict[str, object] | None = None
    metadata: dict[str, str] | None = None
    assume_role_arn: str | None = None
    force: bool | None = None
    breaking: bool = False
    dry_run: bool = False


class UpdateDeploymentRequest(msgspec.Struct, kw_only=True):
    uri: str | None = None
    arn: str | None = None
    additional_headers: Headers | None = None
    use_http_11: bool | None = None
    auth: dict[str, object] | None = None
    assume_role_arn: str | None = None
    overwrite: bool = False
    dry_run: bool = False


class ListDeploymentsResponse(msgspec.Struct):
    deployments: list[shapes.Deployment]


class DeploymentRoutes:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._since_ms = engine.now_ms()

    async def list(self, _: Request) -> Response:
        listed = [shapes.deployment(row) for row in self._engine.registry.deployments()]
        if self._has_app:
            listed.insert(0, shapes.local_deployment(self._engine, self._since_ms))
        return json_reply(ListDeploymentsResponse(listed))

    async def get(self, request: Request) -> Response:
        wanted = id_in_path(request, "deployment", "dp")
        if self._is_app(wanted):
            return json_reply(shapes.detailed_local_deployment(self._engine, self._since_ms))
        try:
            row = self._engine.registry.deployment(wanted)
        except DeploymentNotFound:
            raise _no_such(wanted) from None
        return json_reply(shapes.detailed_deployment(self._engine, row))

    async def register(self, request: Request) -> Response:
        check_ready(self._engine)
        asked = await _decoded(request, RegisterDeploymentRequest)
        if asked.arn is None if asked.uri is None else _is_no_uri(asked.uri):
            raise _no_variant(RegisterDeploymentRequest)
        _refuse_lambda(None if asked.uri is not None else asked.arn, asked.auth)
        version = version_of(request)
        registered = await self._engine.deployments.register(
            asked.uri or "",
            additional_headers=asked.additional_headers,
            use_http_11=asked.use_http_11,
            metadata=asked.metadata,
            force=version == 2 if asked.force is None else asked.force,
            breaking=asked.breaking,
            dry_run=asked.dry_run,
        )
        row = registered.deployment
        return json_reply(
            shapes.registration(self._engine, row, registered.notes),
            _status(registered, version),
            {"location": f"deployments/{row.id}"},
        )

    async def update(self, request: Request) -> Response:
        check_ready(self._engine)
        wanted = id_in_path(request, "deployment", "dp")
        asked = await _decoded(request, UpdateDeploymentRequest)
        _refuse_lambda(asked.arn, asked.auth)
        if self._is_app(wanted):
            raise AdminRefused(
                409, "this deployment is the app of the server itself; start the server with another one"
            )
        try:
            row = await self._engine.deployments.update(
                wanted,
                uri=asked.uri,
                additional_headers=asked.additional_headers,
                use_http_11=asked.use_http_11,
                overwrite=asked.overwrite,
                dry_run=asked.dry_run,
            )
        except DeploymentNotFound:
            raise AdminRefused(404, f"not found in the schema registry: {wanted}") from None
        return json_reply(shapes.detailed_deployment(self._engine, row))

    async def replace(self, request: Request) -> Response:
        """The form of `update` that version 2 had."""
        if version_of(request) != 2:
            id_in_path(request, "deployment", "dp")
            await _decoded(request, UpdateDeploymentRequest)
            raise AdminRefused(405, "PUT deployment is deprecated, use PATCH instead")
        return await self.update(request)

    async def remove(self, request: Request) -> Response:
        """Only by force: a way to remove what nothing is pinned to does not exist in Restate either."""
        check_ready(self._engine)
        wanted = id_in_path(request, "deployment", "dp")
        if not flag_of(request, "force"):
            return Response(status_code=501)
        if self._is_app(wanted):
            raise AdminRefused(409, "this deployment is the app of the server itself; start the server without it")
        try:
            await self._engine.deployments.remove(wanted)
        except DeploymentNotFound:
            raise AdminRefused(404, f"not found in the schema registry: deployment with id '{wanted}'") from None
        return Response(status_code=202)

    # --- inside -----------------------------------------------------------------------------------------------------------

    @property
    def _has_app(self) -> bool:
        return self._engine.app is not None and bool(self._engine.app.services())

    def _is_app(self, wanted: str) -> bool:
        return self._has_app and wanted == shapes.local_id(self._engine)


async def _decoded(request: Request, kind: type[T]) -> T:
    """A body that may be for HTTP or for Lambda. Errors: AdminRefused."""
    try:
        return await decoded_body(request, kind)
    except AdminRefused as refused:
        raise _no_variant(kind) if refused.status == 422 else refused from None


def _is_no_uri(text: str) -> bool:
    """What cannot be read as one at all; whether a deployment can be at it is seen later."""
    if not text or re.search(r'[\x00-\x20"<>\x7f]', text):
        return True
    scheme, absolute, rest = text.partition("://")
    if not absolute:
        return "/" in scheme.lstrip("/") and not text.startswith("/")
    place = re.split("[/?#]", rest, maxsplit=1)[0]
    return not place or not place.isascii() or ("[" in place) != ("]" in place)


def _no_variant(kind: type[object]) -> AdminRefused:
    return misshaped(f"data did not match any variant of untagged enum {kind.__name__}")


def _status(registered: Registered, version: int | None) -> int:
    match registered.change:
        case "created":
            return 201
        case "overwritten":
            return 201 if version == 2 else 200
        case "unchanged" if version == 2:
            raise AdminRefused(409, f"Conflict: deployment {registered.deployment.id} already exists")
    return 200


def _refuse_lambda(arn: str | None, auth: object) -> None:
    if arn is not None:
        raise AdminRefused(400, "this server runs no AWS Lambda deployments; serve the handlers over HTTP")
    if auth is not None:
        raise AdminRefused(400, "this server asks nobody for Google id tokens; leave 'auth' out")


def _no_such(deployment_id: str) -> AdminRefused:
    return AdminRefused(404, f"The requested deployment '{deployment_id}' does not exist")
