"""What a Restate server is told of an app when it is registered: the manifest of its services and handlers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal

from perdure.model.service import HandlerSpec, PayloadRules, Policies, ServiceSpec
from perdure.model.target import HandlerKind, ServiceKind

ProtocolMode = Literal["BIDI_STREAM", "REQUEST_RESPONSE"]
MEDIA_TYPE = "application/vnd.restate.endpointmanifest.v{}+json"
VERSIONS = (4, 3, 2, 1)
"""Of the manifest's form, the one preferred first."""
PROTOCOL_VERSIONS = (5, 7)
"""Of the service protocol: what the state machine speaks."""

_KINDS: Mapping[HandlerKind, str | None] = MappingProxyType(
    {
        HandlerKind.PLAIN: None,
        HandlerKind.EXCLUSIVE: "EXCLUSIVE",
        HandlerKind.SHARED: "SHARED",
        HandlerKind.RUN: "WORKFLOW",
    }
)
_POLICIES = MappingProxyType(
    {
        "inactivityTimeout": "inactivity_timeout_ms",
        "abortTimeout": "abort_timeout_ms",
        "journalRetention": "journal_retention_ms",
        "idempotencyRetention": "idempotency_retention_ms",
        "enableLazyState": "lazy_state",
    }
)
_RETRY = MappingProxyType(
    {
        "retryPolicyInitialInterval": "initial_interval_ms",
        "retryPolicyExponentiationFactor": "factor",
        "retryPolicyMaxInterval": "max_interval_ms",
        "retryPolicyMaxAttempts": "max_attempts",
    }
)


class NotExpressible(ValueError):
    """An older form of the manifest cannot say what the app's author chose; `str()` says what."""


def accepted_version(accept: str) -> int | None:
    """The newest form that the server takes and we give; None: there is none."""
    offered = {int(number) for number in re.findall(r"vnd\.restate\.endpointmanifest\.v(\d+)\+json", accept)}
    return next((version for version in VERSIONS if version in offered), None)


def manifest(services: Iterable[ServiceSpec], mode: ProtocolMode, version: int = VERSIONS[0]) -> dict[str, Any]:
    """Errors: NotExpressible."""
    return {
        "protocolMode": mode,
        "minProtocolVersion": PROTOCOL_VERSIONS[0],
        "maxProtocolVersion": PROTOCOL_VERSIONS[1],
        "services": [_service(service, version) for service in services],
    }


def _service(service: ServiceSpec, version: int) -> dict[str, Any]:
    described = {
        "name": service.name,
        "ty": service.kind.name,
        "handlers": [_handler(service, handler, version) for handler in service.handlers.values()],
        **_policies(service.chosen, version, service.name),
    }
    if service.kind is ServiceKind.SERVICE:
        described.pop("enableLazyState", None)
    return described | _notes(service, version)


def _handler(service: ServiceSpec, handler: HandlerSpec, version: int) -> dict[str, Any]:
    described: dict[str, Any] = {"name": handler.name}
    if (kind := _KINDS[handler.kind]) is not None:
        described["ty"] = kind
    described |= {"input": _input(handler.input), "output": _output(handler.output)}
    described |= _policies(handler.chosen, version, f"{service.name}/{handler.name}")
    if handler.kind is HandlerKind.RUN:
        described.pop("idempotencyRetention", None)
        retention_ms = handler.chosen.workflow_completion_retention_ms
        if retention_ms is not None and version >= 3:
            described["workflowCompletionRetention"] = retention_ms
    if handler.kind is HandlerKind.PLAIN:
        described.pop("enableLazyState", None)
    return described | _notes(handler, version)


def _notes(spec: ServiceSpec | HandlerSpec, version: int) -> dict[str, Any]:
    notes = {"documentation": spec.documentation, "metadata": spec.metadata} if version >= 2 else {}
    return {name: note for name, note in notes.items() if note}


def _input(rules: PayloadRules) -> dict[str, Any]:
    if rules.content_type is None:
        return {}
    described: dict[str, Any] = {"required": rules.required, "contentType": rules.content_type}
    if rules.json_schema is not None:
        described["jsonSchema"] = rules.json_schema
    return described


def _output(rules: PayloadRules) -> dict[str, Any]:
    described: dict[str, Any] = {"setContentTypeIfEmpty": rules.set_content_type_if_empty}
    if rules.content_type is not None:
        described["contentType"] = rules.content_type
        if rules.json_schema is not None:
            described["jsonSchema"] = rules.json_schema
    return described


def _policies(chosen: Policies, version: int, what: str) -> dict[str, Any]:
    """What was chosen; what was not is left to the server. Units: milliseconds."""
    named = {name: getattr(chosen, field) for name, field in _POLICIES.items()}
    named["ingressPrivate"] = None if chosen.public is None else not chosen.public
    retry = {name: getattr(chosen.retry, field) for name, field in _RETRY.items()}
    on_max = chosen.retry.on_max_attempts
    retry["retryPolicyOnMaxAttempts"] = None if on_max is None else on_max.upper()
    for needed, group in ((3, named), (4, retry)):
        given = [name for name, value in group.items() if value is not None]
        if given and version < needed:
            raise NotExpressible(
                f"{what} sets {', '.join(given)}: that needs form {needed} of the manifest, not {version}"
            )
    return {name: value for name, value in {**named, **retry}.items() if value is not None}
