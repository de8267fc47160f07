"""What a deployment says of itself: its manifest, versions 1 to 4 of the discovery protocol, as services and handlers.

What always holds: nothing unknown is passed over, so a manifest that is accepted means what it says. Pure: it neither asks
the deployment nor knows what else is registered. Every version has the fields of the last; older ones only use fewer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal, TypeAlias

import msgspec
from msgspec import Meta

from perdure.model.errors import PerdureError
from perdure.model.retry import RetryChoices
from perdure.model.service import HandlerSpec, PayloadRules, Policies, ServiceSpec
from perdure.model.target import HandlerKind, ServiceKind
from perdure.wire.messages import VERSION_MAX, VERSION_MIN

MEDIA_TYPES = tuple(f"application/vnd.restate.endpointmanifest.v{version}+json" for version in (1, 2, 3, 4))

ProtocolMode: TypeAlias = Literal["BIDI_STREAM", "REQUEST_RESPONSE"]


class BadManifest(PerdureError):
    """The response to discovery is not what the protocol says."""

    code = "META0013"
    status: ClassVar[int] = 500

    def __init__(self, what: str) -> None:
        super().__init__(
            f"bad discovery response: {what}.",
            "See that the address is that of an SDK's endpoint, of a current version.",
        )


class NoCommonVersion(PerdureError):
    code = "META0012"
    status: ClassVar[int] = 500

    def __init__(self, lowest: int, highest: int) -> None:
        super().__init__(
            f"the deployment speaks versions {lowest} to {highest} of the service protocol, "
            f"this server {VERSION_MIN} to {VERSION_MAX}.",
            "Upgrade the older of the two: the SDK, or this server.",
        )


class ReservedName(PerdureError):
    code = "META0005"
    status: ClassVar[int] = 400

    def __init__(self, service: str) -> None:
        super().__init__(
            f"the name '{service}' is reserved: 'openapi' and names that begin with 'restate' are.",
            "Give the service another name.",
        )


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Shapes: of the services and handlers, `chosen` holds what the manifest chose; the rest is resolved without a node."""

    protocol_mode: ProtocolMode
    min_protocol_version: int
    max_protocol_version: int
    services: list[ServiceSpec]


def read_manifest(content_type: str, body: bytes) -> Manifest:
    """Errors: BadManifest (META0013), NoCommonVersion (META0012), ReservedName (META0005)."""
    if content_type not in MEDIA_TYPES:
        said = f"its content type is '{content_type}'" if content_type else "it has no content type"
        raise BadManifest(f"{said}, not one of {', '.join(MEDIA_TYPES)}")
    try:
        endpoint = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as why:
        raise BadManifest(str(why)) from None
    lowest, highest = endpoint.min_protocol_version, endpoint.max_protocol_version
    if endpoint.protocol_mode is None:
        raise BadManifest("protocolMode is missing")
    if lowest > highest:
        raise BadManifest(f"minProtocolVersion {lowest} is greater than maxProtocolVersion {highest}")
    if highest < VERSION_MIN or lowest > VERSION_MAX:
        raise NoCommonVersion(lowest, highest)
    _check_unique("service", (service.name for service in endpoint.services))
    return Manifest(
        protocol_mode=endpoint.protocol_mode,
        min_protocol_version=lowest,
        max_protocol_version=highest,
        services=[_service(service) for service in endpoint.services],
    )


# --- the JSON ---------------------------------------------------------------------------------------------------------------

_Ms: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Version: TypeAlias = Annotated[int, Meta(ge=1, le=2**31 - 1)]
_ServiceName: TypeAlias = Annotated[str, Meta(pattern=r"^([a-zA-Z]|_[a-zA-Z0-9])[a-zA-Z0-9._-]*\Z")]
_HandlerName: TypeAlias = Annotated[str, Meta(pattern=r"^([a-zA-Z]|_[a-zA-Z0-9])[a-zA-Z0-9_]*\Z")]


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    pass


