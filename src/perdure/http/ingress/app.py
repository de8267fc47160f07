"""The ingress: calls, sends, results and awakeables over HTTP, as one ASGI application without a framework.

What always holds: a request that is refused has stored nothing; every reply, also of a failure nobody foresaw, has the
headers and the JSON of docs/ingress.md; while the engine recovers, requests wait instead of being refused. It must not
know how the engine does its work.
"""

from __future__ import annotations

import asyncio
import logging

from perdure.http.asgi import (
    STOPPING_MESSAGE,
    Answer,
    ClientGone,
    RawHeaders,
    Receive,
    Scope,
    Send,
    find_header,
    raw_path,
    send_reply,
)
from perdure.http.ingress import results
from perdure.http.ingress.awakeables import complete_awakeable
from perdure.http.ingress.invoke import invoke, new_invocation
from perdure.http.ingress.refusals import (
    RESTATE_PATH,
    RequestRefused,
    bad_path,
    bad_shape,
    invalid_input,
    method_not_allowed,
    not_found,
    scopes_unsupported,
    unavailable,
)
from perdure.http.ingress.replies import Reply, allow_origin, json_reply, outcome_reply, preflight_reply, refusal_reply
from perdure.http.ingress.request import RequestHead
from perdure.http.ingress.targets import check_scoped, resolve_path, resolve_restate_path
from perdure.model import limits
from perdure.model.driver import InputRejected
from perdure.model.errors import PerdureError
from perdure.model.service import HandlerSpec
from perdure.node.engine import Engine
from perdure.node.errors import NodeError, NodeStopped, Overloaded
from perdure.node.phase import Phase
from perdure.node.requests import Outcome

READY_TIMEOUT_S = 60.0
_SLASHES = range(2, 8)
_PLAIN_SEGMENTS = (3, 4)
_RESERVED = ("restate", "openapi")
_logger = logging.getLogger("perdure.http")


