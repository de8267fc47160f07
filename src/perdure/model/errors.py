"""The base of every error that perdure itself raises: a stable code, what happened, and what to do next.

Each code has a page `docs/errors/<code>.md`; a test holds the two together. Ranges: PD01 log, PD02 store and data
directory, PD03 node and partition, PD04 author's side, PD05 HTTP and command line, PD06 remote deployments, PD08
tools for tests. Errors that Restate also has keep its code (RT0016 journal mismatch, META0003 no discovery).
"""

from __future__ import annotations

import concurrent.futures.thread
import os
import traceback
from pathlib import Path
from typing import ClassVar


class PerdureError(Exception):
    """`str(error)` reads `PD0101: what happened. What to do next.`"""

    code: ClassVar[str] = "PD0000"
    park: ClassVar[bool] = False
    """Raised in a handler: another attempt would fail in the same way, so the invocation pauses at once."""

    def __init__(self, what: str, next_step: str = "") -> None:
        self.what = what
        self.next_step = next_step
        super().__init__(what, next_step)

    def __str__(self) -> str:
        text = f"{self.code}: {self.what}"
        return f"{text} {self.next_step}" if self.next_step else text


def stack_of(error: BaseException) -> str:
    """The traceback for people: from the first frame of their own code on, or whole when there is none."""
    first = error.__traceback__
    while first is not None and first.tb_frame.f_code.co_filename.startswith(_WAYS_IN):
        first = first.tb_next
    return "".join(traceback.format_exception(type(error), error, first or error.__traceback__))


_WAYS_IN = (f"{Path(__file__).parent.parent}{os.sep}", concurrent.futures.thread.__file__)
"""Where the frames come from that lead to a handler or a step."""
