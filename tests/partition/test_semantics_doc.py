"""docs/semantics.md names scripts that exist, and no script is left out of it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPTS = {path.name for path in (Path(__file__).parent / "scripts").glob("*.txt")}
INTERNAL = {"leader.txt", "time.txt"}
"""Of no concern to users."""


def test_the_scripts_named_are_the_scripts_there_are() -> None:
    named = set(re.findall(r"`([\w*]+\.txt)`", (ROOT / "docs" / "semantics.md").read_text()))
    statuses = {name for name in SCRIPTS if name.startswith("status_")}
    assert (named - {"status_*.txt"}) | statuses | INTERNAL == SCRIPTS
