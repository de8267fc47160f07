"""Manifests: what each field means, what is refused and how it is said, the official SDK's own, and random ones."""

from __future__ import annotations

import copy
import datetime
import json
from typing import Any

import pytest
import restate
from hypothesis import given
from hypothesis import strategies as st
from restate.discovery import compute_discovery_json
from restate.endpoint import Endpoint
from restate.retry_policy import InvocationRetryPolicy

from perdure.model.errors import PerdureError
from perdure.model.retry import RetryChoices
from perdure.model.service import HandlerSpec, PayloadRules, Policies, ServiceSpec
from perdure.model.target import HandlerKind, ServiceKind
from perdure.wire.discovery import MEDIA_TYPES, BadManifest, Manifest, NoCommonVersion, ReservedName, read_manifest

V4 = MEDIA_TYPES[3]


def manifest(*services: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "protocolMode": "BIDI_STREAM",
        "minProtocolVersion": 5,
        "maxProtocolVersion": 6,
        "services": list(services),
        **fields,
    }


def service(*handlers: dict[str, Any], ty: str = "SERVICE", name: str = "Greeter", **fields: Any) -> dict[str, Any]:
    return {"name": name, "ty": ty, "handlers": list(handlers), **fields}


def read(value: object, content_type: str = V4) -> Manifest:
    return read_manifest(content_type, json.dumps(value).encode())


def read_service(value: dict[str, Any]) -> ServiceSpec:
    return read(manifest(value)).services[0]


def read_handler(value: dict[str, Any], ty: str = "SERVICE", **fields: Any) -> HandlerSpec:
    return read_service(service({"name": "greet", **value}, ty=ty, **fields)).handlers["greet"]


# --- what it means ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_the_smallest_of_each_version(media_type: str) -> None:
    found = read(manifest(service({"name": "greet"})), media_type)
    assert (found.protocol_mode, found.min_protocol_version, found.max_protocol_version) == ("BIDI_STREAM", 5, 6)
    greeter = found.services[0]
    assert (greeter.name, greeter.kind, greeter.public, greeter.chosen) == (
        "Greeter",
        ServiceKind.SERVICE,
        True,
        Policies(),
    )
    greet = greeter.handlers["greet"]
    assert greet.kind is HandlerKind.PLAIN
    assert greet.input == PayloadRules(content_type="*/*", required=False)
    assert greet.output == PayloadRules(content_type="application/json", set_content_type_if_empty=False)


@pytest.mark.parametrize(
    ("service_ty", "handler_ty", "kind"),
    [
        ("SERVICE", None, HandlerKind.PLAIN),
        ("SERVICE", "SHARED", HandlerKind.PLAIN),
        ("VIRTUAL_OBJECT", None, HandlerKind.EXCLUSIVE),
        ("VIRTUAL_OBJECT", "EXCLUSIVE", HandlerKind.EXCLUSIVE),
        ("VIRTUAL_OBJECT", "SHARED", HandlerKind.SHARED),
        ("WORKFLOW", "WORKFLOW", HandlerKind.RUN),
        ("WORKFLOW", None, HandlerKind.SHARED),
        ("WORKFLOW", "SHARED", HandlerKind.SHARED),
        ("SERVICE", "EXCLUSIVE", None),
        ("SERVICE", "WORKFLOW", None),
        ("VIRTUAL_OBJECT", "WORKFLOW", None),
        ("WORKFLOW", "EXCLUSIVE", None),
    ],
)
def test_kinds(service_ty: str, handler_ty: str | None, kind: HandlerKind | None) -> None:
    if kind is None:
        with pytest.raises(BadManifest, match="Greeter/greet is of type"):
            read_handler({"ty": handler_ty}, ty=service_ty)
    else:
        assert read_handler({"ty": handler_ty}, ty=service_ty).kind is kind


