"""What callers are told when the engine says no, or breaks."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from perdure.http.ingress.app import Ingress
from perdure.http.server import HttpServer
from perdure.log.errors import LogError
from perdure.node.engine import Engine
from perdure.node.errors import BadRequest, DiskFull, NodeStopped, Overloaded
from perdure.node.requests import NewInvocation, Outcome


@pytest.fixture
async def broken(world: Any) -> AsyncIterator[Any]:
    """A second port to the running engine, whose calls end in `raising`."""

    class Broken:
        raising: Exception

        def __getattr__(self, name: str) -> object:
            return getattr(world.engine, name)

        def begin_call(self, request: NewInvocation, done: object) -> bytes:
            raise self.raising

        async def call(self, request: NewInvocation) -> Outcome:
            raise self.raising

    engine = Broken()
    server = HttpServer(Ingress(_as_engine(engine)), "127.0.0.1", 0)
    world.ingress.port = (await server.start())[1]
    world.broken = engine
    yield world
    await server.stop(0)


def _as_engine(engine: Any) -> Engine:
    return engine  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("raising", "status", "message", "retry"),
    [
        (Overloaded("too much.", "Try again."), 429, "too much. Try again.", "1"),
        (DiskFull("the disk is full.", "Free space."), 507, "the disk is full. Free space.", None),
        (NodeStopped("the node stops.", "Wait."), 503, "PD0306: the node stops. Wait.", "1"),
        (BadRequest("no."), 400, "no.", None),
        (LogError("torn.", "Look."), 500, "torn. Look.", None),
        (ZeroDivisionError("internals"), 500, "internal error; see the server's log", None),
    ],
)
async def test_errors_of_the_engine(
    broken: Any, raising: Exception, status: int, message: str, retry: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    broken.broken.raising = raising
    with caplog.at_level(logging.ERROR, "perdure.http"):
        answer = await broken.ingress.post("/Echo/say", "x")
    assert (answer.status, answer.json()) == (status, {"code": status, "message": message, "source": "ingress"})
    assert answer.headers.get("retry-after") == retry
    assert bool(caplog.records) is (status == 500)
