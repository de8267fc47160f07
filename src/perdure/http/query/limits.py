"""How much queries may take: of time, of memory, and of each other."""

from __future__ import annotations

from dataclasses import dataclass

from perdure.model.limits import MIB

MEMORY_BYTES_MIN = 256 * MIB
"""Below this the process of a query does not even start."""


@dataclass(frozen=True)
class Limits:
    """Units: seconds and bytes."""

    at_once: int = 4
    """Queries that run."""
    waiting_max: int = 1000
    """So many more may wait for their turn: programs that look again and again, many at a time, are not turned away."""
    seconds_max: float = 30.0
    """From where a query begins to run."""
    answer_bytes_max: int = 128 * MIB
    memory_bytes_max: int = 1024 * MIB
    """Of the process of one query."""
    idle_s: float = 60.0
    """How long a process is kept for the next query."""
