"""Processes that tests start, wait for and kill; `perdure serve` is `perdure.testing.process`."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.components import ROOT

READY_WITHIN_S = 60.0


class Died(AssertionError):
    """A process ended when it should have been running; the message holds the end of its output."""


class Process:
    """A process with its output in a file. `own_session`: it starts others, which are to end with it."""

    def __init__(
        self,
        command: Sequence[str],
        output: Path,
        environment: Mapping[str, str],
        *,
        directory: Path = ROOT,
        own_session: bool = False,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.command = command
        self.output = output
        self._environment = {**os.environ, **environment}
        self._directory = directory
        self._own_session = own_session
        self._pass_fds = pass_fds
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, **environment: str) -> None:
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                self.command,
                cwd=self._directory,
                env=self._environment | environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=self._own_session,
                pass_fds=self._pass_fds,
            )

    def signal(self, number: int) -> None:
        assert self._process is not None
        if self._own_session:
            os.killpg(self._process.pid, number)
        else:
            self._process.send_signal(number)

    def wait(self, within_s: float = 40.0) -> int:
        """Its exit code."""
        assert self._process is not None
        return self._process.wait(within_s)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.wait()

    def check_alive(self) -> None:
        assert self._process is not None
        if self._process.poll() is not None:
            text = self.output.read_text(errors="replace")[-3000:]
            raise Died(f"{self.command[0]} ended with {self._process.returncode}:\n{text}")


def wait_until(
    condition: Callable[[], object], check: Callable[[], object] = lambda: None, within_s: float = READY_WITHIN_S
) -> None:
    """`check` is called between tries, and raises when there is nothing to wait for any more."""
    deadline = time.monotonic() + within_s
    while not condition():
        check()
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(0.02)