SETTINGS: dict[str, Any] = {
    "ingressPrivate": True,
    "enableLazyState": True,
    "inactivityTimeout": 1,
    "abortTimeout": 2,
    "journalRetention": 3,
    "idempotencyRetention": 4,
    "retryPolicyInitialInterval": 5,
    "retryPolicyMaxInterval": 6,
    "retryPolicyMaxAttempts": 7,
    "retryPolicyExponentiationFactor": 8.5,
    "retryPolicyOnMaxAttempts": "KILL",
}
CHOSEN = Policies(
    public=False,
    lazy_state=True,
    inactivity_timeout_ms=1,
    abort_timeout_ms=2,
    journal_retention_ms=3,
    idempotency_retention_ms=4,
    retry=RetryChoices(initial_interval_ms=5, max_interval_ms=6, max_attempts=7, factor=8.5, on_max_attempts="kill"),
)


def test_what_a_service_chooses_counts_for_its_handlers() -> None:
    greeter = read_service(service({"name": "greet"}, {"name": "other", "abortTimeout": 20}, **SETTINGS))
    assert (greeter.chosen, greeter.public) == (CHOSEN, False)
    greet, other = greeter.handlers["greet"], greeter.handlers["other"]
    assert greet.chosen == CHOSEN
    assert (greet.public, greet.inactivity_timeout_ms, greet.retry.max_attempts) == (False, 1, 7)
    assert (other.chosen.abort_timeout_ms, other.abort_timeout_ms, other.inactivity_timeout_ms) == (20, 20, 1)


def test_what_a_handler_chooses() -> None:
    assert read_handler(SETTINGS).chosen == CHOSEN
    run = read_handler({"workflowCompletionRetention": 9, "ty": "WORKFLOW"}, ty="WORKFLOW")
    assert run.chosen == Policies(workflow_completion_retention_ms=9)
    described = read_service(
        service({"name": "greet", "documentation": "d", "metadata": {"a": "b"}}, documentation="D", metadata={"c": "d"})
    )
    assert (described.documentation, described.metadata) == ("D", {"c": "d"})
    assert (described.handlers["greet"].documentation, described.handlers["greet"].metadata) == ("d", {"a": "b"})


def test_no_attempts_are_one() -> None:
    assert read_handler({"retryPolicyMaxAttempts": 0}).chosen.retry.max_attempts == 1


@pytest.mark.parametrize("content_type", ["*/*", "text/*", "application/json", "text/plain; charset=utf-8"])
def test_input(content_type: str) -> None:
    payload = {"contentType": content_type, "required": True, "jsonSchema": {"type": "string"}}
    assert read_handler({"input": payload}).input == PayloadRules(
        content_type=content_type, required=True, json_schema={"type": "string"}
    )


def test_a_payload_that_is_there_without_content_type_must_be_empty() -> None:
    handler = read_handler({"input": {}, "output": {"setContentTypeIfEmpty": False}})
    assert handler.input.content_type is None and handler.output.content_type is None


def test_output() -> None:
    payload = {"contentType": "text/plain", "setContentTypeIfEmpty": True, "jsonSchema": True}
    assert read_handler({"output": payload}).output == PayloadRules(
        content_type="text/plain", set_content_type_if_empty=True, json_schema=True
    )


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/A", "$defs": {"A": {"type": "string"}}},
        {"$id": "https://example.com/a", "items": {"$ref": "https://example.com/a#/x"}},
        {"properties": {"$ref": {"type": "string"}}},
        True,
        {},
    ],
)
def test_schemas_that_stand_for_themselves(schema: object) -> None:
    assert read_handler({"input": {"contentType": "*/*", "jsonSchema": schema}}).input.json_schema == schema


# --- what is refused --------------------------------------------------------------------------------------------------------


def refused(value: object, content_type: str = V4) -> PerdureError:
    with pytest.raises(PerdureError) as caught:
        read(value, content_type)
    return caught.value


