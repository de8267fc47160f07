"""mypy and pyright, both strict, over one file, as a user would run them: nothing of this repository's settings counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

Checker = Callable[[Path, Path], "subprocess.CompletedProcess[str]"]


def mypy(program: Path, scratch: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(scratch), "--config-file", "", str(program)]
    return subprocess.run(command, capture_output=True, text=True)


def pyright(program: Path, scratch: Path) -> subprocess.CompletedProcess[str]:
    settings = {
        "include": [os.path.relpath(program, scratch)],  # absolute paths are passed over in silence
        "typeCheckingMode": "strict",
        "reportUnnecessaryTypeIgnoreComment": True,
        "enableTypeIgnoreComments": False,
        "pythonVersion": "3.11",
    }
    (scratch / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--project", str(scratch), "--pythonpath", sys.executable]
    return subprocess.run(command, cwd=scratch, capture_output=True, text=True)


CHECKERS: list[Checker] = [mypy, pyright]
