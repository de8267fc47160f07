"""Transports that are closed at the end of a test, and a loop whose unhandled exceptions fail it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import cast

import pytest

from perdure.invoker.remote.connection import Bounds
from perdure.invoker.remote.transport import Transport


@pytest.fixture
async def unhandled() -> AsyncIterator[list[str]]:
    """What went wrong in the loop without reaching anybody; it must stay empty."""
    seen: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: seen.append(f"{context['message']}: {context.get('exception')!r}"))
    yield seen
    loop.set_exception_handler(None)
    assert seen == []


@pytest.fixture
async def make_transport(unhandled: list[str]) -> AsyncIterator[Callable[..., Transport]]:
    made: list[Transport] = []

    def make(**bounds: float) -> Transport:
        made.append(Transport(bounds=Bounds(**bounds)))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for transport in made:
        await transport.close()


@pytest.fixture
async def transport(make_transport: Callable[..., Transport]) -> Transport:
    return make_transport()


@pytest.fixture(params=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    """The node runs on uvloop, a host program perhaps on asyncio's own loop."""
    if request.param == "uvloop":
        return cast(asyncio.AbstractEventLoopPolicy, pytest.importorskip("uvloop").EventLoopPolicy())
    return asyncio.DefaultEventLoopPolicy()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The plugin's newer way to choose a loop is for a whole session; here it is for these tests."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture"))
