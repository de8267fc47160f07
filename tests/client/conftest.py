"""One client for each way to reach an engine: in the process, over HTTP, over HTTP in the official shape."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

import perdure
from perdure.http.admin.app import Admin
from perdure.http.ingress.app import Ingress
from perdure.http.server import HttpServer
from tests.client.programs import APP


@pytest.fixture
async def node() -> AsyncIterator[perdure.Node]:
    async with perdure.Node(APP) as running:
        yield running


@pytest.fixture
async def urls(node: perdure.Node) -> AsyncIterator[tuple[str, str]]:
    servers = [HttpServer(Ingress(node.engine), "127.0.0.1", 0), HttpServer(Admin(node.engine), "127.0.0.1", 0)]
    addresses = [await server.start() for server in servers]
    yield f"http://127.0.0.1:{addresses[0][1]}", f"http://127.0.0.1:{addresses[1][1]}"
    for server in servers:
        await server.stop(grace_s=0)


@pytest.fixture(params=["in process", "http", "http without recovery"])
async def client(
    request: pytest.FixtureRequest, node: perdure.Node, urls: tuple[str, str]
) -> AsyncIterator[perdure.Client]:
    if request.param == "in process":
        yield node.client
        return
    recover_s = 5.0 if request.param == "http" else 0.0
    async with perdure.connect(urls[0], admin_url=urls[1], recover_s=recover_s) as connected:
        yield connected
