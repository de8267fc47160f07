"""A server for tests, as in `restate.harness`: perdure in this process, without a container."""

from perdure.testing.harness import RestateTestHarness as RestateTestHarness
from perdure.testing.harness import TestConfiguration as TestConfiguration
from perdure.testing.harness import create_test_harness as create_test_harness
from perdure.testing.harness import test_harness as test_harness

__all__ = [
    "RestateTestHarness",
    "TestConfiguration",
    "create_test_harness",
    "test_harness",
]
