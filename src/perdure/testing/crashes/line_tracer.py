"""Line by line through a program's own code, while a step or a turn of a handler runs.

For each line that is about to run the observer is told the file and the line, and it may raise. What always holds: nothing of
the standard library, of installed packages or of perdure is traced; whatever traced before traces again afterwards.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import types
from collections.abc import Callable, Coroutine, Generator
from types import FrameType
from typing import Any, TypeVar

from perdure.testing.crashes.user_state import is_own_file

T = TypeVar("T")

OnLine = Callable[[str, int, str], None]
"""(file, line, what): `line` is about to run; or the function that stands there has `return`ed."""

_own = functools.lru_cache(maxsize=4096)(is_own_file)


@contextlib.contextmanager
def traced(on_line: OnLine) -> Generator[None, None, None]:
    """What this thread calls within the block is traced."""

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if not _own(frame.f_code.co_filename):
            return None
        if event in ("line", "return"):
            on_line(frame.f_code.co_filename, frame.f_lineno, event)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


@types.coroutine
def traced_coroutine(coroutine: Coroutine[Any, Any, T], on_line: OnLine) -> Generator[Any, Any, T]:
    """Await this instead of the coroutine: it is traced whenever it runs."""
    advance: Callable[[], Any] = functools.partial(coroutine.send, None)
    while True:
        try:
            with traced(on_line):
                waits_for = advance()
        except StopIteration as ended:
            result: T = ended.value
            return result
        try:
            sent = yield waits_for
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as error:
            advance = functools.partial(coroutine.throw, error)
        else:
            advance = functools.partial(coroutine.send, sent)
