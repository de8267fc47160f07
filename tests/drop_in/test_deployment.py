"""What needs Restate's service protocol is importable, and says one clear thing when it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import perdure as restate
from perdure.aws_lambda import is_running_on_lambda, wrap_asgi_as_lambda_handler
from perdure.endpoint import Endpoint
from perdure.sdk.errors import ServiceProtocolNeeded
from tests.drop_in.programs import app, machine, work


async def test_an_app_as_an_asgi_application() -> None:
    async def receive() -> dict[str, Any]:
        raise AssertionError("nothing is read")

    said: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    with pytest.raises(ServiceProtocolNeeded, match="perdure serve"):
        await app({"type": "http", "path": "/discover"}, receive, send)
    assert said == []
    await app({"type": "lifespan"}, receive, send)
    assert said[0]["type"] == "lifespan.startup.failed" and "service protocol" in said[0]["message"]


@pytest.mark.slow
def test_an_asgi_server_stops_at_once_and_says_why() -> None:
    command = [sys.executable, "-m", "uvicorn", "tests.drop_in.programs:app", "--port", "0"]
    run = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60)
    assert run.returncode != 0
    assert "PD0419" in run.stderr and "perdure serve" in run.stderr


def test_aws_lambda(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = wrap_asgi_as_lambda_handler(app)
    with pytest.raises(ServiceProtocolNeeded, match="Lambda"):
        handler({"path": "/", "httpMethod": "GET", "headers": {}, "body": "", "isBase64Encoded": True}, None)
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
