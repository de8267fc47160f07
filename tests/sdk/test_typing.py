"""The author's API is typed: what a handler, a step or a hint gives is known, and a wrong argument is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checkers import CHECKERS, Checker

PROGRAM = Path(__file__).with_name("typed_program.py")


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKERS, ids=lambda check: check.__name__)
def test_the_types_are_seen(check: Checker, tmp_path: Path) -> None:
    run = check(PROGRAM, tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKERS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(
    "line",
    [
        "async def f(ctx: perdure.Context) -> int: return await ctx.run('s', str)",
        "async def f(ctx: perdure.ObjectContext) -> str: return await ctx.get('n', type_hint=int, default=0)",
        "x: int = 1  # type: ignore  # pyright: ignore",
    ],
)
def test_a_wrong_program_is_refused(check: Checker, line: str, tmp_path: Path) -> None:
    """So that the checkers are known to look at the file, and comments that ignore nothing to be reported."""
    program = tmp_path / "wrong.py"
    program.write_text(f"import perdure\n\nassert perdure\n{line}\n")
    run = check(program, tmp_path)
    assert run.returncode == 1, run.stdout + run.stderr
