"""Time. Units: Unix time in milliseconds; monotonic time in seconds."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    def now_ms(self) -> int:
        """Wall clock, Unix time in milliseconds. May go back; whoever needs it monotonic sees to that."""
        ...

    def monotonic(self) -> float: ...


class SystemClock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    monotonic = staticmethod(time.monotonic)