@pytest.mark.parametrize(
    "content_type",
    ["", "application/json", f"{V4}; charset=utf-8", V4.upper(), "application/vnd.restate.endpointmanifest.v5+json"],
)
def test_content_types_of_the_response(content_type: str) -> None:
    assert refused(manifest(), content_type).code == "META0013"


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ([], "Expected `object`"),
        (manifest(extra=1), "unknown field `extra`"),
        (manifest(service(extra=1)), "unknown field `extra` - at `$.services[0]`"),
        (manifest(service({"name": "greet", "extra": 1})), "unknown field `extra` - at `$.services[0].handlers[0]`"),
        (manifest(service({"name": "greet", "input": {"setContentTypeIfEmpty": True}})), "unknown field"),
        (manifest(service({"name": "greet", "output": {"required": True}})), "unknown field"),
        (manifest(service(workflowCompletionRetention=1, ty="WORKFLOW")), "unknown field"),
        (manifest(service({"name": "greet", "eagerStateKeysWhitelist": ["a"]})), "unknown field"),
        ({"minProtocolVersion": 5, "maxProtocolVersion": 6, "services": []}, "protocolMode is missing"),
        (manifest(protocolMode="OTHER"), "protocolMode"),
        (manifest(minProtocolVersion=0), "minProtocolVersion"),
        (manifest(minProtocolVersion="5"), "minProtocolVersion"),
        (manifest(minProtocolVersion=5.5), "minProtocolVersion"),
        (manifest(minProtocolVersion=7, maxProtocolVersion=6), "minProtocolVersion 7 is greater"),
        (manifest(lambdaCompression="gzip"), "lambdaCompression"),
        (manifest(service(ty="OTHER")), "ty"),
        (manifest(service(name="")), "name"),
        (manifest(service(name="a/b")), "name"),
        (manifest(service(name="1a")), "name"),
        (manifest(service(name="_.a")), "name"),
        (manifest(service(name="a\n")), "name"),
        (manifest(service({"name": "a.b"})), "name"),
        (manifest(service({"name": "greet\n"})), "name"),
        (manifest(service(), service()), "the service 'Greeter' is there twice"),
        (manifest(service({"name": "greet"}, {"name": "greet"})), "the handler 'Greeter/greet' is there twice"),
        (manifest(service({"name": "greet", "workflowCompletionRetention": 1})), "not the run handler"),
        (
            manifest(service({"name": "run", "ty": "WORKFLOW", "idempotencyRetention": 1}, ty="WORKFLOW")),
            "no idempotencyRetention",
        ),
        (manifest(service(inactivityTimeout=-1)), "inactivityTimeout"),
        (manifest(service(retryPolicyOnMaxAttempts="DROP")), "retryPolicyOnMaxAttempts"),
        (manifest(service(metadata={"a": 1})), "metadata"),
        (manifest(service({"name": "greet", "input": {"contentType": "*/json"}})), "content type '*/json'"),
        (manifest(service({"name": "greet", "input": {"contentType": "json"}})), "content type 'json'"),
        (manifest(service({"name": "greet", "output": {"contentType": "a\r\nb: c"}})), "no header can hold"),
        (manifest(service({"name": "greet", "input": {"jsonSchema": 3}})), "neither an object nor a boolean"),
        (
            manifest(service({"name": "greet", "output": {"jsonSchema": {"items": [{"$ref": "http://x/y"}]}}})),
            "refers to 'http://x/y'",
        ),
    ],
)
def test_manifests_that_are_none(bad: object, said: str) -> None:
    error = refused(bad)
    assert (type(error), error.code) == (BadManifest, "META0013")
    assert said in str(error)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"null", b"[" * 100_000])
def test_bytes_that_are_no_manifest(body: bytes) -> None:
    with pytest.raises(BadManifest):
        read_manifest(V4, body)


@pytest.mark.parametrize(("lowest", "highest"), [(1, 4), (8, 9)])
def test_no_version_in_common(lowest: int, highest: int) -> None:
    error = refused(manifest(minProtocolVersion=lowest, maxProtocolVersion=highest))
    assert (type(error), error.code) == (NoCommonVersion, "META0012")
    assert f"{lowest} to {highest}" in str(error) and "5 to 7" in str(error)


@pytest.mark.parametrize(("lowest", "highest"), [(1, 5), (5, 7), (7, 100), (6, 6)])
def test_one_version_in_common_is_enough(lowest: int, highest: int) -> None:
    assert read(manifest(minProtocolVersion=lowest, maxProtocolVersion=highest)).max_protocol_version == highest


