"""From path segments to the handler they name: which shape a path must have depends on the kind of its service.

Services, handlers and idempotency keys stand in a path as they are; keys are percent-decoded.
"""

from __future__ import annotations

import string

from perdure.http.ingress.refusals import RESTATE_PATH, SERVICE_PATH, bad_request, bad_shape
from perdure.http.ingress.request import decode_segment
from perdure.model import limits
from perdure.model.service import HandlerSpec, ServiceSpec
from perdure.model.target import ServiceKind, Target
from perdure.node.errors import HandlerNotFound, ServiceNotFound
from perdure.node.registry import Registry

SCOPE_CHARS_MAX = 36
_SCOPE_CHARACTERS = frozenset(string.ascii_letters + string.digits + "_.-")


def resolve_path(registry: Registry, service: str, rest: list[str]) -> tuple[Target, HandlerSpec, bool]:
    """`/Service/handler`, `/Object/key/handler`, each with `/send` behind it or not; the flag says whether it was there.

    Errors: RequestRefused, ServiceNotFound, HandlerNotFound.
    """
    last = rest[-1]
    spec = service_by_hint(registry, service, rest[-2] if last == "send" and len(rest) > 1 else last)
    wanted = 1 if spec.kind is ServiceKind.SERVICE else 2
    if len(rest) == wanted:
        return *_target(spec, rest, SERVICE_PATH), False
    if len(rest) == wanted + 1 and last == "send":
        return *_target(spec, rest[:-1], SERVICE_PATH), True
    raise bad_shape(SERVICE_PATH)


def resolve_restate_path(registry: Registry, segments: list[str]) -> tuple[Target, HandlerSpec]:
    """What follows `/restate/call/` or `/restate/send/`: `Service/handler` or `Object/key/handler`."""
    if len(segments) < 2:
        raise bad_shape(RESTATE_PATH)
    spec = service_by_hint(registry, segments[0], segments[-1])
    if len(segments) != (2 if spec.kind is ServiceKind.SERVICE else 3):
        raise bad_shape(RESTATE_PATH)
    return _target(spec, segments[1:], RESTATE_PATH)


def service_by_hint(registry: Registry, service: str, handler: str) -> ServiceSpec:
    """The service; found at once when `handler` is one of its handlers. Errors: ServiceNotFound."""
    try:
        return registry.resolve(service, handler)[0]
    except HandlerNotFound:
        return named_service(registry, service)


def named_service(registry: Registry, service: str) -> ServiceSpec:
    """Errors: ServiceNotFound."""
    for spec in registry.services():
        if spec.name == service:
            return spec
    raise ServiceNotFound(service)


def decoded_key(segment: str) -> str:
    """Errors: RequestRefused when the key is too long, or not UTF-8."""
    key = decode_segment(segment)
    if len(key) > limits.KEY_BYTES_MAX or len(key.encode()) > limits.KEY_BYTES_MAX:
        raise bad_request(f"the key is longer than the limit of {limits.KEY_BYTES_MAX} bytes")
    return key


def check_scoped(registry: Registry, segments: list[str]) -> None:
    """What follows `/restate/scope/`: whether it could be invoked, if this server had scopes.

    Errors: RequestRefused, ServiceNotFound, HandlerNotFound.
    """
    if len(segments) < 4 or segments[1] not in ("call", "send"):
        raise bad_shape(RESTATE_PATH)
    check_scope(decode_segment(segments[0]))
    resolve_restate_path(registry, segments[2:])


def check_scope(scope: str) -> None:
    """Errors: RequestRefused for what could be no scope anywhere."""
    if not scope:
        raise bad_request("bad scope value: value cannot be empty")
    if len(scope.encode()) > SCOPE_CHARS_MAX:
        raise bad_request(f"bad scope value: value too long: {len(scope.encode())} bytes (max {SCOPE_CHARS_MAX})")
    if not _SCOPE_CHARACTERS.issuperset(scope):
        raise bad_request("bad scope value: value contains characters outside the allowed set [a-zA-Z0-9_.-]")


def _target(spec: ServiceSpec, rest: list[str], expected: str) -> tuple[Target, HandlerSpec]:
    name = rest[-1]
    handler = spec.handlers.get(name)
    key = decoded_key(rest[0]) if len(rest) == 2 else None
    if handler is None:
        raise HandlerNotFound(spec.name, name)
    if not handler.public:
        raise bad_request("the invoked service is not public")
    return Target(spec.name, key, name), handler
