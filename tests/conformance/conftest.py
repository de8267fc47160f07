"""The same services, in two languages and with three SDKs, behind perdure and behind the real restate-server, the standard.

A server and a process of services live as long as the tests of a worker; tests use keys of their own.
"""

from __future__ import annotations

import re
import socket
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from perdure.testing.process import ServerProcess
from tests.components import require
from tests.endpoint.restate_server import RestateServer
from tests.processes import Process, wait_until

HERE = Path(__file__).parent
WORLDS = ("perdure-python", "perdure-typescript", "restate-python", "restate-typescript", "restate-perdure")
"""The last: the services written with perdure's SDK, on the real server (docs/endpoint.md)."""
VARIANTS = ("perdure7-python", "perdure7-typescript", "perdure11-python", "perdure-perdure")
"""With version 7 of the service protocol; over HTTP/1.1, request and response."""


class World:
    """A server with the services registered. Bodies and answers are JSON unless they are bytes."""

    def __init__(self, name: str, ingress: str, admin: str) -> None:
        self.name = name
        # httpx closes what looks idle beyond so many connections, also one that another thread has just been given.
        self.ingress = httpx.Client(base_url=ingress, timeout=30, limits=httpx.Limits(max_keepalive_connections=None))
        self.admin = httpx.Client(base_url=admin, timeout=30)

    @property
    def server(self) -> str:
        return self.name.split("-")[0].rstrip("17")

    @property
    def language(self) -> str:
        return self.name.split("-")[1]

    def call(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is None:
            return self.ingress.post(path, headers=named)
        if isinstance(body, bytes):
            return self.ingress.post(path, content=body, headers=named)
        return self.ingress.post(path, json=body, headers=named)

    def ok(self, path: str, body: Any = None, **headers: str) -> Any:
        answer = self.call(path, body, **headers)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def send(self, path: str, body: Any = None, **headers: str) -> str:
        answer = self.call(path if "?" in path else f"{path}/send", body, **headers)
        assert answer.status_code == 202, (answer.status_code, answer.text)
        sent: str = answer.json()["invocationId"]
        return sent

    def attach(self, invocation_id: str) -> httpx.Response:
        return self.ingress.get(f"/restate/invocation/{invocation_id}/attach")

    def attached(self, invocation_id: str, meanwhile: Callable[[], object]) -> httpx.Response:
        """The answer to who attached before `meanwhile`."""
        return self.waited_for(meanwhile, "GET", f"/restate/invocation/{invocation_id}/attach")

    def waited_for(self, meanwhile: Callable[[], object], method: str, path: str, **options: Any) -> httpx.Response:
        """The answer to a request that was made before `meanwhile`."""
        with ThreadPoolExecutor(1) as thread, httpx.Client(base_url=self.ingress.base_url, timeout=30) as other:
            answer = thread.submit(other.request, method, path, **options)
            # Nothing shows that somebody waits; half a second is enough in practice.
            wait([answer], timeout=0.5)
            meanwhile()
            return answer.result()

    def register(self, services: Services, **options: Any) -> dict[str, Any]:
        answer = self.admin.post("/deployments", json={"uri": services.url, **options})
        assert answer.status_code in (200, 201), answer.text
        described: dict[str, Any] = answer.json()
        return described

    def patch(self, path: str, **parameters: Any) -> httpx.Response:
        return self.admin.patch(path, params=parameters)

    def sql(self, query: str) -> list[dict[str, Any]]:
        answer = self.admin.post("/query", json={"query": query}, headers={"accept": "application/json"})
        assert answer.status_code == 200, answer.text
        rows: list[dict[str, Any]] = answer.json()["rows"]
        return rows

    def status(self, invocation_id: str) -> str | None:
        rows = self.sql(f"select status from sys_invocation where id = '{invocation_id}'")
        return rows[0]["status"] if rows else None

    def until_status(self, invocation_id: str, *wanted: str | None) -> None:
        self.until(lambda: self.status(invocation_id) in wanted)

    def held(self, key: str) -> Any:
        """What `Holder/key` holds, as soon as it holds something."""
        found: list[Any] = []

        def look() -> bool:
            found[:] = [self.ok(f"/Holder/{key}/get")]
            return found[0] is not None

        self.until(look)
        return found[0]

    def until(self, condition: Callable[[], bool]) -> None:
        wait_until(condition, within_s=30)


class Services(Process):
    """A process of services, on one port for all its starts."""

    def __init__(self, language: str, directory: Path, version: str = "v1") -> None:
        self.language = language
        self.effects_path = directory / "effects"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        environment = {"CONFORMANCE_EFFECTS": str(self.effects_path), "CONFORMANCE_VERSION": version}
        fds: list[int] = []
        if language == "typescript":
            command = [str(require("node")), str(HERE / "services.mjs"), str(self.port)]
            environment["NODE_MODULES"] = str(require("node_modules"))
        else:
            fds = [self._listener.fileno()]
            command = [sys.executable, str(program(language, directory)), str(fds[0])]
        super().__init__(command, directory / f"services-{version}.output", environment, pass_fds=fds)

    def start(self, **environment: str) -> None:
        if self.language == "typescript":
            self._listener.close()  # Node takes no descriptor of ours
        super().start(**environment)

    def effects(self) -> list[str]:
        return self.effects_path.read_text().splitlines() if self.effects_path.exists() else []

    def listens(self) -> bool:
        self.check_alive()
        with socket.socket() as trial:
            return trial.connect_ex(("127.0.0.1", self.port)) == 0


def program(language: str, directory: Path) -> Path:
    """For perdure's SDK: the same program with its imports changed."""
    official = HERE / "services.py"
    if language == "python":
        return official
    for source in (official, HERE / "wide.py"):
        text = re.sub("^import restate$", "import perdure as restate", source.read_text(), flags=re.MULTILINE)
        (directory / source.name).write_text(re.sub("^from restate", "from perdure", text, flags=re.MULTILINE))
    return directory / official.name


@pytest.fixture(scope="session")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], World]]:
    """By name, started when first asked for."""
    made: dict[str, World] = {}
    ends: list[Callable[[], object]] = []

    def world(name: str) -> World:
        if name not in made:
            made[name] = start(name, tmp_path_factory.mktemp(name), ends)
        return made[name]

    yield world
    for end in reversed(ends):
        end()


