"""The JSON of the admin API, in the shapes that Restate's command line reads (docs/admin.md)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from perdure.http.admin.durations import in_words
from perdure.http.local_deployment import LOCAL_PROTOCOL_VERSIONS, LOCAL_REVISION, LOCAL_URI, local_deployment_id
from perdure.model import deployment as registered
from perdure.model.retry import RetryChoices, RetryPolicy
from perdure.model.service import HandlerSpec, PayloadRules, Policies, ServiceSpec
from perdure.model.target import HandlerKind, ServiceKind
from perdure.model.version import VERSION
from perdure.node.deployments import TYPE_NAMES
from perdure.node.engine import Engine

_HANDLER_TYPES: dict[HandlerKind, Literal["Exclusive", "Shared", "Workflow"] | None] = {
    HandlerKind.PLAIN: None,
    HandlerKind.EXCLUSIVE: "Exclusive",
    HandlerKind.SHARED: "Shared",
    HandlerKind.RUN: "Workflow",
}

_ABSENT_FEATURES = (
    "vqueues",
    "invoker_yield",
    "kafka_scope",
    "unique_random_seeds",
    "scoped_virtual_objects",
    "scoped_state_table_migration",
    "scoped_promise_table_migration",
    "vqueues_async_refill",
    "vqueues_migration_skip_completed",
    "vqueue_obsolete_cleanup",
    "preflight_invocation_termination_retention",
)
"""What Restate's command line may ask for, and this server has not."""


class Info(msgspec.Struct, omit_defaults=True):
    message: str
    code: str | None = None


class VersionInformation(msgspec.Struct):
    ingress_endpoint: str
    version: str = VERSION
    min_admin_api_version: int = 2
    max_admin_api_version: int = 4
    features: dict[str, bool] = {}


def version_information(engine: Engine, ingress_url: str) -> VersionInformation:
    features = {**dict.fromkeys(_ABSENT_FEATURES, False), "protocol_v7": engine.settings.service_protocol_v7}
    return VersionInformation(ingress_url, features=features)


class ServiceRetryPolicy(msgspec.Struct):
    initial_interval: str
    exponentiation_factor: float
    max_attempts: int | None
    max_interval: str
    on_max_attempts: Literal["Pause", "Kill"]


class HandlerRetryPolicy(msgspec.Struct, omit_defaults=True):
    """What the handler chose itself; `max_attempts` is always there."""

    max_attempts: int | None
    initial_interval: str | None = None
    exponentiation_factor: float | None = None
    max_interval: str | None = None
    on_max_attempts: Literal["Pause", "Kill"] | None = None


class Handler(msgspec.Struct, omit_defaults=True):
    """Settings are there where the handler has its own."""

    name: str
    public: bool
    input_description: str
    output_description: str
    retry_policy: HandlerRetryPolicy
    ty: Literal["Exclusive", "Shared", "Workflow"] | None = None
    documentation: str | None = None
    metadata: dict[str, str] | None = None
    idempotency_retention: str | None = None
    workflow_completion_retention: str | None = None
    journal_retention: str | None = None
    inactivity_timeout: str | None = None
    abort_timeout: str | None = None
    enable_lazy_state: bool | None = None
    input_json_schema: object = None
    output_json_schema: object = None
    info: list[Info] | None = None


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
    retry_policy: ServiceRetryPolicy
    workflow_completion_retention: str | None = None
    documentation: str | None = None
    metadata: dict[str, str] | None = None
    info: list[Info] | None = None


class ServiceName(msgspec.Struct):
    name: str
    revision: int


class _Deployment(msgspec.Struct, omit_defaults=True, kw_only=True):
    id: str
    uri: str
    protocol_type: Literal["BidiStream", "RequestResponse"]
    http_version: Literal["HTTP/2.0", "HTTP/1.1"]
    created_at: str
    min_protocol_version: int
    max_protocol_version: int
    sdk_version: str | None = None
    additional_headers: dict[str, str] | None = None
    metadata: dict[str, str] | None = None


