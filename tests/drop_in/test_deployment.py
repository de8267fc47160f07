"""An app as a deployment of a Restate server; `tests/endpoint` has the real server."""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

import pytest

import perdure as restate
from perdure.aws_lambda import is_running_on_lambda, wrap_asgi_as_lambda_handler
from perdure.endpoint import Endpoint
from perdure.sdk.errors import ServiceProtocolNeeded
from tests.drop_in.programs import app, machine, work

DISCOVER = {"accept": "application/vnd.restate.endpointmanifest.v4+json"}


async def ask(application: restate.App, scope: dict[str, Any]) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    await application(scope, receive, send)
    return said


async def test_an_app_is_an_asgi_application_that_can_be_discovered() -> None:
    headers = [(name.encode(), value.encode()) for name, value in DISCOVER.items()]
    scope = {"type": "http", "path": "/prefix/discover", "http_version": "2", "headers": headers}
    start, body = await ask(app, scope)
    assert start["status"] == 200
    manifest = json.loads(body["body"])
    assert manifest["protocolMode"] == "BIDI_STREAM"
    assert {service["name"] for service in manifest["services"]} >= {"Work", "Machine"}


async def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "perdure.endpoint.asgi", raising=False)
    monkeypatch.delitem(sys.modules, "perdure.endpoint.machine", raising=False)
    monkeypatch.setitem(sys.modules, "restate", None)
    fresh = restate.app([work])
    with pytest.raises(ServiceProtocolNeeded, match=r"perdure\[restate\]"):
        await ask(fresh, {"type": "http", "path": "/discover", "http_version": "2", "headers": []})
    said = await ask(fresh, {"type": "lifespan"})
    assert said[0]["type"] == "lifespan.startup.failed" and "PD0419" in said[0]["message"]


def test_aws_lambda(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = wrap_asgi_as_lambda_handler(app)
    event: Any = {"path": "/discover", "httpMethod": "GET", "headers": DISCOVER, "body": "", "isBase64Encoded": True}
    answer = handler(event, None)
    assert answer["statusCode"] == 200
    assert json.loads(base64.b64decode(answer["body"]))["protocolMode"] == "REQUEST_RESPONSE"
    assert not is_running_on_lambda()
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "f")
    assert is_running_on_lambda()


async def test_an_endpoint_builds_the_same_app() -> None:
    endpoint = Endpoint()
    assert endpoint.bind(work, machine).streaming_protocol() is endpoint
    endpoint.identity_key("publickeyv1_x")
    with pytest.raises(ValueError, match="Work"):
        endpoint.bind(work)
    built = endpoint.app()
    assert (built.protocol, built.identity_keys) == ("bidi", ["publickeyv1_x"])
    assert {service.name for service in built.services()} == {"Work", "Machine"}
    async with restate.create_test_harness(built) as env:
        assert await env.client.generic_call("Work", "length", b'"four"') == b"4"
