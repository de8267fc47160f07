"""The state machine, one script for each behaviour: records in, actions and table changes out.

`PERDURE_REWRITE_SCRIPTS=1 pytest tests/partition` writes down what now comes of each record, so that a change of
behaviour is read as a diff of the scripts.
"""

from __future__ import annotations

import difflib
import os
from functools import cache
from pathlib import Path
from typing import get_args

import pytest

from perdure.model.records import Progress
from perdure.partition.actions import Action
from perdure.partition.apply import TRANSITIONS
from perdure.partition.transitions.progress import EFFECTS

from .script import Script

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.txt"))
REWRITE = "PERDURE_REWRITE_SCRIPTS"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script(path: Path) -> None:
    actual = Script(path).run()
    if os.environ.get(REWRITE):
        path.write_text(actual)
    expected = path.read_text()
    difference = "\n".join(
        difflib.unified_diff(expected.splitlines(), actual.splitlines(), "script", "now", lineterm="")
    )
    assert actual == expected, f"{path.name} (rewrite with {REWRITE}=1):\n{difference}"


@cache
def all_scripts() -> tuple[Script, ...]:
    scripts = tuple(Script(path) for path in SCRIPTS)
    for script in scripts:
        script.run()
    return scripts


STATUSES = {"unknown", "scheduled", "inboxed", "invoked", "backing off", "suspended", "paused", "completed"}
STARTED = {"unknown", "invoked", "backing off", "suspended", "paused", "completed"}
CELLS = {
    **dict.fromkeys(("invoke", "progress", "attempt-failed", "suspended", "interrupted", "timers-fired"), STATUSES),
    **dict.fromkeys(("signal", "forget", "cancel", "kill", "resume", "pause", "purge"), STATUSES),
    **dict.fromkeys(("purge-journal", "restart"), STATUSES),
    **dict.fromkeys(("invoke message", "attach message", "signal message", "kill message"), STATUSES),
    # Only an attempt asks for something, so an answer finds its invocation started, finished or gone.
    "completion message": STARTED,
}


@pytest.mark.parametrize("record", CELLS)
def test_every_record_meets_every_status(record: str) -> None:
    met = {status for script in all_scripts() for cell, status in script.cells if cell == record}
    assert CELLS[record] - met == set()


def test_every_transition_runs_in_some_script() -> None:
    met = {type(record) for script in all_scripts() for record in script.records}
    assert set(TRANSITIONS) - met == set()


def test_every_command_takes_effect_in_some_script() -> None:
    records = [record for script in all_scripts() for record in script.records]
    met = {type(entry) for record in records if isinstance(record, Progress) for entry in record.entries}
    assert set(EFFECTS) - met == set()


def test_every_action_is_answered_in_some_script() -> None:
    met = {type(action) for script in all_scripts() for action in script.actions}
    assert set(get_args(Action)) - met == set()


def test_a_script_that_expects_something_else_fails(tmp_path: Path) -> None:
    script = tmp_path / "wrong.txt"
    script.write_text("invoke a Greeter/greet\n  -> start a epoch 2\n")
    assert Script(script).run() != script.read_text()
