"""The manifest says what the author chose and nothing else, in a form that strict readers take."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

import perdure
from perdure.endpoint.discovery import MEDIA_TYPE, NotExpressible, accepted_version, manifest
from perdure.wire.discovery import read_manifest
from tests.endpoint.services import app

SECOND = timedelta(seconds=1)

plain = perdure.Service("Plain", description="what it is", metadata={"team": "a"}, idempotency_retention=SECOND)


@plain.handler(ingress_private=True, inactivity_timeout=SECOND, abort_timeout=2 * SECOND, metadata={"k": "v"})
async def greet(ctx: perdure.Context, name: str) -> str:
    return name


@plain.handler()
async def nothing(ctx: perdure.Context) -> None:
    return None


flow = perdure.Workflow("Flow", enable_lazy_state=True)


@flow.main(workflow_retention=3 * SECOND)
async def run(ctx: perdure.WorkflowContext) -> int:
    return 1


@flow.handler()
async def ask(ctx: perdure.WorkflowSharedContext) -> int:
    return 1


retried = perdure.InvocationRetryPolicy(SECOND, 1.5, 9 * SECOND, 4, "kill")
chosen = perdure.app([plain, flow], invocation_retry_policy=retried, journal_retention=5 * SECOND)


def service(name: str, version: int = 4) -> dict[str, Any]:
    described = manifest(chosen.services(), "BIDI_STREAM", version)
    found: dict[str, Any] = next(each for each in described["services"] if each["name"] == name)
    return found


def test_a_strict_reader_finds_the_same_services() -> None:
    for described in (chosen, app):
        body = json.dumps(manifest(described.services(), "REQUEST_RESPONSE")).encode()
        read = read_manifest(MEDIA_TYPE.format(4), body)
        assert (read.protocol_mode, read.min_protocol_version, read.max_protocol_version) == ("REQUEST_RESPONSE", 5, 7)
        for ours, theirs in zip(described.services(), read.services, strict=True):
            assert (ours.name, ours.kind, list(ours.handlers)) == (theirs.name, theirs.kind, list(theirs.handlers))
            for name, handler in ours.handlers.items():
                assert handler.kind is theirs.handlers[name].kind
                assert handler.input == theirs.handlers[name].input
                assert handler.output == theirs.handlers[name].output


def test_what_was_chosen_is_said() -> None:
    said = service("Plain")
    assert (said["documentation"], said["metadata"]) == ("what it is", {"team": "a"})
    assert said["idempotencyRetention"] == 1000 and said["journalRetention"] == 5000
    assert "enableLazyState" not in said and "ingressPrivate" not in said
    handler = said["handlers"][0]
    assert (handler["ingressPrivate"], handler["inactivityTimeout"], handler["abortTimeout"]) == (True, 1000, 2000)
    assert handler["metadata"] == {"k": "v"}
    retry = {name: value for name, value in handler.items() if name.startswith("retryPolicy")}
    assert retry == {
        "retryPolicyInitialInterval": 1000,
        "retryPolicyExponentiationFactor": 1.5,
        "retryPolicyMaxInterval": 9000,
        "retryPolicyMaxAttempts": 4,
        "retryPolicyOnMaxAttempts": "KILL",
    }
    assert said["handlers"][1]["input"] == {} and said["handlers"][1]["output"] == {"setContentTypeIfEmpty": False}


def test_what_was_not_chosen_is_left_to_the_server() -> None:
    bare = manifest(perdure.app([plain]).services(), "BIDI_STREAM")["services"][0]["handlers"][1]
    assert set(bare) == {"name", "input", "output", "idempotencyRetention"}


def test_a_workflow_keeps_its_result_by_a_setting_of_its_own() -> None:
    main, shared = service("Flow")["handlers"]
    assert (main["ty"], main["workflowCompletionRetention"]) == ("WORKFLOW", 3000)
    assert "idempotencyRetention" not in main
    assert shared["ty"] == "SHARED" and "workflowCompletionRetention" not in shared
    assert service("Flow")["enableLazyState"] is True


@pytest.mark.parametrize(("version", "missing"), [(3, "retryPolicy"), (2, "journalRetention")])
def test_an_older_form_that_cannot_say_it_is_refused(version: int, missing: str) -> None:
    with pytest.raises(NotExpressible, match=missing):
        service("Plain", version)


def test_an_older_form_of_what_it_can_say() -> None:
    old = perdure.app([perdure.Service("Old", description="not said")])
    assert manifest(old.services(), "BIDI_STREAM", 1)["services"] == [{"name": "Old", "ty": "SERVICE", "handlers": []}]


def test_the_newest_form_that_both_know_is_taken() -> None:
    accept = ",".join(MEDIA_TYPE.format(version) for version in (1, 2, 3))
    assert accepted_version(accept) == 3
    assert accepted_version(MEDIA_TYPE.format(5) + "," + MEDIA_TYPE.format(2)) == 2
    assert accepted_version("*/*") is None
