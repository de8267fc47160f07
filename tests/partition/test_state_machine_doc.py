"""docs/state-machine.md is made from the source and up to date."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_args

from perdure.model.records import Record
from perdure.partition.apply import TRANSITIONS
from perdure.partition.transitions.progress import EFFECTS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "state-machine.md"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "state_machine_doc.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_page_is_up_to_date() -> None:
    result = run("--check")
    assert result.returncode == 0, result.stderr


def test_the_page_has_every_record_and_command() -> None:
    page = PAGE.read_text()
    assert [record.__name__ for record in TRANSITIONS if f"### {record.__name__}\n" not in page] == []
    assert [command.__name__ for command in EFFECTS if f"| {command.__name__} |" not in page] == []


def test_every_record_has_its_transition() -> None:
    assert set(TRANSITIONS) == set(get_args(Record))
