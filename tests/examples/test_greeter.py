"""The greeter: what its README says."""

from __future__ import annotations

import asyncio

import perdure
from examples.greeter import app as greeter
from perdure.testing import InMemoryNode, crash_everywhere


async def test_the_nth_greeting_says_n_for_each_name() -> None:
    async with perdure.Node(greeter.app) as node:
        greetings = [await node.client.object_call(greeter.greet, "Ann", "Hello") for _ in range(3)]
        assert greetings == [f"Hello Ann for the {nth} time." for nth in ("1st", "2nd", "3rd")]
        assert await node.client.object_call(greeter.greet, "Bob", "Hi") == "Hi Bob for the 1st time."
        assert await node.client.object_call(greeter.greeted, "Ann") == 3


async def test_none_is_lost_when_many_come_at_once() -> None:
    async with perdure.Node(greeter.app) as node:
        calls = [node.client.object_call(greeter.greet, "Ann", "Hello") for _ in range(50)]
        assert len(set(await asyncio.gather(*calls))) == 50
        assert await node.client.object_call(greeter.greeted, "Ann") == 50


async def test_no_crash_loses_or_doubles_a_greeting() -> None:
    async def greetings(node: InMemoryNode) -> list[object]:
        said = [await node.client.object_call(greeter.greet, "Ann", "Hello") for _ in range(3)]
        return [*said, await node.client.object_call(greeter.greeted, "Ann")]

    report = await crash_everywhere(greeter.app, greetings)
    assert report.crashes > 15


def test_ordinals() -> None:
    numbers = (1, 2, 3, 4, 11, 12, 13, 21, 101, 111, 112)
    assert [greeter.ordinal(number) for number in numbers] == (
        ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "101st", "111th", "112th"]
    )
