"""Dropping an attempt from memory: its coroutines are closed, newest first, and nothing they do counts any more.

CPython runs `finally` blocks when a coroutine goes. So the driver is made inert first; a durable operation in such a
block has no effect, and awaiting one goes on unwinding (`GeneratorExit`).
"""

# pyright: reportPrivateUsage=false
# asyncio's interface for other loops is spelled with underscores.

from __future__ import annotations

import asyncio
import contextlib
import logging
import warnings
from collections.abc import AsyncGenerator, Generator
from typing import TYPE_CHECKING, Any

from perdure.model.driver import C, Capability, Step

if TYPE_CHECKING:
    from perdure.sdk.loop import DeterministicLoop
    from perdure.sdk.task import HandlerTask

_log = logging.getLogger("perdure.handler")
_CLOSE_TRIES = 3
WAITS_REFUSED_MAX = 100
"""Waits of an attempt that is over which raise at once. Further ones do not end: code that catches everything, in a loop,
would go round for ever."""
_said: set[tuple[str, int]] = set()
"""Lines (file, number) that were named."""


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
                task = None
                tasks.clear()
        finally:
            loop.leave(entered)
    else:
        loop.forget_tasks()


def _close(loop: DeterministicLoop, task: HandlerTask[Any]) -> None:
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    asyncio.tasks._enter_task(loop, task)
    try:
        task.context.run(_unwind, task.get_coro(), task._fut_waiter)  # type: ignore[attr-defined]
    finally:
        asyncio.tasks._leave_task(loop, task)


def _unwind(coroutine: Any, waiter: asyncio.Future[Any] | None) -> None:
    """Raise GeneratorExit where the coroutine waits, then close what is left.

    Closing alone would not reach into an async generator that waits for something: its `finally` would be skipped.
    """
    exits: list[BaseException] = []
    try:
        if waiter is not None and not isinstance(waiter, asyncio.Task):
            leave = fail_with_exit(waiter)
            if leave is not None:
                exits.append(leave)
            for _ in range(_CLOSE_TRIES):
                coroutine.send(None)
        for _ in range(_CLOSE_TRIES):
            exits.append(GeneratorExit())
            coroutine.throw(exits[-1])
        say_swallowed(exits)  # it waits again each time that it is told to go
    except StopIteration:
        say_swallowed(exits)
    except GeneratorExit as error:
        error.__traceback__ = None
    except BaseException:
        _log.debug("A finally block failed while its attempt was dropped", exc_info=True)
    finally:
        for leave in exits:
            # Its traceback would keep every frame, and what they hold, alive.
            leave.__traceback__ = leave.__context__ = None


def say_swallowed(exits: list[BaseException]) -> None:
    """Name the line of the code that caught what was to end it, once for each line."""
    for leave in exits:
        caught = leave.__traceback__
        if caught is None:
            continue
        code = caught.tb_frame.f_code
        if (code.co_filename, caught.tb_lineno) not in _said:
            _said.add((code.co_filename, caught.tb_lineno))
            _log.warning(
                "%s:%d, in %s: a bare `except:` (or `except BaseException`, or a `return` in a `finally`) around this line "
                "catches what ends an attempt when it leaves memory. What the handler does after it has no effect. "
                "Write `except Exception:`, or raise again.",
                code.co_filename,
                caught.tb_lineno,
                code.co_name,
            )
        return


def fail_with_exit(future: asyncio.Future[Any]) -> BaseException | None:
    """Whoever waits for this goes on unwinding. None: it was done already."""
    if future.done():
        return None
    leave = GeneratorExit()
    future.set_exception(leave)
    future._log_traceback = False
    return leave


def close_generator(generator: AsyncGenerator[Any, Any]) -> None:
    """Run what an async generator does when it is closed, as far as it goes without waiting."""
    closing = generator.aclose()
    try:
        closing.send(None)
        closing.close()
    except (StopIteration, StopAsyncIteration, GeneratorExit):
        pass
    except BaseException:
        _log.debug("A finally block failed while its attempt was dropped", exc_info=True)


def _say_nothing(coroutine: object) -> None:
    pass


@contextlib.contextmanager
def _no_warnings() -> Generator[None]:
    """Coroutines that user code made and had not awaited yet go without a warning: it would be true of every drop."""
    name = "_warn_unawaited_coroutine"
    warn = getattr(warnings, name, None)
    if warn is None:
        yield
        return
    setattr(warnings, name, _say_nothing)
    try:
        yield
    finally:
        setattr(warnings, name, warn)
