"""The routes that operate invocations: one by one, in the older form, and many at once (docs/admin.md)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from perdure.http.admin import shapes
from perdure.http.admin.replies import (
    UNCHANGED,
    AdminRefused,
    bad_query,
    check_ready,
    decoded_body,
    invocation_id,
    json_reply,
    misshaped,
    number_of,
)
from perdure.model.errors import PerdureError
from perdure.model.ids import BadId, format_invocation_id, parse_invocation_id, parse_ulid
from perdure.node.control import KEEP, LATEST
from perdure.node.engine import Engine
from perdure.node.errors import ControlRefused, InvocationNotFound

BATCH_MAX = 1000
_BATCH_BYTES_MAX = 256 * BATCH_MAX


class RestartAsNewResponse(msgspec.Struct):
    new_invocation_id: str


class BatchRequest(msgspec.Struct, kw_only=True):
    invocation_ids: list[str]
    deployment: str | None = None


class BatchFailure(msgspec.Struct):
    invocation_id: str
    error: str


class BatchResult(msgspec.Struct):
    succeeded: list[str]
    failed: list[BatchFailure]


class Restarted(msgspec.Struct):
    old_invocation_id: str
    new_invocation_id: str


class BatchRestartResult(msgspec.Struct):
    succeeded: list[Restarted]
    failed: list[BatchFailure]


class ControlRoutes:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # --- one --------------------------------------------------------------------------------------------------------------

    async def cancel(self, request: Request) -> Response:
        return Response(status_code=200 if await self._engine.cancel(self._id(request)) else 202)

    async def kill(self, request: Request) -> Response:
        await self._engine.kill(self._id(request))
        return Response()

    async def purge(self, request: Request) -> Response:
        await self._engine.purge(self._id(request))
        return Response()

    async def purge_journal(self, request: Request) -> Response:
        await self._engine.purge_journal(self._id(request))
        return Response()

    async def pause(self, request: Request) -> Response:
        return Response(status_code=202 if await self._engine.pause(self._id(request)) else 200)

    async def resume(self, request: Request) -> Response:
        asked = self._id(request)
        deployment = self._deployment(request.query_params.get("deployment"), KEEP)
        resumed = await self._engine.resume(asked, deployment=deployment)
        return Response(headers=None if resumed else UNCHANGED)

    async def restart(self, request: Request) -> Response:
        try:
            from_index = number_of(request, "from", 0)
        except AdminRefused:
            raise bad_query("from: invalid digit found in string") from None
        asked = self._id(request)
        chosen = request.query_params.get("deployment")
        new_id = await self._engine.restart(asked, from_index=from_index, deployment=self._deployment(chosen, LATEST))
        return json_reply(RestartAsNewResponse(format_invocation_id(new_id)))

    async def end(self, request: Request) -> Response:
        """The older form of cancel, kill and purge: accepted whatever comes of it."""
        mode = request.query_params.get("mode", "cancel")
        ends = {"cancel": self._engine.cancel, "kill": self._engine.kill, "purge": self._engine.purge}
        ends |= {name.capitalize(): end for name, end in ends.items()}
        if mode not in ends:
            expected = ", ".join(f"`{name.capitalize()}`, `{name}`" for name in ("cancel", "kill", "purge"))
            raise bad_query(f"mode: unknown variant `{mode}`, expected one of {expected}")
        with contextlib.suppress(InvocationNotFound, ControlRefused):
            await ends[mode](self._id(request))
        return Response(status_code=202)

    # --- many -------------------------------------------------------------------------------------------------------------

    async def cancel_all(self, request: Request) -> Response:
        return await self._batch(request, lambda each, _: self._engine.cancel(each))

    async def kill_all(self, request: Request) -> Response:
        return await self._batch(request, lambda each, _: self._engine.kill(each))

    async def purge_all(self, request: Request) -> Response:
        return await self._batch(request, lambda each, _: self._engine.purge(each))

    async def purge_journals(self, request: Request) -> Response:
        return await self._batch(request, lambda each, _: self._engine.purge_journal(each))

    async def pause_all(self, request: Request) -> Response:
        return await self._batch(request, lambda each, _: self._engine.pause(each))

    async def resume_all(self, request: Request) -> Response:
        return await self._batch(request, lambda each, to: self._engine.resume(each, deployment=to or KEEP))

    async def restart_all(self, request: Request) -> Response:
        """From their inputs."""
        done, failed = await self._each(request, lambda each, to: self._engine.restart(each, deployment=to or LATEST))
        restarted = [Restarted(old, format_invocation_id(new)) for old, new in done if isinstance(new, bytes)]
        return json_reply(BatchRestartResult(restarted, failed))

    async def _batch(self, request: Request, do: Callable[[bytes, str | None], Awaitable[object]]) -> Response:
        done, failed = await self._each(request, do)
        return json_reply(BatchResult([each for each, _ in done], failed))

    async def _each(
        self, request: Request, do: Callable[[bytes, str | None], Awaitable[object]]
    ) -> tuple[list[tuple[str, object]], list[BatchFailure]]:
        """What came of each, by its id; those that failed apart. All are asked for at once and share the log's syncs."""
        check_ready(self._engine)
        asked = await decoded_body(request, BatchRequest, _BATCH_BYTES_MAX)
        if len(asked.invocation_ids) > BATCH_MAX:
            size = len(asked.invocation_ids)
            raise AdminRefused(400, f"Batch size {size} exceeds maximum allowed size of {BATCH_MAX}")
        ids = [_id_in_body(at, text) for at, text in enumerate(asked.invocation_ids)]
        deployment = None if asked.deployment is None else self._deployment(asked.deployment, KEEP, "request field")
        done: list[tuple[str, object]] = []
        failed: list[BatchFailure] = []

        async def one(text: str, each: bytes) -> None:
            try:
                done.append((text, await do(each, deployment)))
            except InvocationNotFound:
                failed.append(BatchFailure(text, f"Invocation '{text}' not found"))
            except PerdureError as error:
                failed.append(BatchFailure(text, _shortened(error.what)))

        await asyncio.gather(*(one(text, each) for text, each in zip(asked.invocation_ids, ids, strict=True)))
        return done, failed

    # --- inside -----------------------------------------------------------------------------------------------------------

    def _id(self, request: Request) -> bytes:
        return invocation_id(self._engine, request)

    def _deployment(self, text: str | None, otherwise: str, place: str = "query parameter") -> str:
        """What `deployment` in the query or body says. Errors: AdminRefused (400) for what is neither word nor id."""
        match text:
            case None | "":
                return otherwise
            case "Keep" | "keep":
                return KEEP
            case "Latest" | "latest":
                return LATEST
        if text == shapes.local_id(self._engine):
            return KEEP
        try:
            parse_ulid("dp", text)
        except BadId as why:
            raise AdminRefused(400, f"The {place} 'deployment' is invalid. Reason: {why}") from None
        return text


def _shortened(what: str) -> str:
    """As Restate says the same of one among many."""
    said = what.partition(". ")[0].removesuffix(".")
    return said.replace("The invocation", "Invocation", 1).replace(" the invocation", " invocation", 1)


def _id_in_body(at: int, text: str) -> bytes:
    try:
        return parse_invocation_id(text)
    except BadId as why:
        raise misshaped(f"invocation_ids[{at}]: {why}") from None
