"""Request identity: what is signed here is accepted by the official SDK's own verifier, and nothing else is."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import restate
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from restate._internal import (  # type: ignore[import-not-found, unused-ignore]
    IdentityVerificationException,
    PyIdentityVerifier,
)

from perdure.env.clock import SystemClock
from perdure.invoker.remote.identity import BadIdentityKey, IdentityUnavailable, RequestIdentity
from perdure.invoker.remote.transport import Transport
from perdure.model.target import Target
from perdure.node.discovery import NotDiscovered
from perdure.node.engine import Engine
from perdure.node.requests import NewInvocation
from perdure.node.settings import EngineSettings

from .transport.servers import hypercorn


class FixedClock:
    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic(self) -> float:
        return self._now_ms / 1000


def new_pem() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def verify(identity: RequestIdentity, path: str, asked: str) -> None:
    PyIdentityVerifier([identity.public_key]).verify(list(identity.headers(path).items()), asked)


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/invoke/Greeter/greet", "/invoke/Greeter/greet"),
        ("/invoke/Greeter/greet", "/mounted/here/invoke/Greeter/greet"),
        ("/discover", "/mounted/discover"),
    ],
)
def test_the_sdk_accepts_it(path: str, asked: str) -> None:
    for _ in range(20):  # keys whose base58 has another length or leading digit
        verify(RequestIdentity(new_pem(), SystemClock()), path, asked)


def test_it_counts_for_one_path_one_key_and_one_minute() -> None:
    identity = RequestIdentity(new_pem(), SystemClock())
    with pytest.raises(IdentityVerificationException):
        verify(identity, "/invoke/Greeter/greet", "/invoke/Greeter/other")
    with pytest.raises(IdentityVerificationException):
        other = RequestIdentity(new_pem(), SystemClock())
        PyIdentityVerifier([other.public_key]).verify(list(identity.headers("/discover").items()), "/discover")
    now_ms = time.time_ns() // 1_000_000
    pem = new_pem()
    verify(RequestIdentity(pem, FixedClock(now_ms - 50_000)), "/discover", "/discover")
    verify(RequestIdentity(pem, FixedClock(now_ms + 50_000)), "/discover", "/discover")
    for off in (-70_000, 70_000):
        with pytest.raises(IdentityVerificationException):
            verify(RequestIdentity(pem, FixedClock(now_ms + off)), "/discover", "/discover")


async def test_a_deployment_that_demands_it_answers_to_it() -> None:
    greeter = restate.Service("Greeter")

    @greeter.handler()
    async def greet(ctx: restate.Context, name: str) -> str:
        return name

    identity = RequestIdentity(new_pem(), SystemClock())
    app = restate.app([greeter], identity_keys=[identity.public_key])
    signing, nobody = Transport(identity=identity), Transport()
    accept = {"accept": "application/vnd.restate.endpointmanifest.v4+json"}
    async with hypercorn(app) as uri:
        assert (await nobody.request(uri, "GET", "discover", accept)).status == 401
        assert (await signing.request(uri, "GET", "discover", accept)).status == 200
        await signing.close()
        await nobody.close()


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"no key",
        ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    ],
)
def test_keys_that_are_none(pem: bytes) -> None:
    with pytest.raises(BadIdentityKey) as refused:
        RequestIdentity(pem, SystemClock())
    assert refused.value.code == "PD0608"


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.serialization", None)
    with pytest.raises(IdentityUnavailable, match=r"perdure\[identity\]"):
        RequestIdentity(b"-----BEGIN PRIVATE KEY-----", SystemClock())


@pytest.mark.slow
def test_the_transport_alone_does_not_load_it() -> None:
    code = "import perdure.invoker.remote.transport, sys; assert not any(m.startswith('cryptography') for m in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


async def test_an_engine_with_a_key_signs_what_it_asks(tmp_path: Path) -> None:
    greeter = restate.Service("Greeter")

    @greeter.handler()
    async def greet(ctx: restate.Context, name: str) -> str:
        return f"Hello {name}"

    pem = new_pem()
    (tmp_path / "key.pem").write_bytes(pem)
    app = restate.app([greeter], identity_keys=[RequestIdentity(pem, SystemClock()).public_key])
    call = NewInvocation(Target("Greeter", None, "greet"), body=b'"Ann"', content_type="application/json")
    async with hypercorn(app) as uri:
        signing = Engine(EngineSettings(request_identity_private_key_pem_file=tmp_path / "key.pem"), None)
        nobody = Engine(EngineSettings(), None)
        await signing.start()
        await nobody.start()
        with pytest.raises(NotDiscovered, match="status code '401'"):
            await nobody.deployments.register(uri)
        await signing.deployments.register(uri)
        assert (await signing.call(call)).result == b'"Hello Ann"'
        await signing.stop(grace_s=0)
        await nobody.stop(grace_s=0)


async def test_an_engine_without_its_key_does_not_start(tmp_path: Path) -> None:
    engine = Engine(EngineSettings(request_identity_private_key_pem_file=tmp_path / "missing.pem"), None)
    with pytest.raises(BadIdentityKey, match=r"missing\.pem cannot be read: No such file"):
        await engine.start()