@dataclass
class Own:
    """A server and services of one test alone, to be killed."""

    world: World
    server: RestateServer | ServerProcess
    services: Services


@pytest.fixture(params=WORLDS)
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Own]:
    ends: list[Callable[[], object]] = []
    yield start_own(request.param, tmp_path, ends)
    for end in reversed(ends):
        end()


def start(name: str, directory: Path, ends: list[Callable[[], object]]) -> World:
    return start_own(name, directory, ends).world


def start_own(name: str, directory: Path, ends: list[Callable[[], object]]) -> Own:
    kind, language = name.split("-")
    if language == "typescript":
        require("node_modules")
    server: RestateServer | ServerProcess
    if kind == "restate":
        server = RestateServer(require("restate-server"), directory / "data")
        ingress, admin = server.ingress, server.admin
    else:
        settings = {"service_protocol_v7": "true"} if kind == "perdure7" else {}
        server = ServerProcess([], directory / "data", settings=settings)
        ingress, admin = f"http://127.0.0.1:{server.ingress_port}", f"http://127.0.0.1:{server.admin_port}"
    services = Services(language, directory)
    for process in (server, services):
        process.start()
        ends.append(process.kill)
    server.wait_ready()
    wait_until(services.listens)
    world = World(name, ingress, admin)
    world.register(services, **({"use_http_11": True} if kind == "perdure11" else {}))
    world.until(lambda: world.call("/Util/echo", 1).status_code == 200)
    return Own(world, server, services)


@pytest.fixture(params=WORLDS + VARIANTS)
def world(request: pytest.FixtureRequest, worlds: Callable[[str], World]) -> World:
    return worlds(request.param)


@pytest.fixture
def key() -> str:
    return f"k{uuid.uuid4().hex[:12]}"
