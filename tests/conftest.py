"""What all tests share: how hypothesis searches, and what a skipped test means."""

from __future__ import annotations

import gc
import os

import pytest
from hypothesis import settings

# No deadline: on a busy machine an example may take any time. The same examples in each run, so that a failure is the
# change's fault; the fast loop looks at fewer of them. `PERDURE_EXAMPLES=5000` draws that many new ones for each test.
_EXAMPLES = int(os.environ.get("PERDURE_EXAMPLES", "0"))
settings.register_profile("whole", deadline=None, print_blob=True, derandomize=True)
settings.register_profile("fast", settings.get_profile("whole"), max_examples=20)
settings.register_profile("drawn", deadline=None, print_blob=True, max_examples=_EXAMPLES or 100)
settings.load_profile("drawn" if _EXAMPLES else os.environ.get("HYPOTHESIS_PROFILE", "whole"))

_NO_SKIPS = "PERDURE_NO_SKIPS"
_skipped: list[str] = []


def pytest_collection_finish() -> None:
    """What collecting left stays until the end: to walk through it again in each collection costs more than many a test."""
    gc.collect()
    gc.freeze()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        _skipped.append(report.nodeid)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped:
        _skipped.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where every component is installed, a test that is skipped is one that proves nothing."""
    if _skipped and os.environ.get(_NO_SKIPS) and not hasattr(session.config, "workerinput"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _skipped and os.environ.get(_NO_SKIPS):
        terminalreporter.section(f"skipped, and {_NO_SKIPS} is set", red=True)
        for test in _skipped:
            terminalreporter.line(test)
