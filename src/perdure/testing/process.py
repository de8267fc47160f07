"""A real `perdure serve` to be killed: start, SIGKILL, start again, and callers that do not give up in between.

For tests and demonstrations that look at the server from outside, as its users do. Nothing here knows the engine: only the
command line, signals, and HTTP.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

WAIT_BETWEEN_TRIES_S = 0.02


class ServerDied(Exception):
    """The server ended when it should have been running; the message holds the end of its output."""


class NoAnswer(Exception):
    """No answer came within the time given; the message says what was tried and how it failed last."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> object:
        return json.loads(self.body)

    @property
    def invocation_id(self) -> str:
        return self.headers["x-restate-id"]


class ServerProcess:
    """One `perdure serve`, which keeps its ports and its data directory from one start to the next."""

    def __init__(
        self,
        apps: Sequence[str],
        data: Path,
        *,
        directory: Path | None = None,
        settings: Mapping[str, object] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.ingress_port, self.admin_port = free_ports(2)
        self.output = data.parent / f"{data.name}.output"
        self.starts = 0
        self._directory = directory
        self._environment = {**os.environ, **(environment or {})}
        self._command = [sys.executable, "-m", "perdure", "serve", *apps, "--data", str(data)]
        for name, value in (settings or {}).items():
            self._command += ["--set", f"{name}={value}"]
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        assert not self.running, "already running"
        self.starts += 1
        self._started_at = time.monotonic()
        ports = ["--ingress", f"127.0.0.1:{self.ingress_port}", "--admin", f"127.0.0.1:{self.admin_port}"]
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [*self._command, *ports],
                cwd=self._directory,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait_ready(self, within_s: float = 30.0) -> float:
        """Seconds from the start until health answers 200. Errors: ServerDied, NoAnswer."""
        ingress = self.ingress(timeout_s=within_s)
        deadline = self._started_at + within_s
        while True:
            try:
                if ingress.try_once("GET", "/restate/health").status == 200:
                    return time.monotonic() - self._started_at
            except (OSError, http.client.HTTPException):
                pass
            self.check_alive()
            if time.monotonic() > deadline:
                raise NoAnswer(f"not ready within {within_s} s; its output ends:\n{self.output_tail()}")
            time.sleep(WAIT_BETWEEN_TRIES_S / 4)

    def check_alive(self) -> None:
        if not self.running:
            code = self._process.returncode if self._process else None
            raise ServerDied(f"the server ended with code {code}; its output ends:\n{self.output_tail()}")

    def kill(self) -> None:
        """SIGKILL: nothing is flushed, nothing is said."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self, within_s: float = 30.0) -> int:
        """SIGTERM; the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(within_s)

    def wait(self, within_s: float = 30.0) -> int:
        assert self._process is not None
        return self._process.wait(within_s)

    def ingress(self, timeout_s: float = 60.0) -> Caller:
        return Caller(self.ingress_port, timeout_s)

    def output_tail(self, lines: int = 40) -> str:
        return "\n".join(self.output.read_text(errors="replace").splitlines()[-lines:])

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


@dataclass
class Caller:
    """Calls a server of this machine over HTTP, one connection for each thread that uses it."""

    port: int
    timeout_s: float = 60.0
    give_up: threading.Event = field(default_factory=threading.Event)
    """Set by whoever knows that no answer will come."""
    _local: threading.local = field(default_factory=threading.local)

    def try_once(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Answer:
        """One request. `body`: bytes as they are, anything else as JSON; None: no body.

        Errors: OSError or http.client.HTTPException when the answer did not come.
        """
        sent = dict(headers or {})
        payload: bytes | None = None
        if isinstance(body, bytes):
            payload = body
        elif body is not None:
            payload = json.dumps(body).encode()
            sent.setdefault("content-type", "application/json")
        connection = self._connection()
        try:
            connection.request(method, path, payload, sent)
            response = connection.getresponse()
            content = response.read()
        except BaseException:
            self._forget()
            raise
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, content)

    def until_answered(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Try until an answer comes that is the server's last word: not 429, 470, 503 or 507.

        Safe for reads, and for calls with an `idempotency-key`. Errors: NoAnswer after `timeout_s`.
        """
        deadline = time.monotonic() + self.timeout_s
        last: object = "nothing"
        while time.monotonic() < deadline and not self.give_up.is_set():
            try:
                answer = self.try_once(method, path, body, headers)
            except (OSError, http.client.HTTPException) as error:
                last = repr(error)
            else:
                if answer.status not in (429, 470, 503, 507):
                    return answer
                last = f"{answer.status} {answer.body[:200]!r}"
            time.sleep(WAIT_BETWEEN_TRIES_S)
        raise NoAnswer(f"{method} {path}: no answer within {self.timeout_s} s; the last try gave {last}")

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout_s)
            connection.connect()
            # A request is sent as head and body: without this the second waits for the other side's delayed ACK.
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._local.connection = connection
        return connection

    def _forget(self) -> None:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, below those that the system gives to outgoing connections.

    A port from that range could be taken while the server is down, even by a caller that meets itself when it connects.
    """
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as trial:
            # As the server binds: a port with old connections in TIME_WAIT is free.
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found
