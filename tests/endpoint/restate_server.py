"""A real restate-server and endpoints of ours that it invokes, as processes on free ports."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from perdure.testing.process import free_ports
from tests.processes import Process
from tests.processes import wait_until as wait_until


class RestateServer(Process):
    def __init__(self, binary: Path, directory: Path, **settings: str) -> None:
        """`settings`: further RESTATE_... variables."""
        ingress, admin, node = free_ports(3)
        self.ingress = f"http://127.0.0.1:{ingress}"
        self.admin = f"http://127.0.0.1:{admin}"
        directory.mkdir(parents=True, exist_ok=True)
        environment = {
            "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
            "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
            "RESTATE_BIND_ADDRESS": f"127.0.0.1:{node}",
            "RESTATE_ADVERTISED_ADDRESS": f"http://127.0.0.1:{node}",
            "RESTATE_DEFAULT_NUM_PARTITIONS": "1",
            "RESTATE_ROCKSDB_TOTAL_MEMORY_SIZE": "64MB",
            "RESTATE_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "1",
            **settings,
        }
        command = [str(binary), "--base-dir", str(directory), "--node-name", "n1", "--listen-mode", "tcp", "--no-logo"]
        super().__init__(command, directory.parent / f"{directory.name}.output", environment)

    def wait_ready(self) -> None:
        wait_until(lambda: ask(f"{self.admin}/health")[0] == 200 and self._ingress_ready(), self.check_alive)

    def _ingress_ready(self) -> bool:
        return ask(f"{self.ingress}/restate/health")[0] == 200

    def register(self, uri: str, *, http_1: bool = False) -> dict[str, Any]:
        return register(self.admin, uri, http_1=http_1)

    def status(self, invocation_id: str) -> str | None:
        return self.row(invocation_id).get("status")

    def row(self, invocation_id: str) -> dict[str, Any]:
        """What the server's SQL says of an invocation."""
        rows = self.sql(f"select * from sys_invocation where id = '{invocation_id}'")
        return rows[0] if rows else {}

    def events(self, invocation_id: str) -> str:
        """What the server noted of its attempts, as JSON."""
        return json.dumps(self.sql(f"select * from sys_journal_events where id = '{invocation_id}'"))

    def sql(self, query: str) -> list[dict[str, Any]]:
        status, body = ask(f"{self.admin}/query", {"query": query}, {"accept": "application/json"})
        assert status == 200, body.decode()
        rows: list[dict[str, Any]] = json.loads(body)["rows"]
        return rows


class Served(Process):
    """Handlers served by `python -m MODULE ...`, on one port (`PORT` in the command) for all its starts."""

    def __init__(self, command: Sequence[str], output: Path, environment: Mapping[str, str]) -> None:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        arguments = [str(port) if part == "PORT" else part for part in command]
        super().__init__([sys.executable, "-m", *arguments], output, environment)

    def wait_ready(self) -> None:
        wait_until(lambda: ask(f"{self.url}/health")[0] == 200, self.check_alive)


class Endpoint(Served):
    """`perdure endpoint`."""

    def __init__(self, app: str, output: Path, environment: Mapping[str, str]) -> None:
        super().__init__(["perdure", "endpoint", app, "--port", "PORT"], output, environment)


def register(admin: str, uri: str, *, http_1: bool = False) -> dict[str, Any]:
    status, body = ask(f"{admin}/deployments", {"uri": uri, "force": True, "use_http_11": http_1})
    assert status in (200, 201), body.decode()
    described: dict[str, Any] = json.loads(body)
    return described


def ask(url: str, body: object = None, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """Status 0: nothing listens."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json", **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""
