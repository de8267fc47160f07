"""What pytest loads of perdure (entry point `pytest11`): the marker, and the fixtures when there are any to give.

It is imported in every test run of every environment that has perdure installed, so it imports nothing but pytest until a
test asks for a fixture.
"""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "perdure(**options): options of the `perdure_node` of a test, as `testing.node` takes."
    )
    if config.pluginmanager.hasplugin("asyncio"):
        from perdure.testing import fixtures_for_asyncio as fixtures
    else:
        from perdure.testing import fixtures  # type: ignore[no-redef]
    config.pluginmanager.register(fixtures, "perdure-fixtures")
