"""`perdure dev`: serve one app while it is being written.

The server runs as a process of its own, which is stopped and started again when a Python file below the current directory
changes. Starting afresh, and not reloading modules in place, is what a deploy does too: what is under way goes on from the
log, under the new code.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import click

from perdure.cli.options import Flag, settings_flags, settings_from

LOOK_EVERY_S = 0.3
STOP_WITHIN_S = 15.0
_NOT_SOURCE = {"__pycache__", "node_modules", "site-packages", "venv"}


@click.command("dev")
@click.argument("app", metavar="MODULE:APP")
@settings_flags
def command(app: str, others: tuple[str, ...], file: Path | None, **named: Flag) -> None:
    """Serve MODULE:APP, and start again when a Python file below this directory changes."""
    settings_from((app,), others, file, **named)
    arguments = [app, "--set", "dev=true"]
    arguments += [part for other in others for part in ("--set", other)]
    arguments += ["--config", str(file)] if file else []
    for name, given in named.items():
        for value in (given,) if isinstance(given, str) else given or ():
            arguments += [f"--{name.replace('_', '-')}", value]
    sys.exit(Supervisor(arguments, Path.cwd()).run())


class Supervisor:
    """Keeps one server process running, and replaces it when the source changes."""

    def __init__(self, arguments: list[str], directory: Path) -> None:
        self._arguments = arguments
        self._directory = directory
        self._stopping = False

    def run(self) -> int:
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGTERM, self._stop)
        seen = fingerprint(self._directory)
        server: subprocess.Popen[bytes] | None = self._start()
        while not self._stopping:
            time.sleep(LOOK_EVERY_S)
            now = fingerprint(self._directory)
            if now != seen:
                _say(f"{_changed(seen, now)} changed; starting again")
                seen = now
                self._end(server)
                server = self._start()
            elif server is not None and server.poll() is not None:
                _say(f"the server ended with code {server.returncode}; it starts again when a file changes")
                server = None
        return self._end(server)

    def _start(self) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C in the terminal reaches this process alone, which then stops the server once.
        command = [sys.executable, "-m", "perdure", "serve", *self._arguments]
        return subprocess.Popen(command, start_new_session=True)

    def _end(self, server: subprocess.Popen[bytes] | None) -> int:
        if server is None:
            return 0
        if server.poll() is None:
            server.terminate()
            try:
                server.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
        return server.returncode

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        if self._stopping:
            os._exit(1)
        self._stopping = True


def fingerprint(directory: Path) -> dict[Path, tuple[int, int]]:
    """Modification time and size of each source file below `directory`."""
    found = {}
    for path in _source_files(directory):
        try:
            status = path.stat()
        except FileNotFoundError:  # An editor replaces files by renaming: it is there again at the next look.
            continue
        found[path] = (status.st_mtime_ns, status.st_size)
    return found


def _source_files(directory: Path) -> Iterator[Path]:
    for parent, children, files in os.walk(directory):
        children[:] = [child for child in children if not child.startswith(".") and child not in _NOT_SOURCE]
        yield from (Path(parent, file) for file in files if file.endswith(".py") or file == "perdure.toml")


def _changed(before: dict[Path, tuple[int, int]], now: dict[Path, tuple[int, int]]) -> str:
    paths = [path for path in before.keys() | now.keys() if before.get(path) != now.get(path)]
    return min(paths).name if len(paths) == 1 else f"{len(paths)} files"


def _say(text: str) -> None:
    click.echo(f"perdure dev: {text}", err=True)
