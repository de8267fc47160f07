"""`WorkerProcess`: the process that runs one query after the other, seen from the node. All methods but `kill` block."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

from perdure.http.query import messages as m


class WorkerGone(Exception):
    """It was killed, or took more memory than there is."""


class WorkerProcess:
    """Dies with this process, because its pipe closes then."""

    def __init__(self, memory_bytes_max: int) -> None:
        self._memory_bytes_max = memory_bytes_max
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        """Unless it runs. Errors: WorkerGone."""
        if self._process is not None:
            return
        self._process = subprocess.Popen(
            # -P: what lies in the directory that the server was started in is not for it.
            [sys.executable, "-P", "-m", "perdure.http.query.worker", str(self._memory_bytes_max)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the server alone, which then ends this
        )
        began = self._exchange(iter(()))
        assert isinstance(began, m.Ready)

    def ask(self, asked: m.Ask) -> m.FromWorker:
        """Errors: WorkerGone."""
        return self._exchange(iter((asked,)))

    def feed(self, facts: m.Facts, rows: Iterator[m.Rows]) -> m.FromWorker:
        """Errors: WorkerGone; those of reading the rows."""

        def messages() -> Iterator[m.ToWorker]:
            yield facts
            yield from rows
            yield m.End()

        return self._exchange(messages())

    def _exchange(self, messages: Iterator[m.ToWorker]) -> m.FromWorker:
        process = self._process
        if process is None:
            raise WorkerGone
        assert process.stdin is not None and process.stdout is not None
        try:
            for message in messages:
                m.send(process.stdin, message)
            return m.receive_from_worker(process.stdout)
        except (OSError, EOFError, ValueError) as error:
            self.kill()
            raise WorkerGone from error

    def kill(self) -> None:
        """At once, whatever it does; a call under way on another thread fails. The next query starts another process."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            # Another thread may be in the middle of a call: it finds the other end closed, and closes this one.
            with contextlib.suppress(OSError, ValueError):
                assert pipe is not None
                pipe.close()