class Ingress:
    """ASGI application. `ready_timeout_s`: how long a request waits for an engine that is still recovering."""

    def __init__(
        self, engine: Engine, *, body_bytes_max: int = limits.BODY_BYTES_MAX, ready_timeout_s: float = READY_TIMEOUT_S
    ) -> None:
        self._engine = engine
        self._limit = body_bytes_max
        self._ready_timeout_s = ready_timeout_s
        self._readying: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close"})
            return
        try:
            reply = await self._answer(scope, receive)
        except ClientGone:
            return
        except asyncio.CancelledError:
            # The server's grace period is over; whoever waits here is better told than cut off.
            reply = refusal_reply(unavailable(STOPPING_MESSAGE))
        except Exception as error:
            reply = refusal_reply(_refusal(error))
        origin = find_header(scope["headers"], b"origin")
        if origin is not None:
            allow_origin(reply, origin)
        await send_reply(send, reply.status, reply.headers, reply.body)

    def direct(self, url: bytes, headers: RawHeaders, body: bytes, answer: Answer) -> bool:
        """A plain call, `POST /Service/handler` or `POST /Object/key/handler` (`perdure.http.direct`).

        Whatever is anything else, or is to be refused, is left to the application as a whole.
        """
        engine = self._engine
        if not engine.takes_calls or b"?" in url or b"#" in url:
            return False
        path = url.decode("latin-1")
        segments = path.split("/")
        if len(segments) not in _PLAIN_SEGMENTS or segments[0] or segments[1] in _RESERVED:
            return False
        try:
            target, handler, send = resolve_path(engine.registry, segments[1], segments[2:])
            if send:
                return False
            head = RequestHead(headers, path)
            if head.limit_key is not None or len(body) > self._limit:
                return False
            request = new_invocation(head, target, handler, body)

            def done(outcome: Outcome | PerdureError) -> None:
                reply = _reply(self._engine, outcome, handler)
                if head.origin is not None:
                    allow_origin(reply, head.origin.encode())
                answer(reply.status, reply.headers, reply.body)

            engine.begin_call(request, done)
        except Exception:  # of every kind: nothing was stored, and who takes it now says why
            return False
        return True

    async def _answer(self, scope: Scope, receive: Receive) -> Reply:
        if scope["method"] == "OPTIONS":
            return preflight_reply(scope["headers"])
        path = raw_path(scope)
        # Any number of slashes at either end counts as one in front and none behind, as in Restate.
        trimmed = f"/{path.strip('/')}"
        segments = trimmed.split("/")
        if len(segments) - 1 not in _SLASHES:
            raise bad_path(trimmed)
        first = segments[1]
        if first == "restate" and segments[2] == "health":
            return self._health(scope)
        if self._engine.phase is not Phase.READY:
            await self._ready()
        if first == "restate":
            return await self._reserved(scope, receive, path, segments[2], segments[3:])
        if first == "openapi":
            raise not_found()
        target, handler, send = resolve_path(self._engine.registry, first, segments[2:])
        return await invoke(self._engine, scope, receive, path, target, handler, send=send, limit=self._limit)

    async def _reserved(self, scope: Scope, receive: Receive, path: str, area: str, rest: list[str]) -> Reply:
        """Routes under `/restate/`."""
        engine = self._engine
        match area:
            case "call" | "send":
                target, handler = resolve_restate_path(engine.registry, rest)
                return await invoke(
                    engine, scope, receive, path, target, handler, send=area == "send", limit=self._limit
                )
            case "awakeables" | "a":
                return await complete_awakeable(engine, scope, receive, rest, self._limit)
            case "invocation":
                return await self._result(scope, receive, *results.by_invocation_path(engine, rest))
            case "workflow":
                return await self._result(scope, receive, *results.by_workflow_path(rest))
            case "attach" | "output" if rest:
                if len(rest) > 1:
                    raise bad_shape(RESTATE_PATH)
                return await self._result(scope, receive, area, results.by_id(rest[0]))
            case "attach" | "output" | "lookup":
                if rest:
                    raise bad_shape(RESTATE_PATH)
                if scope["method"] != "POST":
                    raise method_not_allowed()
                existing = await results.by_body(receive, area, self._limit)
                return await results.result(engine, receive, area, existing)
            case "scope":
                check_scoped(engine.registry, rest)
                raise scopes_unsupported()
        raise not_found()

    async def _result(self, scope: Scope, receive: Receive, verb: results.Verb, existing: results.Existing) -> Reply:
        if scope["method"] != "GET":
            raise method_not_allowed()
        return await results.result(self._engine, receive, verb, existing)

    def _health(self, scope: Scope) -> Reply:
        if scope["method"] != "GET":
            raise method_not_allowed()
        phase = self._engine.phase
        if phase is not Phase.READY:
            raise unavailable(f"the server is {phase.name.lower()}")
        return json_reply(200, {"services": [service.name for service in self._engine.registry.services()]})

    async def _ready(self) -> None:
        """Wait until the engine has recovered, with all the others who wait. Errors: RequestRefused, NodeStopped."""
        if self._engine.phase is not Phase.STARTING:
            raise unavailable(f"the server is {self._engine.phase.name.lower()}")
        if self._readying is None or self._readying.done():
            self._readying = asyncio.ensure_future(self._engine.ready())
            # Seen here too, in case that nobody waits any more when the start fails.
            self._readying.add_done_callback(lambda task: task.cancelled() or task.exception())
        done, _ = await asyncio.wait((self._readying,), timeout=self._ready_timeout_s)
        if not done:
            raise unavailable(f"the server is still recovering after {self._ready_timeout_s:g} s")
        self._readying.result()


def _reply(engine: Engine, outcome: Outcome | PerdureError, handler: HandlerSpec) -> Reply:
    try:
        if isinstance(outcome, Outcome):
            return outcome_reply(outcome, handler.output, results.stacktrace_of(engine, outcome))
        return refusal_reply(_refusal(outcome))
    except Exception as error:  # the engine calls this: nothing may come back to it
        return refusal_reply(_refusal(error))


def _refusal(error: Exception) -> RequestRefused:
    """What a request is told of an error."""
    match error:
        case RequestRefused():
            return error
        case InputRejected():
            return invalid_input(str(error))
        case NodeStopped():
            return unavailable(str(error))
        case Overloaded():
            return RequestRefused(429, _words(error), retry_after_s=1)
        case NodeError():
            return RequestRefused(error.status, _words(error))
    _logger.exception("a request failed in a way that was not foreseen", exc_info=error)
    return RequestRefused(
        500, _words(error) if isinstance(error, PerdureError) else "internal error; see the server's log"
    )


def _words(error: PerdureError) -> str:
    return f"{error.what} {error.next_step}".rstrip()
