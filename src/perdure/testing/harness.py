"""`create_test_harness`: a server and a client for the tests of an app, with the shape of Restate's harness.

perdure runs in this process, on a thread of its own and in memory; there is no container, and nothing to install or to wait
for. `always_replay` is the way to find handlers that do not replay: each wait ends the attempt, so that every line behind it
is reached by replay.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from perdure.client.connecting import connect_sync, create_client
from perdure.client.sync import SyncClient
from perdure.model.retry import RetryPolicy
from perdure.node.settings import EngineSettings
from perdure.sdk.app import App
from perdure.sdk.codec import JournalValueCodec
from perdure.sdk.service import Registry
from perdure.testing.environment import HarnessEnvironment
from perdure.testing.threaded import ThreadedServer

IMAGE = "docker.io/restatedev/restate:latest"
"""Of the official signature; no image is ever used."""


@asynccontextmanager
async def create_test_harness(
    app: App | Iterable[Registry],
    follow_logs: bool = False,
    restate_image: str = IMAGE,
    always_replay: bool = False,
    disable_retries: bool = False,
    journal_value_codec: JournalValueCodec | None = None,
) -> AsyncGenerator[HarnessEnvironment, None]:
    """A server of `app` and a client for it, for as long as the block lasts.

    `always_replay` suspends handlers at every wait; with `disable_retries` the first failure of an attempt ends its
    invocation; `follow_logs` shows the engine's log; `restate_image` is taken and not used.
    """
    server = ThreadedServer(app, _settings(always_replay, disable_retries))
    _follow(follow_logs)
    await asyncio.to_thread(server.start)
    try:
        async with create_client(server.ingress_url, journal_value_codec=journal_value_codec) as client:
            yield HarnessEnvironment(ingress_url=server.ingress_url, admin_api_url=server.admin_url, client=client)
    finally:
        await asyncio.to_thread(server.stop)


@dataclass
class TestConfiguration:
    """What `test_harness` was asked for."""

    __test__ = False

    restate_image: str = IMAGE
    stream_logs: bool = False
    always_replay: bool = False
    disable_retries: bool = False


class RestateTestHarness:
    """A server for tests that are not asynchronous, to use in `with`."""

    def __init__(self, asgi_app: App | Iterable[Registry], config: TestConfiguration | None = None) -> None:
        self.asgi_app = asgi_app
        self.config = config or TestConfiguration()
        self._server: ThreadedServer | None = None

    def start(self) -> None:
        _follow(self.config.stream_logs)
        server = ThreadedServer(self.asgi_app, _settings(self.config.always_replay, self.config.disable_retries))
        server.start()
        self._server = server

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    @property
    def ingress_url(self) -> str:
        return self._running().ingress_url

    @property
    def admin_api_url(self) -> str:
        return self._running().admin_url

    def ingress_client(self) -> Any:
        """An `httpx.Client` for the ingress. Errors: ImportError where httpx is not installed; see `client`."""
        import httpx

        return httpx.Client(base_url=self.ingress_url)

    def client(self) -> SyncClient:
        """perdure's own blocking client for the server; close it, or use it in `with`."""
        return connect_sync(self.ingress_url, admin_url=self.admin_api_url, recover_s=0.0)

    def _running(self) -> ThreadedServer:
        if self._server is None:
            raise AssertionError("The harness has not been started: use it in `with`, or call start().")
        return self._server

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def test_harness(
    app: App | Iterable[Registry],
    follow_logs: bool = False,
    restate_image: str = IMAGE,
    always_replay: bool = False,
    disable_retries: bool = False,
) -> RestateTestHarness:
    """The older, blocking form of `create_test_harness`."""
    return RestateTestHarness(app, TestConfiguration(restate_image, follow_logs, always_replay, disable_retries))


setattr(test_harness, "__test__", False)  # noqa: B010 - pytest takes a function of this name for a test


def _settings(always_replay: bool, disable_retries: bool) -> EngineSettings:
    retry = RetryPolicy(max_attempts=1, on_max_attempts="kill") if disable_retries else RetryPolicy()
    return EngineSettings(always_replay=always_replay, default_retry=retry)


def _follow(follow_logs: bool) -> None:
    if follow_logs:
        logging.basicConfig(level=logging.INFO)
        logging.getLogger("perdure").setLevel(logging.INFO)
