"""docs/guarantees.md: every promise names tests that show it, and every test that it names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text()
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def functions_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_test_that_is_named_exists() -> None:
    named = TEST.findall(PAGE)
    assert len(named) > 50
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / path).is_file() or name not in functions_of(ROOT / path)
    ]
    assert missing == []


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
