"""The public API is typed: what a step or a call gives is known, and a wrong argument is an error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_mypy_strict_sees_the_types(tmp_path: Path) -> None:
    program = Path(__file__).with_name("typed_program.py")
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), "--config-file", "", str(program)],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
