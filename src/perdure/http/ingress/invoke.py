"""Calls and sends: from a request to a new invocation, and from its outcome to the reply."""

from __future__ import annotations

from perdure.http.asgi import Receive, Scope
from perdure.http.ingress.delay import BadDelay, parse_delay_ms
from perdure.http.ingress.input_rules import check_input
from perdure.http.ingress.refusals import RequestRefused, bad_request, method_not_allowed
from perdure.http.ingress.replies import Reply, accepted_reply, outcome_reply
from perdure.http.ingress.request import RequestHead, query_values, read_body
from perdure.http.ingress.results import stacktrace_of
from perdure.model.service import HandlerSpec
from perdure.model.target import HandlerKind, Target
from perdure.node.engine import Engine
from perdure.node.requests import NewInvocation

LIMIT_KEY_LEVELS_MAX = 2


async def invoke(
    engine: Engine,
    scope: Scope,
    receive: Receive,
    path: str,
    target: Target,
    handler: HandlerSpec,
    *,
    send: bool,
    limit: int,
) -> Reply:
    """Errors: RequestRefused, NodeError, InputRejected; nothing is stored when one is raised before the engine's own."""
    if scope["method"] not in ("POST", "GET"):
        raise method_not_allowed()
    query: bytes = scope["query_string"]
    head = RequestHead(scope["headers"], f"{path}?{query.decode('latin-1')}" if query else path)
    delay_ms = _delay_ms(query, head, send=send) if query or head.limit_key else None
    body = await read_body(receive, limit, head.content_length)
    request = new_invocation(head, target, handler, body, delay_ms or 0)
    if send:
        accepted = await engine.send(request)
        return accepted_reply(accepted, engine.now_ms() if delay_ms == 0 else accepted.execute_at_ms)
    outcome = await engine.call(request)
    return outcome_reply(outcome, handler.output, stacktrace_of(engine, outcome))


def new_invocation(
    head: RequestHead, target: Target, handler: HandlerSpec, body: bytes, delay_ms: int = 0
) -> NewInvocation:
    """Errors: RequestRefused."""
    if head.idempotency_key is not None and handler.kind is HandlerKind.RUN:
        raise bad_request(
            "cannot use the idempotency key with workflow handlers. "
            "The handler invocation will already be idempotent by the workflow key itself."
        )
    check_input(handler.input, head.content_type, body)
    return NewInvocation(
        target,
        body,
        head.content_type,
        head.forwarded,
        head.idempotency_key,
        delay_ms,
        head.traceparent,
        head.tracestate,
    )


def _delay_ms(query: bytes, head: RequestHead, *, send: bool) -> int | None:
    """None: no delay is asked for. Errors: RequestRefused."""
    values = query_values(query)
    if limit_key := head.limit_key or values.get("limit-key"):
        if limit_key.count("/") >= LIMIT_KEY_LEVELS_MAX:
            few = f"too many path components in the given limit-key (max {LIMIT_KEY_LEVELS_MAX})"
            raise bad_request(f"invalid limit-key: {few}")
        raise bad_request("limit-key requires a scope to be set")
    delay = values.get("delay")
    if delay is None:
        return None
    try:
        delay_ms = parse_delay_ms(delay)
    except BadDelay as why:
        raise bad_delay(why) from None
    if not send:
        raise bad_request("cannot use the delay query parameter with calls. The delay is supported only with sends")
    return delay_ms


def bad_delay(why: BadDelay) -> RequestRefused:
    return bad_request(f"bad delay query parameter, must be a ISO8601 duration: {why}")
