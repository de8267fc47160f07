"""What a Restate server does only when it is told to: protocol 7, signed requests; and values that are encoded."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from perdure.env.clock import SystemClock
from perdure.invoker.remote.identity import RequestIdentity
from tests.components import require
from tests.endpoint.conftest import Engine
from tests.endpoint.restate_server import Endpoint, RestateServer, ask, wait_until
from tests.endpoint.services import touched

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestateServer]:
    directory = tmp_path_factory.mktemp("restate7") / "data"
    server = RestateServer(require("restate-server"), directory, RESTATE_EXPERIMENTAL_ENABLE_PROTOCOL_V7="true")
    server.start()
    try:
        server.wait_ready()
        yield server
    finally:
        server.kill()


@pytest.fixture(params=["app", "hasty", "secret"])
def engine(
    request: pytest.FixtureRequest, server: RestateServer, touch_directory: Path, tmp_path: Path
) -> Iterator[Engine]:
    environment = {"PERDURE_TEST_DIR": str(touch_directory)}
    endpoint = Endpoint(f"tests.endpoint.services:{request.param}", tmp_path / "output", environment)
    endpoint.start()
    try:
        endpoint.wait_ready()
        server.register(endpoint.url)
        yield Engine(request.param, server.ingress, server.admin)
    finally:
        endpoint.kill()


def said(engine: Engine, path: str, body: str) -> str:
    """As the handler says it: behind the codec, where there is one."""
    data = body.encode()
    if engine.name == "secret" and body:
        data = b"turned:" + data[::-1]
    headers = {"content-type": "application/json"} if body else {}
    response = engine.http.post(path, content=data, headers=headers)
    assert response.status_code == 200, response.text
    answer = response.content
    if engine.name == "secret":
        assert answer.startswith(b"turned:")
        answer = answer[7:][::-1]
    return answer.decode()


def test_the_same_handlers(engine: Engine, server: RestateServer) -> None:
    name = uuid.uuid4().hex[:8]
    assert said(engine, "/Work/steps", "4") == "[0,2,4,6,12]"
    assert said(engine, "/Work/order", '"x"').count(",") == 17
    assert said(engine, "/Work/flaky", f'"{name}"') == "3"
    assert said(engine, "/Work/signalled", "") == '[{"n":1},"462 stopped"]'
    assert said(engine, "/Work/own_awakeable", "") == '[[2],"461 no"]'
    assert said(engine, "/Work/cancels", f'"{name}"') == '"409 child: cancelled"'
    assert said(engine, "/Work/timer_is_not_early", "") >= "0.7"
    assert said(engine, f"/Cell/{name}/state", "").startswith('[null,"none",[],1,{"c":[1,2]}')
    assert said(engine, f"/Cell/{name}/add", "3") == "3"
    stored = server.sql(f"select value_utf8 from state where service_key = '{name}' and key = 'value'")
    assert stored == [{"value_utf8": "turned:3" if engine.name == "secret" else "3"}]


def test_a_cancelled_parent(engine: Engine) -> None:
    if engine.name == "secret":
        return  # its input would have to be encoded
    name = uuid.uuid4().hex[:8]
    invocation = engine.send("/Work/parent", name)
    wait_until(lambda: all(touched(f"{name}-{number}-started") for number in (1, 2)))
    engine.cancel(invocation)
    response = engine.outcome(invocation)
    assert response.json()["message"] == "cancelled; ['child: cancelled', 'child: cancelled']"
    assert [touched(f"{name}-{what}") for what in ("undone", "1-compensated", "2-compensated")] == [1, 1, 1]


def test_signed_requests(touch_directory: Path, tmp_path: Path) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(pem)
    path = str(tmp_path / "key.pem")
    server = RestateServer(
        require("restate-server"), tmp_path / "data", RESTATE_REQUEST_IDENTITY_PRIVATE_KEY_PEM_FILE=path
    )
    public_key = RequestIdentity(pem, SystemClock()).public_key
    environment = {"PERDURE_TEST_DIR": str(touch_directory), "IDENTITY_KEYS": public_key}
    endpoint = Endpoint("tests.endpoint.services:signed", tmp_path / "output", environment)
    server.start()
    endpoint.start()
    try:
        server.wait_ready()
        endpoint.wait_ready()
        server.register(endpoint.url)
        engine = Engine("bidi", server.ingress, server.admin)
        assert engine.answer("/Work/hello", "Ann") == "Hello Ann!"
        assert ask(f"{endpoint.url}/invoke/Work/hello", "Ann")[0] == 401
    finally:
        endpoint.kill()
        server.kill()
