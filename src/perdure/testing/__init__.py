"""Tools for the tests of people who use perdure; each name is loaded when it is first used.

An engine in memory with a clock that the test moves (`node`), steps that stand in for others (`mock_step` of a node), and
a crash at every possible place (`crash_everywhere`). No Docker, no network, no server. See docs/testing.md.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from perdure.testing.clock import VirtualClock as VirtualClock
    from perdure.testing.crashes.everywhere import crash_everywhere as crash_everywhere
    from perdure.testing.crashes.report import CrashesFound as CrashesFound
    from perdure.testing.crashes.report import CrashReport as CrashReport
    from perdure.testing.in_memory import InMemoryNode as InMemoryNode
    from perdure.testing.in_memory import node as node
    from perdure.testing.mocking import StepCall as StepCall
    from perdure.testing.mocking import StepMock as StepMock

_WHERE = {
    "CrashReport": "crashes.report",
    "CrashesFound": "crashes.report",
    "InMemoryNode": "in_memory",
    "StepCall": "mocking",
    "StepMock": "mocking",
    "VirtualClock": "clock",
    "crash_everywhere": "crashes.everywhere",
    "node": "in_memory",
}

__all__ = [
    "CrashReport",
    "CrashesFound",
    "InMemoryNode",
    "StepCall",
    "StepMock",
    "VirtualClock",
    "crash_everywhere",
    "node",
]


def __getattr__(name: str) -> Any:
    module = _WHERE.get(name)
    if module is None:
        raise AttributeError(f"module 'perdure.testing' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"perdure.testing.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
