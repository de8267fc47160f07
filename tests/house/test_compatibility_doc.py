"""docs/restate-compatibility.md says of each feature whether it is there, and each yes has a test that exists."""

from __future__ import annotations

import re

from tests.house.named_tests import ROOT, TEST, missing

PAGE = ROOT / "docs" / "restate-compatibility.md"


def rows() -> list[list[str]]:
    """Feature, answer, test and note of each."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split(" |")] for line in lines]
    return [row for row in cells if row[0] not in ("feature", "---")]


def test_every_row_has_an_answer_and_every_yes_its_test() -> None:
    assert len(rows()) > 80
    for feature, answer, test, note in rows():
        assert answer in ("yes", "partly", "no"), feature
        assert (TEST.fullmatch(test) is not None) == (answer != "no"), feature
        assert note or answer != "partly", f"{feature}: what is missing?"


def test_the_tests_named_exist() -> None:
    assert missing(PAGE.read_text()) == []


def test_the_files_named_exist() -> None:
    assert [path for path in re.findall(r"`(tests/[\w/]+\.py)`", PAGE.read_text()) if not (ROOT / path).is_file()] == []
