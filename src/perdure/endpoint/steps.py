"""The steps of one attempt on a Restate cluster: started when the state machine says so, each reported once.

An async body is a task of the endpoint's own loop, a plain one runs on a thread or in a worker process. What a step's end
means is the attempt's business.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

from perdure.env.executor import Executor
from perdure.model.driver import Step
from perdure.model.journal import Failure


class StepCancelled(RuntimeError):
    """The body did not come to its end: its task was cancelled, or the endpoint stopped."""


class Ended:
    """How a step ended. `error` None: with `result`."""

    __slots__ = ("error", "handle", "result", "step", "took_ms")

    def __init__(
        self, handle: int, step: Step, result: bytes | Failure | None, error: BaseException | None, took_ms: int
    ) -> None:
        self.handle = handle
        self.step = step
        self.result = result
        self.error = error
        self.took_ms = took_ms


class Steps:
    """Those under way, by the state machine's handle."""

    def __init__(self, loop: asyncio.AbstractEventLoop, executor: Executor, ended: Callable[[Ended], None]) -> None:
        self._loop = loop
        self._executor = executor
        self._ended = ended
        self._started: dict[int, float] = {}
        self.running: dict[int, asyncio.Future[Any]] = {}
        """Held here, because a loop holds its tasks weakly."""

    def start(self, handle: int, step: Step) -> None:
        self._started[handle] = time.monotonic()
        if step.mode == "async":
            self.running[handle] = self._loop.create_task(self._run(handle, step), context=step.context)
        else:
            self.running[handle] = self._run_away(handle, step)

    def cancel(self) -> None:
        """Nobody takes the results any more. A thread cannot be stopped; its result is dropped."""
        running, self.running = self.running, {}
        self._ended = _drop
        for future in running.values():
            future.cancel()

    async def _run(self, handle: int, step: Step) -> None:
        body = cast(Callable[[], Awaitable[bytes | Failure]], step.body)
        try:
            async with asyncio.timeout(None if step.timeout_ms is None else step.timeout_ms / 1000):
                result = await body()
        except asyncio.CancelledError:
            self._end(handle, step, None, StepCancelled("the step's task was cancelled from outside"))
            raise
        except Exception as error:
            self._end(handle, step, None, error)
        else:
            self._end(handle, step, result, None)

    def _run_away(self, handle: int, step: Step) -> asyncio.Future[bytes | Failure]:
        body, context = cast(Callable[[], "bytes | Failure"], step.body), step.context
        if step.mode == "process":
            timeout_s = None if step.timeout_ms is None else step.timeout_ms / 1000
            running = self._executor.submit_process(body, timeout_s=timeout_s)
        else:
            running = self._executor.submit("steps", body if context is None else lambda: context.run(body))
        future = asyncio.wrap_future(running, loop=self._loop)

        def done(finished: asyncio.Future[bytes | Failure]) -> None:
            if finished.cancelled():
                self._end(handle, step, None, StepCancelled("the step was cancelled because the endpoint stops"))
            elif (error := finished.exception()) is not None:
                self._end(handle, step, None, error)
            else:
                result, encode = finished.result(), step.encode
                if encode is not None and isinstance(result, bytes):
                    result = encode(result)
                self._end(handle, step, result, None)

        future.add_done_callback(done)
        return future

    def _end(self, handle: int, step: Step, result: bytes | Failure | None, error: BaseException | None) -> None:
        self.running.pop(handle, None)
        took_ms = int((time.monotonic() - self._started.pop(handle)) * 1000)
        self._ended(Ended(handle, step, result, error, took_ms))


def _drop(ended: Ended) -> None:
    pass
