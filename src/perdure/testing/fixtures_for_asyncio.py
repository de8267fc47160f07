"""The same fixtures where pytest-asyncio runs the tests: in its strict mode it takes only those that it marks itself."""

from __future__ import annotations

import pytest_asyncio

from perdure.testing.fixtures import perdure_app, started_node

perdure_node = pytest_asyncio.fixture(name="perdure_node")(started_node)

__all__ = ["perdure_app", "perdure_node"]
