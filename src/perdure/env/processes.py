"""Worker processes: where work goes that would keep the interpreter from everything else, or that must be stoppable.

What always holds: a worker is started fresh (`spawn`), never forked, so it shares no file, lock or thread with this
process; it runs one piece of work at a time; it does not outlive this process, however that ends. Knows nothing of perdure.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import os
import pickle
import queue
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar, cast

T = TypeVar("T")

WORKER_NAME = "perdure-worker"
_spawn = multiprocessing.get_context("spawn")


class WorkerDied(RuntimeError):
    """The process that ran the work has ended without an answer: killed, out of memory, or crashed."""


class WorkerTimedOut(TimeoutError):
    """The work took longer than it may; its process was killed."""


class RemoteError(RuntimeError):
    """An error of the work that cannot be sent back as itself."""


class RemoteTraceback(Exception):
    """The cause of an error that was raised in another process: its traceback there, as text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class ProcessWorkers:
    """At most `limit` processes, each with a thread that feeds it; both are made when there is work for them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._workers: list[_Worker] = []
        self._idle = 0
        self._closed = False

    def submit(self, work: Callable[[], T], timeout_s: float | None) -> concurrent.futures.Future[T]:
        """Run `work`, which must be picklable, as its result must be. Cancelling the future kills what runs.

        The time counts from where a worker takes the work. Errors (in the future): WorkerDied, WorkerTimedOut,
        RemoteError, and what the work raises.
        """
        call = _Call(pickle.dumps(work), timeout_s)
        with self._lock:
            if self._closed:
                raise RuntimeError("the workers have been closed")
            if self._idle:
                self._idle -= 1
            elif len(self._workers) < self._limit:
                self._workers.append(_Worker(self._calls, self._rests))
            self._calls.put(call)
        return cast("concurrent.futures.Future[T]", call)

    def _rests(self) -> None:
        with self._lock:
            self._idle += 1

    def close(self) -> None:
        """Kill every worker; what waits or runs is cancelled or fails. Returns when the processes are gone."""
        with self._lock:
            self._closed = True
        with contextlib.suppress(queue.Empty):
            while True:
                waiting = self._calls.get_nowait()
                if waiting is not None:
                    waiting.cancel()
        for _ in self._workers:
            self._calls.put(None)
        for worker in self._workers:
            worker.close()
        self._workers.clear()

    def pids(self) -> list[int]:
        """Of the processes that were started and not yet seen to end."""
        return [pid for worker in self._workers if (pid := worker.pid) is not None]


class _Call(concurrent.futures.Future[object]):
    def __init__(self, work: bytes, timeout_s: float | None) -> None:
        super().__init__()
        self.work = work
        self.timeout_s = timeout_s
        self.kill: Callable[[], None] | None = None

    def cancel(self) -> bool:
        if super().cancel():
            return True
        if self.kill is not None:
            self.kill()
        return False


class _Worker:
    """A process and the thread that feeds it. The process is made anew after each death."""

    def __init__(self, calls: queue.SimpleQueue[_Call | None], rests: Callable[[], None]) -> None:
        self._calls = calls
        self._rests = rests
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._serve, name="perdure-worker", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        process = self._process
        return None if process is None else process.pid

    def close(self) -> None:
        with self._lock:
            self._closed = True
        self._kill()
        self._thread.join()

    def _kill(self) -> None:
        with self._lock:
            if self._process is not None:
                self._process.kill()

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            if call.set_running_or_notify_cancel():
                self._run(call)
            self._rests()
        self._end()

    def _run(self, call: _Call) -> None:
        try:
            process, pipe = self._ready()
            call.kill = self._kill
            pipe.send_bytes(call.work)
            # The sentinel as well: a process that is stopped half-way through an answer sends no end of file.
            if not wait([pipe, process.sentinel], call.timeout_s):
                self._end()
                raise WorkerTimedOut(f"the work took longer than {call.timeout_s} s; its process was killed")
            if not pipe.poll():
                raise EOFError
            failed, value, text = cast("tuple[bool, Any, str]", pickle.loads(pipe.recv_bytes()))
        except (EOFError, OSError) as lost:
            if isinstance(lost, WorkerTimedOut):
                call.set_exception(lost)
            else:
                call.set_exception(WorkerDied(f"the worker process died {self._end()}"))
        except BaseException as error:
            self._end()
            call.set_exception(error)
        else:
            if failed:
                value.__cause__ = RemoteTraceback(text)
                call.set_exception(value)
            else:
                call.set_result(value)
        finally:
            call.kill = None

    def _ready(self) -> tuple[SpawnProcess, Connection]:
        with self._lock:
            if self._closed:
                raise EOFError
            if self._process is not None and self._pipe is not None and self._process.is_alive():
                return self._process, self._pipe
            ours, theirs = _spawn.Pipe()
            process = _spawn.Process(target=_work, args=(theirs,), name=WORKER_NAME, daemon=True)
            process.start()
            theirs.close()
            self._process, self._pipe = process, ours
            return process, ours

    def _end(self) -> str:
        """Kill the process, wait for it and forget it; says how it ended."""
        with self._lock:
            process, self._process = self._process, None
            pipe, self._pipe = self._pipe, None
        if pipe is not None:
            pipe.close()
        if process is None:
            return "before it began"
        process.kill()
        process.join()
        code = process.exitcode
        process.close()
        return f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"


def in_worker() -> bool:
    """Whether this process is such a worker, also while it still imports the program."""
    return multiprocessing.current_process().name == WORKER_NAME


def _work(pipe: Connection) -> None:
    """A worker's life: one piece of work after the other, until the other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program; it decides what becomes of its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        while True:
            pipe.send_bytes(_answer(pipe.recv_bytes()))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _answer(work: bytes) -> bytes:
    try:
        return pickle.dumps((False, pickle.loads(work)(), ""))
    except BaseException as error:
        text = traceback.format_exc()
        if isinstance(error, SystemExit | KeyboardInterrupt):
            error = RemoteError(f"{type(error).__name__}: {error}")
        try:
            answer = pickle.dumps((True, error, text))
            pickle.loads(answer)
        except Exception:
            return pickle.dumps((True, RemoteError(f"{type(error).__name__}: {error}"), text))
        return answer
