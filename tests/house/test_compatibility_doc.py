"""docs/restate-compatibility.md says of each feature whether it is there, and each yes has a test that exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "restate-compatibility.md"
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def rows() -> list[list[str]]:
    """Feature, answer, test and note of each."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split(" |")] for line in lines]
    return [row for row in cells if row[0] not in ("feature", "---")]


@cache
def names_in(path: str) -> frozenset[str]:
    file = ROOT / path
    if not file.is_file():
        return frozenset()
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, functions))


def test_every_row_has_an_answer_and_every_yes_its_test() -> None:
    assert len(rows()) > 80
    for feature, answer, test, note in rows():
        assert answer in ("yes", "partly", "no"), feature
        assert (TEST.fullmatch(test) is not None) == (answer != "no"), feature
        assert note or answer != "partly", f"{feature}: what is missing?"


def test_the_tests_named_exist() -> None:
    named = [(path, name) for _, _, test, _ in rows() for path, name in TEST.findall(test)]
    assert [f"{path}::{name}" for path, name in named if name not in names_in(path)] == []


def test_the_files_named_exist() -> None:
    assert [path for path in re.findall(r"`(tests/[\w/]+\.py)`", PAGE.read_text()) if not (ROOT / path).is_file()] == []
