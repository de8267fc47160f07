"""Tests that a document names, as `path::function`."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def missing(text: str) -> list[str]:
    """Those of a text that do not exist."""
    return [f"{path}::{name}" for path, name in TEST.findall(text) if name not in functions_of(path)]


@cache
def functions_of(path: str) -> frozenset[str]:
    """The functions that stand in a file by themselves, which is where pytest looks."""
    file = ROOT / path
    if not file.is_file():
        return frozenset()
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.parse(file.read_text()).body if isinstance(node, functions))
