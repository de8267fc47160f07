"""Results of invocations that exist already: attach waits for one, output looks whether it is there, lookup names it."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from perdure.http.asgi import Receive, while_connected
from perdure.http.ingress.refusals import (
    INVOCATION_PATH,
    WORKFLOW_PATH,
    RequestRefused,
    bad_request,
    bad_shape,
    not_completed,
    not_found,
    scopes_unsupported,
)
from perdure.http.ingress.replies import Reply, lookup_reply, outcome_reply
from perdure.http.ingress.request import decode_segment, read_body
from perdure.http.ingress.targets import check_scope, decoded_key, named_service
from perdure.model.ids import BadId, keyed_invocation_id, parse_invocation_id
from perdure.model.journal import Failure
from perdure.model.service import PayloadRules
from perdure.model.target import ServiceKind, Target
from perdure.node.engine import Engine
from perdure.node.errors import InvocationNotFound, ServiceNotFound
from perdure.node.requests import Outcome

Verb: TypeAlias = Literal["attach", "output", "lookup"]


class _WorkflowTarget(msgspec.Struct, tag_field="target", tag="workflow", rename="camel"):
    workflow_name: str
    workflow_key: str
    scope: str | None = None


class _IdempotentTarget(msgspec.Struct, tag_field="target", tag="idempotentInvocation", rename="camel"):
    service: str
    handler: str
    idempotency_key: str
    key: str | None = None
    scope: str | None = None


class _InvocationTarget(msgspec.Struct, tag_field="target", tag="invocation", rename="camel"):
    invocation_id: str


_targets = msgspec.json.Decoder(_WorkflowTarget | _IdempotentTarget | _InvocationTarget)


class Existing(msgspec.Struct, frozen=True):
    """An invocation that a request names; `target` is None where only its id was given."""

    invocation_id: bytes
    target: Target | None = None


async def result(engine: Engine, receive: Receive, verb: Verb, existing: Existing) -> Reply:
    """Errors: RequestRefused, NodeError, ClientGone."""
    if verb == "lookup":
        return lookup_reply(existing.invocation_id)
    target = existing.target or _target_of(engine, existing.invocation_id)
    if verb == "output":
        try:
            outcome = await engine.output(existing.invocation_id)
        except InvocationNotFound:
            raise RequestRefused(404, "invocation not found") from None
        if outcome is None:
            raise not_completed()
    else:
        try:
            outcome = await while_connected(engine.attach(existing.invocation_id), receive)
        except InvocationNotFound:
            # As the handler that attaches to it would be told.
            outcome = Outcome(existing.invocation_id, Failure(404, "not found"))
    return outcome_reply(outcome, _output_rules(engine, target), stacktrace_of(engine, outcome))


def stacktrace_of(engine: Engine, outcome: Outcome) -> str | None:
    """Of the attempt whose error became the result, because it was the last that was allowed."""
    failure = outcome.result
    if not isinstance(failure, Failure):
        return None
    row = engine.find(outcome.invocation_id)
    error = None if row is None else row.last_error
    if error is None or (error.code, error.message) != (failure.code, failure.message):
        return None
    return error.stacktrace or None


def by_id(text: str) -> Existing:
    """Errors: RequestRefused."""
    try:
        return Existing(parse_invocation_id(text))
    except BadId as why:
        raise bad_request(f"bad invocation id '{text}': {why}") from None


def by_invocation_path(engine: Engine, segments: list[str]) -> tuple[Verb, Existing]:
    """What follows `/restate/invocation/`: the verb, and what is named before it, whether that exists or not."""
    if len(segments) < 2:
        raise bad_shape(INVOCATION_PATH)
    if len(segments) == 2:
        return _verb(segments[1]), by_id(segments[0])
    service = segments[0]
    keyed = named_service(engine.registry, service).kind is not ServiceKind.SERVICE
    before_verb = 4 if keyed else 3
    if len(segments) <= before_verb:
        raise bad_shape(INVOCATION_PATH)
    verb = _verb(segments[before_verb])
    if len(segments) > before_verb + 1:
        raise bad_shape(INVOCATION_PATH)
    key = decoded_key(segments[1]) if keyed else None
    return verb, _derived(Target(service, key, segments[-3]), segments[-2])


def by_workflow_path(segments: list[str]) -> tuple[Verb, Existing]:
    """What follows `/restate/workflow/`: the verb, and the run that is named before it."""
    if len(segments) < 3:
        raise bad_shape(WORKFLOW_PATH)
    verb = _verb(segments[2])
    if len(segments) > 3:
        raise bad_shape(WORKFLOW_PATH)
    return verb, _workflow(segments[0], decode_segment(segments[1]))


def _verb(segment: str) -> Verb:
    match segment:
        case "attach" | "output":
            return segment
    raise not_found()


async def by_body(receive: Receive, verb: Verb, limit: int) -> Existing:
    """Ids are derived from what is named, whether that exists or not.

    Errors: RequestRefused; for a body that cannot be read with the status that clients of Restate know, 500.
    """
    body = await read_body(receive, limit)
    try:
        wanted = _targets.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as why:
        what = "lookup" if verb == "lookup" else "request"
        raise RequestRefused(500, f"cannot read body: invalid {what} body: {why}") from None
    if isinstance(wanted, _InvocationTarget):
        return by_id(wanted.invocation_id)
    if wanted.scope is not None:
        check_scope(wanted.scope)
        raise scopes_unsupported()
    if isinstance(wanted, _WorkflowTarget):
        return _workflow(wanted.workflow_name, wanted.workflow_key)
    return _derived(Target(wanted.service, wanted.key, wanted.handler), wanted.idempotency_key)


def _workflow(name: str, key: str) -> Existing:
    return _derived(Target(name, key, ""), None)


def _derived(target: Target, idempotency_key: str | None) -> Existing:
    """`idempotency_key` None: the run of a workflow, whatever its handler is called."""
    invocation_id = keyed_invocation_id(
        target.service,
        target.key,
        target.handler,
        workflow_run=idempotency_key is None,
        idempotency_key=idempotency_key,
        at_ms=0,
        random=bytes(18),
    )
    return Existing(invocation_id, target if target.handler else None)


def _target_of(engine: Engine, invocation_id: bytes) -> Target | None:
    row = engine.find(invocation_id)
    return None if row is None else row.target


def _output_rules(engine: Engine, target: Target | None) -> PayloadRules | None:
    """What the handler gives as it is now; the one that ran may have been another version."""
    if target is None:
        return None
    try:
        handler = named_service(engine.registry, target.service).handlers.get(target.handler)
    except ServiceNotFound:
        return None
    return None if handler is None else handler.output
