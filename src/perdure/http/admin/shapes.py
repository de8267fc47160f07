"""The JSON of the admin API, in the shapes that Restate's command line reads (docs/admin.md).

An app that runs in this process is shown as one deployment: its id follows from its identity, so that it stays the same
for as long as the code does.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Literal

import msgspec

from perdure.model.ids import format_ulid
from perdure.model.retry import RetryPolicy
from perdure.model.service import HandlerSpec, PayloadRules, ServiceSpec
from perdure.model.target import HandlerKind, ServiceKind
from perdure.model.version import VERSION
from perdure.node.engine import Engine

_SERVICE_TYPES = {
    ServiceKind.SERVICE: "Service",
    ServiceKind.VIRTUAL_OBJECT: "VirtualObject",
    ServiceKind.WORKFLOW: "Workflow",
}
_HANDLER_TYPES = {
    HandlerKind.PLAIN: None,
    HandlerKind.EXCLUSIVE: "Exclusive",
    HandlerKind.SHARED: "Shared",
    HandlerKind.RUN: "Workflow",
}
_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1))
REVISION = 1


class VersionInformation(msgspec.Struct):
    ingress_endpoint: str
    version: str = VERSION
    min_admin_api_version: int = 2
    max_admin_api_version: int = 4
    features: dict[str, bool] = {}


class RetryPolicyShape(msgspec.Struct):
    initial_interval: str
    exponentiation_factor: float
    max_attempts: int | None
    max_interval: str
    on_max_attempts: Literal["Pause", "Kill"]


class Handler(msgspec.Struct, omit_defaults=True):
    name: str
    public: bool
    input_description: str
    output_description: str
    idempotency_retention: str
    journal_retention: str
    inactivity_timeout: str
    abort_timeout: str
    enable_lazy_state: bool
    retry_policy: RetryPolicyShape
    ty: str | None = None
    workflow_completion_retention: str | None = None
    input_json_schema: object = None
    output_json_schema: object = None
    documentation: str | None = None
    metadata: dict[str, str] | None = None


class Service(msgspec.Struct, omit_defaults=True):
    name: str
    ty: str
    handlers: list[Handler]
    deployment_id: str
    revision: int
    public: bool
    idempotency_retention: str
    journal_retention: str
    inactivity_timeout: str
    abort_timeout: str
    enable_lazy_state: bool
    retry_policy: RetryPolicyShape
    workflow_completion_retention: str | None = None
    documentation: str | None = None
    metadata: dict[str, str] | None = None


class ServiceName(msgspec.Struct):
    name: str
    revision: int


class Deployment(msgspec.Struct):
    id: str
    created_at: str
    services: list[ServiceName] | list[Service]
    uri: str = "in-process://local/"
    protocol_type: str = "BidiStream"
    http_version: str = "HTTP/2.0"
    min_protocol_version: int = 5
    max_protocol_version: int = 6
    sdk_version: str = f"perdure/{VERSION}"


def deployment_id(engine: Engine) -> str:
    identity = "" if engine.app is None else engine.app.identity
    return format_ulid("dp", hashlib.sha256(identity.encode()).digest()[:16])


def deployment(engine: Engine, since: datetime, *, detailed: bool) -> Deployment:
    services = engine.registry.services()
    created_at = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
    if detailed:
        return Deployment(deployment_id(engine), created_at, [service(engine, spec) for spec in services])
    return Deployment(deployment_id(engine), created_at, [ServiceName(spec.name, REVISION) for spec in services])


def service(engine: Engine, spec: ServiceSpec) -> Service:
    """Settings of a service are shown as those of a handler that has none of its own."""
    policies = engine.registry.policies(spec)
    return Service(
        name=spec.name,
        ty=_SERVICE_TYPES[spec.kind],
        handlers=[handler(each) for each in spec.handlers.values()],
        deployment_id=deployment_id(engine),
        revision=REVISION,
        public=spec.public,
        idempotency_retention=duration(policies.idempotency_retention_ms),
        journal_retention=duration(policies.journal_retention_ms),
        inactivity_timeout=duration(policies.inactivity_timeout_ms),
        abort_timeout=duration(policies.abort_timeout_ms),
        enable_lazy_state=policies.lazy_state,
        retry_policy=_retry(policies.retry),
        workflow_completion_retention=(
            duration(policies.workflow_completion_retention_ms) if spec.kind is ServiceKind.WORKFLOW else None
        ),
        documentation=spec.documentation,
        metadata=spec.metadata,
    )


def handler(spec: HandlerSpec) -> Handler:
    return Handler(
        name=spec.name,
        ty=_HANDLER_TYPES[spec.kind],
        public=spec.public,
        input_description=_described(spec.input),
        output_description=("optional " if spec.output.set_content_type_if_empty else "") + _described(spec.output),
        input_json_schema=spec.input.json_schema,
        output_json_schema=spec.output.json_schema,
        idempotency_retention=duration(spec.idempotency_retention_ms),
        workflow_completion_retention=(
            duration(spec.workflow_completion_retention_ms) if spec.kind is HandlerKind.RUN else None
        ),
        journal_retention=duration(spec.journal_retention_ms),
        inactivity_timeout=duration(spec.inactivity_timeout_ms),
        abort_timeout=duration(spec.abort_timeout_ms),
        enable_lazy_state=spec.lazy_state,
        retry_policy=_retry(spec.retry),
        documentation=spec.documentation,
        metadata=spec.metadata,
    )


def duration(ms: int) -> str:
    """`1d`, `1h 30m`, `500ms`."""
    parts: list[str] = []
    for unit, size in _UNITS:
        count, ms = divmod(ms, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts) or "0s"


def _retry(policy: RetryPolicy) -> RetryPolicyShape:
    return RetryPolicyShape(
        duration(policy.initial_interval_ms),
        policy.factor,
        policy.max_attempts,
        duration(policy.max_interval_ms),
        "Pause" if policy.on_max_attempts == "pause" else "Kill",
    )


def _described(rules: PayloadRules) -> str:
    if rules.content_type is None:
        return "none"
    schema = rules.json_schema
    if isinstance(schema, dict):
        if title := schema.get("title"):
            return f'JSON "{title}"'
        if kind := schema.get("type"):
            return f"JSON {kind}"
    return rules.content_type
