"""Where the process begins: one query after the other, until the node closes the pipe."""

from __future__ import annotations

import os
import signal
import sys
from typing import IO

from perdure.http.query import messages as m

_NICE = 5


def main() -> None:
    pipe_in, pipe_out = sys.stdin.buffer, _only_for_messages()
    memory_bytes_max = int(sys.argv[1])
    _be_modest(memory_bytes_max)
    from perdure.http.query.worker.session import Session

    session = Session(memory_bytes_max // 2)
    m.send(pipe_out, m.Ready())
    while True:
        try:
            asked = m.receive_from_node(pipe_in)
        except EOFError:
            return
        assert isinstance(asked, m.Ask)
        # The node kills a worker that takes too long. This is for the case that there is no node any more.
        _end_after(int(asked.seconds_max) + 2)
        try:
            m.send(pipe_out, session.run(asked, pipe_in, pipe_out))
        except (EOFError, BrokenPipeError):
            return
        _end_after(0)


def _only_for_messages() -> IO[bytes]:
    """The pipe to the node; what anything prints goes to stderr."""
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return pipe


def _end_after(seconds: int) -> None:
    """0: not at all."""
    if hasattr(signal, "alarm"):  # not on Windows
        signal.alarm(seconds)


def _be_modest(memory_bytes_max: int) -> None:
    """Beyond its memory an allocation fails, and the process ends: better than that the machine takes the node."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    os.nice(_NICE)
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes_max, memory_bytes_max))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