class Deployment(_Deployment, kw_only=True):
    services: list[ServiceName]


class DetailedDeployment(_Deployment, kw_only=True):
    services: list[Service]
    info: list[Info] | None = None


class RegisterDeploymentResponse(msgspec.Struct, omit_defaults=True):
    id: str
    services: list[Service]
    min_protocol_version: int
    max_protocol_version: int
    sdk_version: str | None = None
    info: list[Info] | None = None


# --- the app of this process ----------------------------------------------------------------------------------------------


def local_id(engine: Engine) -> str:
    return local_deployment_id("" if engine.app is None else engine.app.identity)


def local_deployment(engine: Engine, since_ms: int) -> Deployment:
    services = [ServiceName(spec.name, LOCAL_REVISION) for spec in _local_services(engine)]
    return Deployment(services=services, **_local_fields(engine, since_ms))  # type: ignore[arg-type]


def detailed_local_deployment(engine: Engine, since_ms: int) -> DetailedDeployment:
    services = [service(engine, spec) for spec in _local_services(engine)]
    return DetailedDeployment(services=services, **_local_fields(engine, since_ms))  # type: ignore[arg-type]


def _local_services(engine: Engine) -> list[ServiceSpec]:
    return [spec for spec in engine.registry.services() if engine.registry.is_local(spec.name)]


def _local_fields(engine: Engine, since_ms: int) -> dict[str, object]:
    lowest, highest = LOCAL_PROTOCOL_VERSIONS
    return {
        "id": local_id(engine),
        "uri": LOCAL_URI,
        "protocol_type": "BidiStream",
        "http_version": "HTTP/2.0",
        "created_at": _rfc3339(since_ms),
        "min_protocol_version": lowest,
        "max_protocol_version": highest,
        "sdk_version": f"perdure/{VERSION}",
    }


# --- remote deployments ---------------------------------------------------------------------------------------------------


def deployment(row: registered.Deployment) -> Deployment:
    services = [ServiceName(name, revision) for name, revision in sorted(row.revisions.items())]
    return Deployment(services=services, **_fields(row))  # type: ignore[arg-type]


def detailed_deployment(engine: Engine, row: registered.Deployment) -> DetailedDeployment:
    return DetailedDeployment(services=services_of(engine, row), **_fields(row))  # type: ignore[arg-type]


def registration(engine: Engine, row: registered.Deployment, notes: tuple[str, ...]) -> RegisterDeploymentResponse:
    return RegisterDeploymentResponse(
        row.id,
        services_of(engine, row),
        row.min_protocol_version,
        row.max_protocol_version,
        row.sdk_version,
        [Info(note) for note in notes] or None,
    )


def services_of(engine: Engine, row: registered.Deployment) -> list[Service]:
    return [service(engine, spec, row) for spec in engine.registry.services_of(row)]


def _fields(row: registered.Deployment) -> dict[str, object]:
    return {
        "id": row.id,
        "uri": _shown_uri(row.uri),
        "protocol_type": "BidiStream" if row.bidirectional else "RequestResponse",
        "http_version": row.http_version,
        "created_at": _rfc3339(row.created_at_ms),
        "min_protocol_version": row.min_protocol_version,
        "max_protocol_version": row.max_protocol_version,
        "sdk_version": row.sdk_version,
        "additional_headers": row.additional_headers or None,
        "metadata": row.metadata or None,
    }


# --- services and handlers ------------------------------------------------------------------------------------------------


def latest_service(engine: Engine, spec: ServiceSpec) -> Service:
    return service(engine, spec, engine.registry.deployment_of(spec.name))


