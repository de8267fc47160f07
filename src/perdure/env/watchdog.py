"""A watch over an event loop: who keeps it from everything else.

A thread asks the loop for a sign of life. When none comes in time, it looks at what the loop's thread is doing and reports
that, once for each time the loop is blocked. Knows nothing of perdure.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType

Report = Callable[[str, str], None]
"""Called on the watch's thread with the blocking frame, as `FILE:LINE, in FUNCTION`, and the whole stack as text."""


class LoopWatchdog:
    """Made on the thread of `loop`. `own`: directories whose frames are not to blame."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, limit_s: float, report: Report, own: tuple[str, ...] = ()
    ) -> None:
        self._loop = loop
        self._limit_s = limit_s
        self._report = report
        self._thread_id = threading.get_ident()
        self._blameless = (*own, sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"))
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="perdure-watchdog", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Returns at once; the thread ends by itself."""
        self._closing.set()

    def _watch(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            while not self._closing.wait(self._limit_s / 2):
                alive = threading.Event()
                self._loop.call_soon_threadsafe(alive.set)
                if alive.wait(self._limit_s) or self._closing.is_set():
                    continue
                frame = sys._current_frames().get(self._thread_id)
                if frame is not None and not alive.is_set():
                    self._report(self._to_blame(frame), "".join(traceback.format_stack(frame)))
                del frame
                while not alive.wait(self._limit_s) and not self._closing.is_set():
                    pass

    def _to_blame(self, innermost: FrameType) -> str:
        """The innermost frame that is neither the standard library's, nor a package's, nor one's own."""
        frame: FrameType | None = innermost
        while frame is not None:
            name = frame.f_code.co_filename
            if Path(name).is_absolute() and not name.startswith(self._blameless):
                break
            frame = frame.f_back
        found = frame or innermost
        return f"{found.f_code.co_filename}:{found.f_lineno}, in {found.f_code.co_name}"
