"""Threads: where blocking work goes (a slow sync, a checkpoint, a `def` step)."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Executor(Protocol):
    def submit(self, name: str, work: Callable[[], T]) -> concurrent.futures.Future[T]:
        """Run `work` on the lane `name`; work of one lane runs in order, one at a time, except in the lane "steps"."""
        ...

    def shutdown(self, *, wait: bool) -> None: ...


class ThreadExecutor:
    """One thread per lane, made on first use; the lane "steps" is a pool of `step_threads`."""

    def __init__(self, step_threads: int = 32) -> None:
        self._step_threads = step_threads
        self._lanes: dict[str, concurrent.futures.ThreadPoolExecutor] = {}

    def submit(self, name: str, work: Callable[[], T]) -> concurrent.futures.Future[T]:
        lane = self._lanes.get(name)
        if lane is None:
            workers = self._step_threads if name == "steps" else 1
            lane = self._lanes[name] = concurrent.futures.ThreadPoolExecutor(workers, f"perdure-{name}")
        return lane.submit(work)

    def shutdown(self, *, wait: bool) -> None:
        for lane in self._lanes.values():
            lane.shutdown(wait=wait, cancel_futures=not wait)
        self._lanes.clear()