def service(engine: Engine, spec: ServiceSpec, row: registered.Deployment | None = None) -> Service:
    """As a deployment has it; None: the app of this process. Its settings are those of a handler that has none itself."""
    policies = engine.registry.policies(spec)
    # Without a stream that stays open there is nothing to wait on: each wait of a handler ends its request.
    streams = row is None or row.bidirectional
    return Service(
        name=spec.name,
        ty=TYPE_NAMES[spec.kind],
        handlers=[handler(each, spec.chosen, streams=streams) for each in spec.handlers.values()],
        deployment_id=local_id(engine) if row is None else row.id,
        revision=LOCAL_REVISION if row is None else row.revisions[spec.name],
        public=spec.public,
        idempotency_retention=in_words(policies.idempotency_retention_ms),
        journal_retention=in_words(policies.journal_retention_ms),
        inactivity_timeout=in_words(policies.inactivity_timeout_ms if streams else 0),
        abort_timeout=in_words(policies.abort_timeout_ms),
        enable_lazy_state=policies.lazy_state,
        retry_policy=_retry(policies.retry),
        workflow_completion_retention=(
            in_words(policies.workflow_completion_retention_ms) if spec.kind is ServiceKind.WORKFLOW else None
        ),
        documentation=spec.documentation,
        metadata=spec.metadata or None,
    )


def handler(spec: HandlerSpec, of_service: Policies, *, streams: bool = True) -> Handler:
    own = spec.chosen.beyond(of_service)
    inactivity = _own(own.inactivity_timeout_ms)
    info = None if streams or inactivity is None else [Info(_NO_INACTIVITY.format(inactivity), "RT0021")]
    return Handler(
        name=spec.name,
        ty=_HANDLER_TYPES[spec.kind],
        public=spec.public,
        input_description=_described(spec.input),
        output_description=("optional " if spec.output.set_content_type_if_empty else "") + _described(spec.output),
        input_json_schema=spec.input.json_schema,
        output_json_schema=spec.output.json_schema,
        idempotency_retention=_own(own.idempotency_retention_ms),
        workflow_completion_retention=_own(own.workflow_completion_retention_ms),
        journal_retention=_own(own.journal_retention_ms),
        inactivity_timeout=inactivity if streams else None,
        abort_timeout=_own(own.abort_timeout_ms),
        enable_lazy_state=own.lazy_state,
        retry_policy=_own_retry(own.retry),
        documentation=spec.documentation,
        metadata=spec.metadata or None,
        info=info,
    )


_NO_INACTIVITY = (
    "The configured inactivity_timeout {} will not be applied because the handler is exposed in Request/Response mode."
)


def _own(ms: int | None) -> str | None:
    return None if ms is None else in_words(ms)


def _retry(policy: RetryPolicy) -> ServiceRetryPolicy:
    return ServiceRetryPolicy(
        in_words(policy.initial_interval_ms),
        policy.factor,
        policy.max_attempts,
        in_words(policy.max_interval_ms),
        "Pause" if policy.on_max_attempts == "pause" else "Kill",
    )


def _own_retry(chosen: RetryChoices) -> HandlerRetryPolicy:
    return HandlerRetryPolicy(
        max_attempts=chosen.max_attempts,
        initial_interval=_own(chosen.initial_interval_ms),
        exponentiation_factor=chosen.factor,
        max_interval=_own(chosen.max_interval_ms),
        on_max_attempts=(
            None if chosen.on_max_attempts is None else "Pause" if chosen.on_max_attempts == "pause" else "Kill"
        ),
    )


def _described(rules: PayloadRules) -> str:
    if rules.content_type is None:
        return "none"
    schema = rules.json_schema
    if isinstance(schema, dict):
        if title := schema.get("title"):
            return f"JSON '{title}'"
        if kind := schema.get("type"):
            return f"JSON {kind}"
    return rules.content_type


def _shown_uri(uri: str) -> str:
    """The slash at the end of a path is the engine's own."""
    if urlsplit(uri).path == "/":
        return uri
    place, mark, query = uri.partition("?")
    return f"{place.removesuffix('/')}{mark}{query}"


def _rfc3339(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms // 1000, UTC):%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}000000Z"
