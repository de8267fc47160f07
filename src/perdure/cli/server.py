"""One server process: engine, ingress and admin API on one event loop, from the first line it prints to its exit.

The ports open before the engine has recovered, so that a restart refuses nobody: requests wait, health answers 503.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
from typing import TYPE_CHECKING

import click

from perdure.cli.loading import load_app
from perdure.cli.registering import register_all
from perdure.cli.settings import Settings
from perdure.http.admin.app import Admin
from perdure.http.ingress.app import Ingress
from perdure.http.query.errors import SqlNotInstalled
from perdure.http.query.queries import Queries, installed, queries_of
from perdure.http.server import HttpServer
from perdure.model.errors import PerdureError
from perdure.model.target import ServiceKind
from perdure.model.version import VERSION
from perdure.node.engine import Engine

if TYPE_CHECKING:
    from perdure.http.query.postgres.server import PostgresServer

SWITCH_INTERVAL_S = 0.0005
"""How long a busy thread keeps the interpreter: with the usual 5 ms a log writer waits longer for it than for the disk."""
GC_THRESHOLDS = (5_000, 20, 20)
"""Calls under way are many young objects that die by themselves: to look for cycles among each 700 costs 4 % of a call."""
LAST_REPLIES_S = 2.0


def run(settings: Settings) -> None:
    """Serve until a signal, or until the engine fails. Errors: PerdureError; returns after an orderly stop."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(Server(settings).run())


class Server:
    def __init__(self, settings: Settings) -> None:
        app = load_app(settings.apps)
        if app is not None and settings["dev"]:
            app.dev = True
        self._settings = settings
        self._engine_settings = settings.engine()
        self._app = app
        self._asked_to_stop = asyncio.Event()

    async def run(self) -> None:
        self._take_signals()
        engine = Engine(self._engine_settings, self._app)
        ingress = HttpServer(
            Ingress(engine, body_bytes_max=self._engine_settings.body_bytes_max), *self._settings.ingress
        )
        operators = Admin(engine)
        admin = HttpServer(operators, *self._settings.admin)
        queries = queries_of(engine, self._settings.queries())
        postgres = None if self._settings.pg is None else _postgres(queries, *self._settings.pg)
        try:
            gc.freeze()  # what was imported so far lives as long as the process
            gc.set_threshold(*GC_THRESHOLDS)
            addresses = [await ingress.start(), await admin.start()]
            if postgres is not None:
                addresses.append(await postgres.start())
            engine.ingress_url = engine.ingress_url or _reachable(*addresses[0])
            operators.ingress_url = f"{engine.ingress_url}/"
            if await self._started(engine):
                self._greet(engine, addresses)
                registering = asyncio.ensure_future(register_all(engine, self._settings.register))
                try:
                    await self._until_the_end(engine)
                finally:
                    registering.cancel()
        finally:
            if postgres is not None:
                await postgres.stop()
            await asyncio.gather(ingress.stop(LAST_REPLIES_S), admin.stop(LAST_REPLIES_S))

    async def _started(self, engine: Engine) -> bool:
        """False when a signal came first. Errors: PerdureError, why the engine does not start."""
        starting = asyncio.ensure_future(engine.start())
        await self._signal_or(starting)
        if not starting.done():
            starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
            return True
        return False

    async def _until_the_end(self, engine: Engine) -> None:
        """Errors: PerdureError, why the engine failed."""
        ended = asyncio.ensure_future(engine.failed())
        await self._signal_or(ended)
        if not ended.done():
            click.echo("stopping; running steps may finish")
            await engine.stop(grace_s=self._settings.shutdown_grace_s)
        error = await ended
        if error is not None:
            raise error
        click.echo("stopped")

    async def _signal_or(self, other: asyncio.Future[None] | asyncio.Future[PerdureError | None]) -> None:
        asked = asyncio.ensure_future(self._asked_to_stop.wait())
        await asyncio.wait((asked, other), return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)

    def _stop(self, number: signal.Signals) -> None:
        if self._asked_to_stop.is_set():
            os._exit(128 + number)
        self._asked_to_stop.set()

    def _greet(self, engine: Engine, addresses: list[tuple[str, int]]) -> None:
        recovered = engine.recovered
        assert recovered is not None
        settings = self._engine_settings
        ingress, admin = (_url(*address) for address in addresses[:2])
        postgres = "".join(", sql " + _url(*address).replace("http:", "postgresql:") for address in addresses[2:])
        click.echo(
            f"perdure {VERSION}: data in {settings.data}, {_many(engine.partitions, 'partition')}, "
            f"durability {settings.durability}"
        )
        click.echo(
            f"recovered: {_many(recovered.records, 'record')} replayed in {recovered.seconds * 1000:.0f} ms, "
            f"{_many(recovered.interrupted, 'interrupted invocation')} taken up again"
        )
        for service in engine.registry.services():
            key = "" if service.kind is ServiceKind.SERVICE else "/{key}"
            for handler in service.handlers:
                click.echo(f"  POST {ingress}/{service.name}{key}/{handler}")
        if not engine.registry.services() and not self._settings.register:
            click.echo("no handlers yet: name an app (MODULE:APP), or `perdure deployments register URL`")
        click.echo(f"ready: ingress {ingress}, admin {admin}{postgres}")
        sys.stdout.flush()


def _postgres(queries: Queries, host: str, port: int) -> PostgresServer:
    from perdure.http.query.postgres.server import PostgresServer  # not every server should pay for it

    if not installed():
        raise SqlNotInstalled
    return PostgresServer(queries, host, port)


def _url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _reachable(host: str, port: int) -> str:
    """The address for others on this machine; who listens on all addresses and has others to reach names the URL."""
    return _url({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)


def _many(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not on Windows
        return None
    return uvloop.Loop
