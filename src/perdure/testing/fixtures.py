"""The fixtures of the pytest plugin, for the plugin that runs asynchronous tests (anyio's takes them as they are).

`perdure_node` is a node in memory with the app that the fixture `perdure_app` gives; tests define that one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from perdure.testing.in_memory import InMemoryNode


@pytest.fixture
def perdure_app() -> Any:
    """The app (or the list of services) under test: yours to define, in the test's module or in conftest.py."""
    raise pytest.UsageError(
        "`perdure_node` needs a fixture `perdure_app` that returns your app: define one in conftest.py."
    )


async def started_node(request: pytest.FixtureRequest, perdure_app: Any) -> AsyncGenerator[InMemoryNode, None]:
    """A started node in memory with the handlers of `perdure_app`; options with `@pytest.mark.perdure(...)`."""
    from perdure.testing.in_memory import node

    marker = request.node.get_closest_marker("perdure")
    async with node(perdure_app, **(marker.kwargs if marker is not None else {})) as started:
        yield started


perdure_node = pytest.fixture(name="perdure_node")(started_node)
