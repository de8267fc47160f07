"""The state machine, one script for each behaviour: records in, actions and table changes out.

`PERDURE_REWRITE_SCRIPTS=1 pytest tests/partition` writes down what now comes of each record, so that a change of
behaviour is read as a diff of the scripts.
"""

from __future__ import annotations

import difflib
import os
from functools import cache
from pathlib import Path

import pytest

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
