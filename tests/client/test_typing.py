"""The clients are typed by the handlers, for mypy strict and pyright strict."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checkers import CHECKERS, Checker

PROGRAM = Path(__file__).with_name("typed_client.py")


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKERS, ids=lambda check: check.__name__)
def test_the_types_are_seen(check: Checker, tmp_path: Path) -> None:
    run = check(PROGRAM, tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
