"""The documents tell the truth: links lead somewhere, Python blocks of the README run, the words are all explained."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.terminal import Terminal

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") or part == "node_modules" for part in path.relative_to(ROOT).parts)
)
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    text = FENCE.sub("", document.read_text())
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, fragment = link.partition("#")
        target = document.parent / path if path else document
        if not target.exists():
            broken.append(link)
        elif fragment and target.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            if fragment not in map(anchor, headings):
                broken.append(link)
    assert broken == []


def python_blocks(document: Path) -> list[str]:
    return [code for language, code in FENCE.findall(document.read_text()) if language == "python"]


@pytest.mark.slow
@pytest.mark.parametrize("code", python_blocks(ROOT / "README.md"))
def test_python_blocks_of_the_readme_run(code: str, tmp_path: Path) -> None:
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


BLOCK = re.compile(r"^```(python|sh|bash|shell|console)\b ?([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
RUN_ELSEWHERE = ("clients.md", "drop-in.md", "operations.md")  # tests/client/test_docs.py, test_operations_doc.py
PAGES = [
    page
    for page in sorted((ROOT / "docs").rglob("*.md"))
    if page.name not in RUN_ELSEWHERE and BLOCK.search(page.read_text())
]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_blocks_of_a_page_run(page: Path, tmp_path: Path) -> None:
    """In the order of the page: `file=NAME` is kept under that name for those behind it, `served` is typed beside a server
    (see `Terminal`), `fragment` is not run."""
    with Terminal(tmp_path) as terminal:
        for language, info, code in BLOCK.findall(page.read_text()):
            if info == "fragment":
                continue
            if info == "served":
                terminal.type(code)
                continue
            assert info == "" or info.startswith("file="), f"unknown mark {info!r}"
            name = info.removeprefix("file=") or "block.py"
            (tmp_path / name).write_text(code)
            if info:
                continue
            command = [sys.executable, name] if language == "python" else ["bash", "-euc", code]
            result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
            assert result.returncode == 0, f"{code}\n{result.stderr}"


def test_every_file_that_architecture_names_exists() -> None:
    named = re.findall(r"`(src/perdure/[\w/.]+)`", (ROOT / "ARCHITECTURE.md").read_text())
    assert named, "ARCHITECTURE.md names the files a call passes"
    assert [path for path in named if not (ROOT / path).exists()] == []
