"""The steps of one attempt: registered during a turn, started after it, each reported once.

An async body is a task of the node's own long-lived loop, a plain one runs on a thread or in a worker process. What a
step's end means is the attempt's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from perdure.model.driver import Step
from perdure.model.journal import Failure

if TYPE_CHECKING:
    from perdure.invoker.host import Host

AsyncBody: TypeAlias = Callable[[], Awaitable["bytes | Failure"]]
PlainBody: TypeAlias = Callable[[], "bytes | Failure"]
Done = Callable[[Step, "bytes | Failure"], None]
Failed = Callable[[Step, BaseException], None]


class StepCancelled(RuntimeError):
    """The body did not come to its end: its task was cancelled, or the node stopped."""


class Steps:
    __slots__ = ("_done", "_elsewhere", "_failed", "_host", "fresh", "running")

    def __init__(self, host: Host, done: Done, failed: Failed) -> None:
        self._host = host
        self._done = done
        self._failed = failed
        self.fresh: dict[int, Step] = {}
        """Registered, not started."""
        self.running: dict[int, asyncio.Future[Any]] = {}
        """What runs, by completion id; held here, because a loop holds its tasks weakly."""
        self._elsewhere: set[int] = set()
        """Those of them that run in a worker process."""

    def cancel(self) -> None:
        """Nobody takes the results any more: async bodies end at their next await, workers are killed; a
        thread cannot be stopped.
        """
        for completion_id, running in self.running.items():
            if isinstance(running, asyncio.Task) or completion_id in self._elsewhere:
                running.cancel()

    def start(self) -> None:
        """Start what was registered; not while the node stops: those run in the next process."""
        if not self._host.may_start_steps:
            return
        fresh, self.fresh = self.fresh, {}
        create_task = self._host.loop.create_task
        for completion_id, step in fresh.items():
            if step.mode == "async":
                body = cast(AsyncBody, step.body)
                self.running[completion_id] = create_task(self._run(step, body), context=step.context)
            else:
                plain = cast(PlainBody, step.body)
                self.running[completion_id] = self._run_away(step, plain)

    async def _run(self, step: Step, body: AsyncBody) -> None:
        try:
            if step.timeout_ms is None:
                result = await body()
            else:
                async with asyncio.timeout(step.timeout_ms / 1000):
                    result = await body()
        except asyncio.CancelledError:
            self._end(step, None, StepCancelled("the step's task was cancelled from outside"))
            raise
        except Exception as error:
            self._end(step, None, error)
        else:
            self._end(step, result, None)

    def _run_away(self, step: Step, body: PlainBody) -> asyncio.Future[bytes | Failure]:
        executor, context = self._host.executor, step.context
        if step.mode == "process":
            timeout_s = None if step.timeout_ms is None else step.timeout_ms / 1000
            running = executor.submit_process(body, timeout_s=timeout_s)
            self._elsewhere.add(step.completion_id)
        else:
            running = executor.submit("steps", body if context is None else lambda: context.run(body))
        future = asyncio.wrap_future(running, loop=self._host.loop)

        def done(finished: asyncio.Future[bytes | Failure]) -> None:
            if finished.cancelled():
                self._end(step, None, StepCancelled("the step was cancelled because the node stops"))
            elif (error := finished.exception()) is not None:
                self._end(step, None, error)
            else:
                result, encode = finished.result(), step.encode
                self._end(step, encode(result) if encode is not None and isinstance(result, bytes) else result, None)

        future.add_done_callback(done)
        return future

    def _end(self, step: Step, result: bytes | Failure | None, error: BaseException | None) -> None:
        self.running.pop(step.completion_id, None)
        self._elsewhere.discard(step.completion_id)
        if error is not None:
            self._failed(step, error)
        else:
            assert result is not None
            self._done(step, result)
