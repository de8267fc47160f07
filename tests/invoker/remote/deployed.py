"""A real engine, and real worker processes with the official SDK, registered as one deployment of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from perdure.model.deployment import Deployment
from perdure.model.ids import format_ulid, ulid
from perdure.model.journal import Entry, Failure
from perdure.model.records import PutDeployment
from perdure.model.retry import RetryPolicy
from perdure.model.target import Target
from perdure.node.discovery import discover
from perdure.node.engine import Engine
from perdure.node.phase import Phase
from perdure.node.requests import NewInvocation, Outcome
from perdure.node.settings import EngineSettings
from perdure.partition.invariants import check_partition
from perdure.store.rows import Invocation, Status

PATIENCE_S = 20
QUICK = RetryPolicy(initial_interval_ms=20, factor=1.5, max_interval_ms=200, max_attempts=20)


def target(text: str) -> Target:
    """`Service/handler` or `Object/key/handler`."""
    service, *middle, handler = text.split("/")
    return Target(service, middle[0] if middle else None, handler)


class Deployed:
    """`engine` with a deployment at `uri`; `directory` is where workers leave what their steps did."""

    def __init__(self, engine: Engine, directory: Path, listener: socket.socket) -> None:
        self.engine = engine
        self.directory = directory
        self.listener = listener
        self.uri = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        self.workers: list[subprocess.Popen[bytes]] = []

    # --- workers ----------------------------------------------------------------------------------------------------------

    def start_worker(self, name: str = "one", mode: str = "bidi") -> subprocess.Popen[bytes]:
        fd = self.listener.fileno()
        command = [sys.executable, str(Path(__file__).with_name("worker.py")), str(fd), name, str(self.directory), mode]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        worker = subprocess.Popen(command, pass_fds=[fd], env=environment)
        self.workers.append(worker)
        return worker

    async def register(self, **options: Any) -> Deployment:
        engine = self.engine
        found = await discover(
            engine.transport, self.uri, additional_headers={}, use_http_11=options.pop("http_11", False)
        )
        deployment = Deployment(
            id=format_ulid("dp", ulid(engine.now_ms(), bytes(9) + bytes([len(engine.registry.deployments())]))),
            uri=self.uri,
            http_version=found.http_version,
            bidirectional=found.protocol_mode == "BIDI_STREAM",
            min_protocol_version=found.min_protocol_version,
            max_protocol_version=found.max_protocol_version,
            created_at_ms=engine.now_ms(),
            services=found.services,
            revisions={service.name: len(engine.registry.deployments()) + 1 for service in found.services},
            **options,
        )
        await engine.applied(PutDeployment(0, engine.now_ms(), deployment))
        return deployment

    def effects(self) -> list[str]:
        path = self.directory / "effects"
        return path.read_text().splitlines() if path.exists() else []

    async def written(self, name: str) -> str:
        """What a worker has put into this file, once it has."""
        path = self.directory / name
        await self.until(lambda: path.exists() and path.stat().st_size)
        return path.read_text()

    # --- invocations ------------------------------------------------------------------------------------------------------

    async def call(self, handler: str, argument: object = None, *, key: str | None = None) -> Any:
        """The result, or the failure as a pair of code and message."""
        return result_of(await self.engine.call(request(handler, argument, key)))

    async def send(self, handler: str, argument: object = None) -> bytes:
        return (await self.engine.send(request(handler, argument, None))).invocation_id

    async def attach(self, invocation_id: bytes) -> Any:
        return result_of(await self.engine.attach(invocation_id))

    def row(self, invocation_id: bytes) -> Invocation:
        return self.engine.describe(invocation_id)[0]

    def journal(self, invocation_id: bytes) -> list[Entry]:
        return self.engine.describe(invocation_id)[1].entries

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0.005)

    async def until_status(self, invocation_id: bytes, status: Status) -> Invocation:
        await self.until(lambda: self.row(invocation_id).status is status)
        return self.row(invocation_id)


def request(handler: str, argument: object, key: str | None) -> NewInvocation:
    body = argument if isinstance(argument, bytes) else b"" if argument is None else json.dumps(argument).encode()
    return NewInvocation(target(handler), body=body, content_type="application/json", idempotency_key=key)


def result_of(outcome: Outcome) -> Any:
    if isinstance(outcome.result, Failure):
        return outcome.result.code, outcome.result.message
    return json.loads(outcome.result) if outcome.result else None


@asynccontextmanager
async def deployed(
    directory: Path, *, workers: int = 1, mode: str = "bidi", **settings: Any
) -> AsyncIterator[Deployed]:
    """An engine in memory with `workers` processes at one address, registered; checked and stopped at the end."""
    http_11 = settings.pop("http_11", False)
    defaults: dict[str, Any] = {"default_retry": QUICK, "dev": True, "loop_stall_ms": 0}
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        engine = Engine(EngineSettings(**defaults | settings), None)
        this = Deployed(engine, directory, listener)
        try:
            for number in range(workers):
                this.start_worker(("one", "two", "three")[number], mode)
            await engine.start()
            if workers:
                await this.register(http_11=http_11)
            yield this
            for tables in engine.store.tables if engine.phase is Phase.READY else ():
                check_partition(tables, range(1, tables.meta.next_seq))
        finally:
            await engine.stop(grace_s=0)
            for worker in this.workers:
                worker.send_signal(signal.SIGCONT)
                worker.kill()
                worker.wait()
