"""Threads and processes: where blocking work goes (a slow sync, a checkpoint, a `def` step) and work that fills a core."""

from __future__ import annotations

import concurrent.futures
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from perdure.env.processes import ProcessWorkers

T = TypeVar("T")


class Executor(Protocol):
    def submit(self, name: str, work: Callable[[], T]) -> concurrent.futures.Future[T]:
        """Run `work` on the lane `name`; work of one lane runs in order, one at a time, except in the lane "steps"."""
        ...

    def submit_process(self, work: Callable[[], T], *, timeout_s: float | None) -> concurrent.futures.Future[T]:
        """Run `work` (picklable) in a worker process, which is killed when it takes longer, or when the future is cancelled."""
        ...

    def shutdown(self, *, wait: bool) -> None:
        """Of processes nothing is left when this returns."""
        ...


class ThreadExecutor:
    """One thread per lane, made on first use; the lane "steps" is a pool of `step_threads`.

    Processes are made when there is work for them, up to `step_processes` (None: one per core).
    """

    def __init__(self, step_threads: int = 32, step_processes: int | None = None) -> None:
        self._step_threads = step_threads
        self._step_processes = step_processes
        self._workers: ProcessWorkers | None = None
        self._lanes: dict[str, concurrent.futures.ThreadPoolExecutor] = {}

    def submit(self, name: str, work: Callable[[], T]) -> concurrent.futures.Future[T]:
        lane = self._lanes.get(name)
        if lane is None:
            workers = self._step_threads if name == "steps" else 1
            lane = self._lanes[name] = concurrent.futures.ThreadPoolExecutor(workers, f"perdure-{name}")
        return lane.submit(work)

    def submit_process(self, work: Callable[[], T], *, timeout_s: float | None) -> concurrent.futures.Future[T]:
        if self._workers is None:
            from perdure.env.processes import ProcessWorkers  # multiprocessing: not every start should pay for it

            self._workers = ProcessWorkers(self._step_processes or os.cpu_count() or 1)
        return self._workers.submit(work, timeout_s)

    def shutdown(self, *, wait: bool) -> None:
        if self._workers is not None:
            self._workers.close()
            self._workers = None
        for lane in self._lanes.values():
            lane.shutdown(wait=wait, cancel_futures=not wait)
        self._lanes.clear()
