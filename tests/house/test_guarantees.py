"""docs/guarantees.md: every promise names tests that show it, and every test that it names exists."""

from __future__ import annotations

import re

from tests.house.named_tests import ROOT, TEST, missing

PAGE = (ROOT / "docs" / "guarantees.md").read_text()


def test_every_test_that_is_named_exists() -> None:
    assert len(TEST.findall(PAGE)) > 50
    assert missing(PAGE) == []


def test_every_promise_names_a_test() -> None:
    promises = [
        line
        for table in re.findall(r"\| promise \| shown by \|\n\| --- \| --- \|\n((?:\|.*\n)+)", PAGE)
        for line in table.splitlines()
    ]
    assert len(promises) > 30
    assert [line for line in promises if not TEST.search(line.split("|")[2])] == []


def test_nothing_that_looks_like_a_test_is_misspelt() -> None:
    looks = re.findall(r"`(tests/[^`]*)`", PAGE)
    assert [text for text in looks if not TEST.fullmatch(f"`{text}`")] == []
