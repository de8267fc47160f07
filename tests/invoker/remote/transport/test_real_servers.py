"""The transport against servers of other people: hypercorn over HTTP/2, HTTP/1.1 and TLS, and Node's http2."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from perdure.invoker.remote.errors import NotTheProtocol, Unreachable
from perdure.invoker.remote.transport import Transport
from perdure.model.deployment import Deployment, HttpVersion

from .peer import Recorder
from .servers import Certificate, echo, hypercorn, node_http2


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def trusting(certificate: Certificate, unhandled: list[str]) -> AsyncIterator[Transport]:
    transport = Transport(tls=certificate.context)
    yield transport
    await transport.close()


async def conversation(transport: Transport, uri: str, http_version: HttpVersion) -> Recorder:
    """Three turns on one open stream, then half a megabyte."""
    listener = Recorder()
    deployment = Deployment(id="dp_1", uri=uri, http_version=http_version)
    exchange = transport.open(deployment, "invoke/Greeter/greet", {}, listener)
    for turn in (b"one", b"two", b"three"):
        exchange.send(turn)
        await listener.until(lambda it, turn=turn: it.over or it.data.endswith(turn))  # type: ignore[misc]
    exchange.send(b"x" * 500_000)
    exchange.end()
    await listener.end()
    assert listener.data == b"onetwothree" + b"x" * 500_000
    return listener


@pytest.mark.parametrize(("http_version", "spoken"), [("HTTP/2.0", "2"), ("HTTP/1.1", "1.1")])
async def test_hypercorn_without_tls(transport: Transport, http_version: HttpVersion, spoken: str) -> None:
    async with hypercorn(echo) as uri:
        listener = await conversation(transport, f"{uri}base/", http_version)
        assert listener.headers["x-version"] == spoken
        assert listener.headers["x-path"] == "/base/invoke/Greeter/greet"
        for _ in range(2):
            response = await transport.request(uri, "POST", "discover", {}, b"body", http_version=http_version)
            assert (response.status, response.body, response.http_version) == (200, b"body", http_version)


@pytest.mark.parametrize(
    ("http_version", "alpn", "spoken"),
    [
        ("HTTP/2.0", ("h2", "http/1.1"), "2"),
        ("HTTP/2.0", ("http/1.1",), "1.1"),
        ("HTTP/1.1", ("h2", "http/1.1"), "1.1"),
    ],
)
async def test_hypercorn_with_tls(
    trusting: Transport, certificate: Certificate, http_version: HttpVersion, alpn: tuple[str, ...], spoken: str
) -> None:
    async with hypercorn(echo, certificate=certificate, alpn=alpn) as uri:
        assert uri.startswith("https://")
        assert (await conversation(trusting, uri, http_version)).headers["x-version"] == spoken
        found = await trusting.request(uri, "GET", "discover", {})
        assert found.http_version == ("HTTP/2.0" if "h2" in alpn else "HTTP/1.1")


async def test_a_certificate_that_nobody_vouches_for(transport: Transport, certificate: Certificate) -> None:
    async with hypercorn(echo, certificate=certificate) as uri:
        with pytest.raises(Unreachable, match="certificate verify failed"):
            await transport.request(uri, "GET", "discover", {})


async def test_tls_is_asked_for_where_there_is_none(trusting: Transport) -> None:
    async with hypercorn(echo) as uri:
        with pytest.raises((Unreachable, NotTheProtocol)):
            await trusting.request(uri.replace("http:", "https:"), "GET", "discover", {})


@pytest.mark.parametrize("http_version", ["HTTP/2.0", "HTTP/1.1"])
async def test_the_other_internet(transport: Transport, http_version: HttpVersion) -> None:
    try:
        async with hypercorn(echo, host="::1") as uri:
            assert uri.startswith("http://[::1]:")
            await conversation(transport, uri, http_version)
    except OSError as error:
        pytest.skip(f"no IPv6 on this machine: {error}")


@pytest.mark.slow
async def test_more_requests_than_a_connection_of_hypercorn_serves(transport: Transport) -> None:
    """After a thousand it breaks whatever is under way on the connection; by then nothing is."""
    async with hypercorn(echo) as uri:
        deployment = Deployment(id="dp_1", uri=uri)
        for _ in range(13):
            listeners = [Recorder() for _ in range(100)]
            for listener in listeners:
                exchange = transport.open(deployment, "invoke/Greeter/greet", {}, listener)
                exchange.send(b"hello")
                exchange.end()
            for listener in listeners:
                assert (await listener.end()).data == b"hello"


@pytest.mark.slow
async def test_node(make_transport: Callable[..., Transport]) -> None:
    transport = make_transport()
    async with node_http2() as uri:
        assert (await conversation(transport, uri, "HTTP/2.0")).headers["x-version"] == "2"
        response = await transport.request(uri, "POST", "x", {}, b"y" * 3_000_000)
        assert response.body == b"y" * 3_000_000
        await transport.close()
