"""docs/reference.md is made from the docstrings, is up to date, and has every public name with a text of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import perdure

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "reference_doc.py"
PAGE = ROOT / "docs" / "reference.md"


def test_the_page_is_up_to_date() -> None:
    """The script refuses a public name or method without a docstring, and a name that no section has."""
    run = subprocess.run([sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr


def test_the_page_has_every_public_name() -> None:
    headings = {line.removeprefix("### ") for line in PAGE.read_text().splitlines() if line.startswith("### ")}
    assert set(perdure.__all__) - {"__version__"} <= headings


def test_what_handlers_call_is_all_there() -> None:
    """Of the classes that people meet most, every public method of the class and its bases stands on the page."""
    page = PAGE.read_text()
    for kind in (perdure.Context, perdure.ObjectContext, perdure.WorkflowContext, perdure.Client, perdure.SyncClient):
        for name in dir(kind):
            if not name.startswith("_") and callable(getattr(kind, name)):
                assert f"- `{name}(" in page or f"- `await {name}(" in page, f"{kind.__name__}.{name}"
