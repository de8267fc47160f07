"""The routes of the admin API that are perdure's own: lists, details, state, signals. They need no SQL (docs/admin.md)."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from perdure.http.admin.invocations import described, shown_bytes, summary
from perdure.http.admin.replies import (
    UNCHANGED,
    AdminRefused,
    body_of,
    check_ready,
    decoded_body,
    invocation_id,
    json_reply,
    misshaped,
    number_of,
)
from perdure.model.ids import format_invocation_id
from perdure.model.journal import Failure, Result
from perdure.model.state_version import state_version
from perdure.node.engine import Engine
from perdure.node.errors import ServiceNotFound
from perdure.node.inspection import Filter

REJECTED = 500
"""Code of the failure that a handler sees when its signal is rejected."""
_STATE_BODY_FACTOR = 5
"""A byte is written as up to four characters in the JSON of a state."""


class ModifyStateRequest(msgspec.Struct, kw_only=True):
    object_key: str
    new_state: dict[str, list[int] | str]
    """Each value as the bytes that it is, or as text."""
    version: str | None = None
    scope: str | None = None


class OwnRoutes:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def stats(self, _: Request) -> Response:
        check_ready(self._engine)
        return json_reply(self._engine.stats())

    async def invocations(self, request: Request) -> Response:
        check_ready(self._engine)
        asked = request.query_params
        statuses = [name for text in asked.getlist("status") for name in text.split(",") if name]
        wanted = Filter(frozenset(statuses), asked.get("service"), asked.get("handler"), asked.get("key"))
        limit = number_of(request, "limit", 100)
        page = await self._engine.invocations(wanted, limit=limit, after=asked.get("after") or None)
        return json_reply({"invocations": [summary(row) for row in page.rows], "after": page.after})

    async def invocation(self, request: Request) -> Response:
        return json_reply(described(self._engine.inspect(invocation_id(self._engine, request))))

    # --- signals ----------------------------------------------------------------------------------------------------------

    async def signal(self, request: Request) -> Response:
        """The body is the value, as it is."""
        return await self._send(request, await body_of(request, self._engine.settings.body_bytes_max))

    async def reject_signal(self, request: Request) -> Response:
        """The body is the reason, as text."""
        body = await body_of(request, self._engine.settings.body_bytes_max)
        try:
            return await self._send(request, Failure(REJECTED, body.decode()))
        except UnicodeDecodeError:
            raise AdminRefused(400, "the reason of a rejection must be UTF-8 text") from None

    async def _send(self, request: Request, result: Result) -> Response:
        await self._engine.send_signal(invocation_id(self._engine, request), request.path_params["name"], result)
        return Response(status_code=202)

    # --- state ------------------------------------------------------------------------------------------------------------

    async def state(self, request: Request) -> Response:
        check_ready(self._engine)
        service, key = request.path_params["service"], request.path_params["key"]
        state = self._engine.state_of(service, key)
        holder = self._engine.holder_of(service, key)
        return json_reply(
            {
                "service": service,
                "key": key,
                "version": state_version(state),
                "held_by": None if holder is None else format_invocation_id(holder),
                "state": {name: shown_bytes(value) for name, value in sorted(state.items())},
            }
        )

    async def modify_state(self, request: Request) -> Response:
        """As in Restate: the state as a whole, each value a list of bytes; accepted also while a handler holds the key."""
        check_ready(self._engine)
        limit = self._engine.settings.body_bytes_max * _STATE_BODY_FACTOR
        asked = await decoded_body(request, ModifyStateRequest, limit)
        if asked.scope is not None:
            raise AdminRefused(400, "this server has no scopes")
        try:
            new_state = {name: _as_bytes(value) for name, value in asked.new_state.items()}
        except ValueError as why:  # a number that is no byte
            raise misshaped(str(why)) from None
        try:
            done = await self._engine.modify_state(
                request.path_params["name"], asked.object_key, new_state, asked.version
            )
        except ServiceNotFound as unknown:
            raise AdminRefused(
                404, f"The requested service '{request.path_params['name']}' does not exist"
            ) from unknown
        return Response(status_code=202, headers=None if done else UNCHANGED)

    # --- deployments ------------------------------------------------------------------------------------------------------

    async def in_flight(self, _: Request) -> Response:
        """By deployment: how many invocations that are not completed are pinned to it."""
        check_ready(self._engine)
        return json_reply({"in_flight": await self._engine.deployments.in_flight()})


def _as_bytes(value: list[int] | str) -> bytes:
    """Errors: ValueError."""
    return value.encode() if isinstance(value, str) else bytes(value)
