"""Worker processes: what comes back, what a death or a timeout looks like, and that nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from perdure.env.processes import ProcessWorkers, RemoteError, RemoteTraceback, WorkerDied, WorkerTimedOut


class Unsendable(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__("cannot be built from its message")


def fails() -> None:
    raise LookupError("not here")


def fails_unsendably() -> None:
    raise Unsendable(1, 2)


def gone(pid: int) -> bool:
    """True once the process is no more, or only a zombie that nobody has collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.fixture
def workers() -> Iterator[ProcessWorkers]:
    made = ProcessWorkers(2)
    yield made
    pids = made.pids()
    made.close()
    assert all(gone(pid) for pid in pids)


def test_work_runs_in_another_process_which_is_used_again(workers: ProcessWorkers) -> None:
    first = workers.submit(os.getpid, None).result(30)
    assert first != os.getpid()
    # The thread may say that it rests a moment after the result: then a second worker is made.
    pids = {workers.submit(os.getpid, None).result(30) for _ in range(20)}
    assert pids & {first} and len(pids) <= 2


def test_no_more_processes_than_the_limit(workers: ProcessWorkers) -> None:
    calls = [workers.submit(os.getpid, None) for _ in range(10)]
    assert len({call.result(30) for call in calls}) <= 2
    assert len(workers.pids()) <= 2


def test_an_error_comes_back_as_itself_with_its_traceback(workers: ProcessWorkers) -> None:
    error = workers.submit(fails, None).exception(30)
    assert isinstance(error, LookupError) and error.args == ("not here",)
    assert isinstance(error.__cause__, RemoteTraceback) and "in fails" in str(error.__cause__)
    other = workers.submit(fails_unsendably, None).exception(30)
    assert isinstance(other, RemoteError) and "Unsendable: cannot be built" in str(other)


def test_a_killed_worker_fails_its_work_and_is_replaced(workers: ProcessWorkers) -> None:
    error = workers.submit(partial(signal.raise_signal, signal.SIGKILL), None).exception(30)
    assert isinstance(error, WorkerDied) and "signal 9" in str(error)
    assert isinstance(workers.submit(partial(os._exit, 3), None).exception(30), WorkerDied)
    assert workers.submit(partial(abs, -2), None).result(30) == 2


def test_a_timeout_kills_the_process(workers: ProcessWorkers) -> None:
    pid = workers.submit(os.getpid, None).result(30)
    other = ProcessWorkers(1)
    try:
        held = other.submit(os.getpid, None).result(30)
        error = other.submit(partial(time.sleep, 600), 0.05).exception(30)
        assert isinstance(error, WorkerTimedOut) and gone(held)
        assert other.submit(os.getpid, None).result(30) != held
    finally:
        other.close()
    assert not gone(pid), "the others are left alone"


def test_cancelling_kills_what_runs() -> None:
    workers = ProcessWorkers(1)
    try:
        pid = workers.submit(os.getpid, None).result(30)
        call = workers.submit(partial(time.sleep, 600), None)
        while not call.running():
            os.sched_yield()
        while not call.done():
            call.cancel()
        assert isinstance(call.exception(), WorkerDied)
        assert gone(pid)
    finally:
        workers.close()


def test_closing_leaves_no_process_and_fails_what_waits() -> None:
    workers = ProcessWorkers(1)
    pid = workers.submit(os.getpid, None).result(30)
    running, waiting = workers.submit(partial(time.sleep, 600), None), workers.submit(os.getpid, None)
    while not running.running():
        os.sched_yield()
    workers.close()
    assert isinstance(running.exception(1), WorkerDied) and waiting.cancelled()
    assert gone(pid)
    with pytest.raises(RuntimeError):
        workers.submit(os.getpid, None)


PROGRAM = """
import os, signal, time
from functools import partial
from perdure.env.processes import ProcessWorkers

if __name__ == "__main__":
    workers = ProcessWorkers(1)
    print(workers.submit(os.getpid, None).result(), flush=True)
    workers.submit(partial(time.sleep, 600), None)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_worker_does_not_outlive_a_killed_program(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    run = subprocess.run([sys.executable, str(program)], stdout=subprocess.PIPE, text=True, timeout=60)
    assert run.returncode == -signal.SIGKILL
    # The pipe to this test is closed by the last process that holds it: the worker is gone when `run` returns.
    assert gone(int(run.stdout))
