"""Running a client's coroutines from code that is not asynchronous: the event loop lives on another thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from perdure.client.errors import WrongThread

T = TypeVar("T")


class Runner(Protocol):
    """Runs a coroutine to its end while the calling thread waits."""

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T: ...


class LoopRunner:
    """Runs on a loop that somebody else keeps running, on another thread. Errors: WrongThread."""

    def __init__(self, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self._loop = loop

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            loop = self._loop()
            if _running_loop() is loop:
                raise WrongThread(
                    "a blocking call on the event loop that has to answer it would wait for ever.",
                    "Here use the asynchronous client and await it; `sync` is for other threads.",
                )
        except BaseException:
            coroutine.close()
            raise
        return _wait(coroutine, loop)


class OwnLoop:
    """Runs on a loop and a thread of its own, which end with `close` (or with the process)."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="perdure-client", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if self._loop.is_closed():
            coroutine.close()
            raise RuntimeError("the client is closed")
        return _wait(coroutine, self._loop)

    def close(self) -> None:
        """Idempotent."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


def _wait(coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> T:
    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
