"""Dropping an attempt from memory: its coroutines are closed, newest first, and nothing they do counts any more.

CPython runs `finally` blocks when a coroutine goes. So the driver is made inert first; a durable operation in such a
block has no effect, and awaiting one goes on unwinding (`GeneratorExit`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from perdure.model.driver import C, Capability, Step

if TYPE_CHECKING:
    from perdure.sdk.loop import DeterministicLoop
    from perdure.sdk.task import HandlerTask

_log = logging.getLogger("perdure.handler")
_CLOSE_TRIES = 3


class InertDriver:
    """A driver that does nothing: what a failed or dropped attempt talks to."""

    __slots__ = ("capabilities",)

    replaying = True

    def __init__(self, capabilities: frozenset[Capability]) -> None:
        self.capabilities = capabilities

    def issue(self, command: C) -> C:
        return command

    def start_step(self, step: Step) -> None:
        pass

    def abandon(self, completion_id: int) -> None:
        pass


class FinishedEvent:
    """Set when the attempt is over, so that steps under way can tidy up. Waited for on the engine's loop."""

    __slots__ = ("_set", "_waiters")

    def __init__(self) -> None:
        self._set = False
        self._waiters: list[asyncio.Future[None]] = []

    def is_set(self) -> bool:
        return self._set

    async def wait(self) -> None:
        if not self._set:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    def set(self) -> None:
        self._set = True
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            with contextlib.suppress(RuntimeError):  # its loop is closed
                waiter.get_loop().call_soon_threadsafe(_wake, waiter)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def drop(loop: DeterministicLoop) -> None:
    """Close every unfinished coroutine of a loop that is stopped for good. Never raises."""
    tasks = loop.unfinished_tasks()
    if tasks:
        entered = loop.enter()
        try:
            with _no_warnings():
                for task in reversed(tasks):
                    _close(loop, task)
                loop.forget_tasks()
                del task
                tasks.clear()
        finally:
            loop.leave(entered)
    else:
        loop.forget_tasks()


def _close(loop: DeterministicLoop, task: HandlerTask[Any]) -> None:
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    coroutine: Any = task.get_coro()
    asyncio.tasks._enter_task(loop, task)
    try:
        for _ in range(_CLOSE_TRIES):
            try:
                task.context.run(coroutine.close)
            except RuntimeError as error:
                if "ignored GeneratorExit" in str(error):
                    continue
                _log.debug("A finally block failed while its attempt was dropped", exc_info=True)
            except BaseException:
                _log.debug("A finally block failed while its attempt was dropped", exc_info=True)
            break
    finally:
        asyncio.tasks._leave_task(loop, task)


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    """Coroutines that user code made and had not awaited yet go without a warning: it would be true of every drop."""
    name = "_warn_unawaited_coroutine"
    warn = getattr(warnings, name, None)
    if warn is None:
        yield
        return
    setattr(warnings, name, lambda coroutine: None)
    try:
        yield
    finally:
        setattr(warnings, name, warn)
