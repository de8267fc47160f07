"""The clients are typed by the handlers, for mypy strict and pyright strict."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("typed_client.py")


@pytest.mark.slow
def test_mypy_strict_sees_the_types(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), "--config-file", "", str(PROGRAM)],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.slow
def test_pyright_strict_sees_the_types(tmp_path: Path) -> None:
    settings = tmp_path / "pyrightconfig.json"
    settings.write_text(
        json.dumps(
            {
                "include": [str(PROGRAM)],
                "typeCheckingMode": "strict",
                "reportUnnecessaryTypeIgnoreComment": True,
                "enableTypeIgnoreComments": False,
                "pythonVersion": "3.11",
            }
        )
    )
    command = [sys.executable, "-m", "pyright", "--project", str(settings), "--pythonpath", sys.executable]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
