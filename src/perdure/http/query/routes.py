"""`POST /query`: SQL over HTTP, as Restate takes and answers it; and the same for tables with the columns in their order."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from perdure.http.admin.replies import ErrorBody, decoded_body, json_reply
from perdure.http.query.errors import QueryCancelled, QueryError, QueryRefused
from perdure.http.query.messages import Answer, Form
from perdure.http.query.queries import Queries

QUERY_BYTES_MAX = 1024 * 1024
RETRY_AFTER_S = 1


class Asked(msgspec.Struct):
    query: str


class QueryRoutes:
    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    async def query(self, request: Request) -> Response:
        """JSON for whoever accepts exactly that, else an Arrow stream."""
        form: Form = "json" if request.headers.get("accept") == "application/json" else "arrow"
        return await self._answer(request, form)

    async def table(self, request: Request) -> Response:
        return await self._answer(request, "table")

    async def _answer(self, request: Request, form: Form) -> Response:
        asked = await decoded_body(request, Asked, QUERY_BYTES_MAX)
        try:
            answer = await _while_connected(request, self._queries.run(asked.query, form))
        except QueryError as error:
            return _refused(error)
        kind = "application/vnd.apache.arrow.stream" if form == "arrow" else "application/json"
        return Response(answer.body, media_type=kind)


async def _while_connected(request: Request, asking: Coroutine[None, None, Answer]) -> Answer:
    """Errors: QueryCancelled when the client goes away; those of the query."""
    query = asyncio.ensure_future(asking)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((query, gone), return_when=asyncio.FIRST_COMPLETED)
        if not query.done():
            raise QueryCancelled
        return query.result()
    finally:
        for future in (query, gone):
            future.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _refused(error: QueryError) -> Response:
    status = error.http_status if isinstance(error, QueryRefused) else error.status
    headers = {"retry-after": str(RETRY_AFTER_S)} if status == 429 else None
    return json_reply(ErrorBody(f"{error.what} {error.next_step}".rstrip()), status, headers)
