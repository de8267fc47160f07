"""The ASGI application: its routes and refusals, without a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import perdure
from perdure.endpoint import deployment
from perdure.env.clock import SystemClock
from perdure.invoker.remote.identity import RequestIdentity
from perdure.model.driver import Capability
from perdure.sdk.errors import CapabilityError, RegistrationError
from tests.endpoint.services import app, work

FORMS = "application/vnd.restate.endpointmanifest.v3+json,application/vnd.restate.endpointmanifest.v4+json"


async def ask(
    application: Callable[..., Any],
    path: str,
    body: bytes = b"",
    *,
    headers: dict[str, str] | None = None,
    http_version: str = "2",
) -> tuple[int, dict[str, str], bytes]:
    said: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    named = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    scope = {"type": "http", "path": path, "http_version": http_version, "headers": named, "method": "POST"}
    await application(scope, receive, send)
    answered = {name.decode(): value.decode() for name, value in said[0]["headers"]}
    return said[0]["status"], answered, b"".join(message.get("body", b"") for message in said[1:])


async def test_discovery_by_the_version_of_http() -> None:
    for http_version, mode in (("1.1", "REQUEST_RESPONSE"), ("2", "BIDI_STREAM")):
        answer = await ask(app, "/any/prefix/discover", headers={"accept": FORMS}, http_version=http_version)
        assert answer[0] == 200
        assert answer[1]["content-type"] == "application/vnd.restate.endpointmanifest.v4+json"
        assert answer[1]["x-restate-server"].startswith("perdure/")
        assert json.loads(answer[2])["protocolMode"] == mode


async def test_a_mode_that_was_chosen() -> None:
    chosen = perdure.app([work], protocol="request_response")
    _, _, body = await ask(chosen, "/discover", headers={"accept": FORMS})
    assert json.loads(body)["protocolMode"] == "REQUEST_RESPONSE"


async def test_refusals() -> None:
    assert (await ask(app, "/discover", headers={"accept": "*/*"}))[0] == 415
    assert (await ask(app, "/elsewhere"))[0] == 404
    assert (await ask(app, "/invoke/Work/missing"))[0] == 404
    assert (await ask(app, "/invoke/Work/hello"))[0] == 415
    old = {"content-type": "application/vnd.restate.invocation.v3"}
    assert (await ask(app, "/invoke/Work/hello", headers=old))[0] == 415
    assert (await ask(app, "/health"))[0] == 200


@pytest.mark.parametrize("body", [b"", b"\x00\x00", b"garbage that is no frame of the protocol at all, but long"])
async def test_a_request_that_is_no_journal_ends(body: bytes) -> None:
    version = {"content-type": "application/vnd.restate.invocation.v6"}
    status, headers, answer = await asyncio.wait_for(ask(app, "/invoke/Work/hello", body, headers=version), 5)
    assert status == 200 and headers["content-type"] == version["content-type"]
    assert answer[:2] in (b"", b"\x00\x02")  # nothing, or an error


async def test_only_the_servers_that_the_app_is_for() -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    server = RequestIdentity(pem, SystemClock())
    private = perdure.app([work], identity_keys=[server.public_key])
    signed = {**server.headers("/discover"), "accept": FORMS}
    assert (await ask(private, "/discover", headers=signed))[0] == 200
    assert (await ask(private, "/discover", headers={"accept": FORMS}))[0] == 401
    assert (await ask(private, "/invoke/Work/hello", headers=signed))[0] == 401
    assert (await ask(private, "/health"))[0] == 200


def test_an_identity_key_that_is_none() -> None:
    with pytest.raises(RegistrationError, match="publickeyv1_"):
        deployment(perdure.app([work], identity_keys=["nonsense"]))


def test_a_handler_that_needs_more_than_a_restate_server_has_is_refused_by_name() -> None:
    special = perdure.Service("Special")

    @special.handler()
    async def fence(ctx: perdure.Context) -> int:
        return ctx.attempt_epoch()

    special.handlers["fence"].requires = frozenset({Capability.ATTEMPT_EPOCH, Capability.STATE})
    with pytest.raises(CapabilityError, match="Special/fence needs attempt_epoch, which"):
        deployment(perdure.app([special]))


async def test_lifespan() -> None:
    events = iter(["lifespan.startup", "lifespan.shutdown"])
    said: list[str] = []

    async def receive() -> dict[str, Any]:
        return {"type": next(events)}

    async def send(message: dict[str, Any]) -> None:
        said.append(message["type"])

    await perdure.app([work])({"type": "lifespan"}, receive, send)
    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_websocket_is_closed() -> None:
    said: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    await app({"type": "websocket", "path": "/discover", "headers": []}, receive, send)
    assert said == [{"type": "websocket.close"}]
