"""`POST /query`: SQL over HTTP, as Restate takes and answers it; and the same for tables with the columns in their order."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from perdure.http.admin.replies import ErrorBody, decoded_body, json_reply
from perdure.http.asgi import ClientGone, while_connected
from perdure.http.query.errors import QueryCancelled, QueryError, QueryRefused
from perdure.http.query.messages import Form
from perdure.http.query.queries import Queries

RETRY_AFTER_S = 1


class Asked(msgspec.Struct):
    query: str


class _Said(msgspec.Struct):
    """Of a query that is refused: in the words of Restate, without the field that its other errors have."""

    message: str


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
        asked = await decoded_body(request, Asked)
        try:
            answer = await while_connected(self._queries.run(asked.query, form), request.receive)
        except ClientGone:
            return _refused(QueryCancelled())
        except QueryRefused as error:
            if form != "table":
                return json_reply(_Said(error.original), error.status)
            return _refused(error)
        except QueryError as error:
            return _refused(error)
        kind = "application/vnd.apache.arrow.stream" if form == "arrow" else "application/json"
        return Response(answer.body, media_type=kind)


def _refused(error: QueryError) -> Response:
    headers = {"retry-after": str(RETRY_AFTER_S)} if error.status == 429 else None
    return json_reply(ErrorBody(f"{error.what} {error.next_step}".rstrip()), error.status, headers)