@pytest.mark.parametrize("name", ["restate", "Restate", "restateThings", "RESTATE_x", "openapi", "OpenAPI"])
def test_reserved_names(name: str) -> None:
    error = refused(manifest(service(name=name)))
    assert (type(error), error.code) == (ReservedName, "META0005")


def test_names_that_are_like_reserved_ones() -> None:
    assert read_service(service(name="openapi2")).name == "openapi2"
    assert read_service(service(name="a.restate-b_1")).name == "a.restate-b_1"


# --- the official SDK's -----------------------------------------------------------------------------------------------------


def official(version: int) -> Manifest:
    endpoint = Endpoint()  # type: ignore[no-untyped-call]
    settings: dict[str, Any] = {}
    if version >= 3:
        settings |= {
            "inactivity_timeout": datetime.timedelta(seconds=3),
            "journal_retention": datetime.timedelta(0),
            "ingress_private": True,
            "enable_lazy_state": True,
        }
    if version >= 4:
        settings["invocation_retry_policy"] = InvocationRetryPolicy(max_attempts=3, on_max_attempts="kill")
    counter = restate.VirtualObject("Counter", **settings)
    flow = restate.Workflow("Flow")

    @counter.handler()
    async def add(ctx: restate.ObjectContext, number: int) -> int:
        return number

    @counter.handler(kind="shared")
    async def get(ctx: restate.ObjectSharedContext) -> None:
        return None

    @flow.main()
    async def run(ctx: restate.WorkflowContext, data: bytes) -> bytes:
        return data

    endpoint.bind(counter, flow)
    body = compute_discovery_json(endpoint, version, "bidi").encode()
    return read_manifest(MEDIA_TYPES[version - 1], body)


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_the_manifest_of_the_official_sdk(version: int) -> None:
    found = official(version)
    counter, flow = found.services
    assert (counter.kind, flow.kind) == (ServiceKind.VIRTUAL_OBJECT, ServiceKind.WORKFLOW)
    assert {name: handler.kind for name, handler in counter.handlers.items()} == {
        "add": HandlerKind.EXCLUSIVE,
        "get": HandlerKind.SHARED,
    }
    assert counter.handlers["add"].input == PayloadRules(
        content_type="application/json", json_schema={"type": "integer"}
    )
    assert counter.handlers["get"].input == PayloadRules(content_type=None)
    assert counter.handlers["get"].output == PayloadRules(content_type=None)
    assert flow.handlers["run"].kind is HandlerKind.RUN
    assert found.max_protocol_version == 7
    if version == 4:
        assert counter.chosen == Policies(
            public=False,
            lazy_state=True,
            inactivity_timeout_ms=3000,
            journal_retention_ms=0,
            retry=RetryChoices(max_attempts=3, on_max_attempts="kill"),
        )


# --- random ones ------------------------------------------------------------------------------------------------------------

FULL = manifest(
    service(
        {"name": "greet", "ty": "SHARED", "input": {"contentType": "*/*", "jsonSchema": {}}, "output": {}, **SETTINGS},
        **SETTINGS,
        documentation="d",
        metadata={"a": "b"},
    ),
    service({"name": "run", "ty": "WORKFLOW", "workflowCompletionRetention": 1}, ty="WORKFLOW", name="Flow"),
    lambdaCompression="zstd",
)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)


def places(value: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    inner: list[tuple[object, object]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [path, *(place for key, part in inner for place in places(part, (*path, key)))]


@given(st.sampled_from(places(FULL)[1:]), json_values)
def test_any_value_in_any_place_is_understood_or_refused(place: tuple[Any, ...], value: object) -> None:
    changed: Any = copy.deepcopy(FULL)
    parent = changed
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = value
    try:
        found = read(changed)
    except PerdureError as error:
        assert error.code in ("META0013", "META0012", "META0005")
    else:
        assert all(spec.name == name for each in found.services for name, spec in each.handlers.items())


@given(st.one_of(st.binary(max_size=200), json_values.map(lambda value: json.dumps(value).encode())))
def test_any_bytes(body: bytes) -> None:
    with pytest.raises(BadManifest):
        read_manifest(V4, body)


def test_the_full_one_is_understood() -> None:
    assert [each.name for each in read(FULL).services] == ["Greeter", "Flow"]
