"""From a handler's call to a full request: what is known of the target is filled in before the command is proposed."""

from __future__ import annotations

from perdure.env.random import Random
from perdure.model.ids import keyed_invocation_id
from perdure.model.journal import Caller, Headers, InvokeRequest, Origin
from perdure.model.service import HandlerSpec
from perdure.model.target import HandlerKind, Target


def make_request(
    spec: HandlerSpec,
    target: Target,
    *,
    headers: Headers,
    body: bytes,
    idempotency_key: str | None,
    execute_at_ms: int,
    origin: Origin,
    caller: Caller | None,
    implicit_key: bool = False,
    at_ms: int,
    random: Random,
    deployment: str | None = None,
    traceparent: str | None = None,
    tracestate: str | None = None,
) -> InvokeRequest:
    """A request as it goes into the log: with its id, its seed and the retention that applies. Units: Unix time in ms.

    `implicit_key`: its result is kept as with an idempotency key, also without one.
    """
    workflow_run = spec.kind is HandlerKind.RUN
    key = None if workflow_run else idempotency_key  # a run is found by its workflow key; another key has no meaning
    invocation_id = keyed_invocation_id(
        target.service,
        target.key,
        target.handler,
        workflow_run=workflow_run,
        idempotency_key=key,
        at_ms=at_ms,
        random=random.bytes(18),
    )
    result_kept_ms, journal_kept_ms = spec.retention_ms(idempotent=implicit_key or key is not None)
    return InvokeRequest(
        invocation_id,
        target,
        spec.kind,
        headers,
        body,
        int.from_bytes(random.bytes(8), "big"),
        result_kept_ms,
        journal_kept_ms,
        key,
        execute_at_ms if execute_at_ms > at_ms else 0,
        origin,
        caller,
        deployment,
        traceparent,
        tracestate,
    )