class _Settings(_Strict, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What services and handlers have in common."""

    documentation: str | None = None
    metadata: dict[str, str] | None = None
    inactivity_timeout: _Ms | None = None
    abort_timeout: _Ms | None = None
    journal_retention: _Ms | None = None
    idempotency_retention: _Ms | None = None
    enable_lazy_state: bool | None = None
    ingress_private: bool | None = None
    retry_policy_initial_interval: _Ms | None = None
    retry_policy_max_interval: _Ms | None = None
    retry_policy_max_attempts: _Ms | None = None
    retry_policy_exponentiation_factor: Annotated[float, Meta(ge=0)] | None = None
    retry_policy_on_max_attempts: Literal["PAUSE", "KILL"] | None = None

    def policies(self) -> Policies:
        attempts = self.retry_policy_max_attempts
        return Policies(
            public=None if self.ingress_private is None else not self.ingress_private,
            lazy_state=self.enable_lazy_state,
            inactivity_timeout_ms=self.inactivity_timeout,
            abort_timeout_ms=self.abort_timeout,
            journal_retention_ms=self.journal_retention,
            idempotency_retention_ms=self.idempotency_retention,
            retry=RetryChoices(
                initial_interval_ms=self.retry_policy_initial_interval,
                factor=self.retry_policy_exponentiation_factor,
                max_interval_ms=self.retry_policy_max_interval,
                max_attempts=None if attempts is None else max(1, attempts),
                on_max_attempts=_ON_MAX_ATTEMPTS[self.retry_policy_on_max_attempts],
            ),
        )


class _Payload(_Strict, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    content_type: str | None = None
    json_schema: object = msgspec.UNSET


class _Input(_Payload, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    required: bool | None = None


class _Output(_Payload, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    set_content_type_if_empty: bool | None = None


class _Handler(_Settings, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    name: _HandlerName
    ty: Literal["WORKFLOW", "EXCLUSIVE", "SHARED"] | None = None
    input: _Input | None = None
    output: _Output | None = None
    workflow_completion_retention: _Ms | None = None


class _Service(_Settings, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    name: _ServiceName
    ty: Literal["SERVICE", "VIRTUAL_OBJECT", "WORKFLOW"]
    handlers: list[_Handler]


class _Endpoint(_Strict, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    protocol_mode: ProtocolMode | None = None
    min_protocol_version: _Version
    max_protocol_version: _Version
    lambda_compression: Literal["zstd"] | None = None
    services: list[_Service]


_DECODER = msgspec.json.Decoder(_Endpoint)

_ON_MAX_ATTEMPTS: dict[Literal["PAUSE", "KILL"] | None, Literal["pause", "kill"] | None] = {
    "PAUSE": "pause",
    "KILL": "kill",
    None: None,
}

# --- its meaning ------------------------------------------------------------------------------------------------------------

_SERVICE_KINDS = {
    "SERVICE": ServiceKind.SERVICE,
    "VIRTUAL_OBJECT": ServiceKind.VIRTUAL_OBJECT,
    "WORKFLOW": ServiceKind.WORKFLOW,
}
_HANDLER_KINDS: dict[tuple[ServiceKind, str | None], HandlerKind] = {
    (ServiceKind.SERVICE, None): HandlerKind.PLAIN,
    (ServiceKind.SERVICE, "SHARED"): HandlerKind.PLAIN,
    (ServiceKind.VIRTUAL_OBJECT, None): HandlerKind.EXCLUSIVE,
    (ServiceKind.VIRTUAL_OBJECT, "EXCLUSIVE"): HandlerKind.EXCLUSIVE,
    (ServiceKind.VIRTUAL_OBJECT, "SHARED"): HandlerKind.SHARED,
    (ServiceKind.WORKFLOW, "WORKFLOW"): HandlerKind.RUN,
    (ServiceKind.WORKFLOW, None): HandlerKind.SHARED,  # as Restate's server has it, whatever its schema says
    (ServiceKind.WORKFLOW, "SHARED"): HandlerKind.SHARED,
}
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_MEDIA_RANGE = re.compile(rf"\*/\*|(?!\*/){_TOKEN}/{_TOKEN}(\s*;.*)?")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]+")


def _service(service: _Service) -> ServiceSpec:
    if service.name.lower().startswith("restate") or service.name.lower() == "openapi":
        raise ReservedName(service.name)
    _check_unique("handler", (f"{service.name}/{handler.name}" for handler in service.handlers))
    kind = _SERVICE_KINDS[service.ty]
    chosen = service.policies()
    return ServiceSpec(
        name=service.name,
        kind=kind,
        handlers={handler.name: _handler(service.name, kind, chosen, handler) for handler in service.handlers},
        public=chosen.public is not False,
        documentation=service.documentation,
        metadata=service.metadata,
        chosen=chosen,
    )


def _handler(service: str, service_kind: ServiceKind, general: Policies, handler: _Handler) -> HandlerSpec:
    where = f"{service}/{handler.name}"
    kind = _HANDLER_KINDS.get((service_kind, handler.ty))
    if kind is None:
        raise BadManifest(f"{where} is of type {handler.ty}, which a {service_kind.name.lower()} cannot have")
    if handler.workflow_completion_retention is not None and kind is not HandlerKind.RUN:
        raise BadManifest(f"{where} has a workflowCompletionRetention, but is not the run handler of a workflow")
    if handler.idempotency_retention is not None and kind is HandlerKind.RUN:
        raise BadManifest(f"{where} is the run handler of a workflow, which has no idempotencyRetention")
    chosen = msgspec.structs.replace(
        handler.policies(), workflow_completion_retention_ms=handler.workflow_completion_retention
    ).before(general)
    spec = HandlerSpec(
        name=handler.name,
        kind=kind,
        input=_input(where, handler.input),
        output=_output(where, handler.output),
        documentation=handler.documentation,
        metadata=handler.metadata,
        chosen=chosen,
    )
    return spec.resolved(HandlerSpec(name=handler.name, kind=kind))


def _input(where: str, payload: _Input | None) -> PayloadRules:
    if payload is None:
        return PayloadRules(content_type="*/*")
    if payload.content_type is not None and not _MEDIA_RANGE.fullmatch(payload.content_type):
        raise BadManifest(f"the input of {where} has the content type {payload.content_type!r}, which is none")
    return PayloadRules(
        content_type=payload.content_type,
        required=bool(payload.required),
        json_schema=_schema(f"the input of {where}", payload.json_schema),
    )


def _output(where: str, payload: _Output | None) -> PayloadRules:
    if payload is None:
        return PayloadRules(content_type="application/json")
    if payload.content_type is not None and not _HEADER_VALUE.fullmatch(payload.content_type):
        raise BadManifest(
            f"the output of {where} has the content type {payload.content_type!r}, which no header can hold"
        )
    return PayloadRules(
        content_type=payload.content_type,
        json_schema=_schema(f"the output of {where}", payload.json_schema),
        set_content_type_if_empty=bool(payload.set_content_type_if_empty),
    )


def _schema(where: str, schema: object) -> object | None:
    if schema is msgspec.UNSET or schema is None:
        return None
    if not isinstance(schema, dict | bool):
        raise BadManifest(f"the JSON schema of {where} is neither an object nor a boolean")
    own, references = {""}, set[str]()
    left: list[object] = [schema]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            if isinstance(part.get("$id"), str):
                own.add(part["$id"].partition("#")[0])
            references.update(part[name].partition("#")[0] for name in _REFERENCES if isinstance(part.get(name), str))
            left.extend(part.values())
        elif isinstance(part, list):
            left.extend(part)
    if foreign := sorted(references - own):
        raise BadManifest(f"the JSON schema of {where} refers to {foreign[0]!r}, which is not part of it")
    return schema


_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")


def _check_unique(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise BadManifest(f"the {what} '{name}' is there twice")
        seen.add(name)
