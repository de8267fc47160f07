"""Where a request to a deployment goes, and what it says of who sends it."""

from __future__ import annotations

import pytest

from perdure.invoker.remote.head import request_head
from perdure.node.addresses import normalised, same_place


@pytest.mark.parametrize(
    ("uri", "target"),
    [
        ("http://h:1", "/discover"),
        ("http://h:1/p", "/p/discover"),
        ("http://h:1/p?a=b&c", "/p/discover?a=b&c"),
        ("http://h:1/p/?a=b#c", "/p/discover?a=b"),
    ],
)
def test_the_query_of_the_address_stands_behind_the_path(uri: str, target: str) -> None:
    assert request_head("GET", normalised(uri), "discover", {}).target == target


def test_a_query_makes_no_other_place() -> None:
    assert same_place(normalised("http://h/p?a"), normalised("http://H/p/?b"))
    assert not same_place(normalised("http://h/p?a"), normalised("http://h/q?a"))
