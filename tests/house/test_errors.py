"""Every error has a code of its own and a page under docs/errors, and no page stands without its error."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections import defaultdict
from pathlib import Path

import perdure
from perdure.model.errors import PerdureError

PAGES = Path(__file__).parents[2] / "docs" / "errors"


def error_classes() -> set[type[PerdureError]]:
    for module in pkgutil.walk_packages(perdure.__path__, "perdure."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)

    def below(base: type[PerdureError]) -> set[type[PerdureError]]:
        found = set(base.__subclasses__())
        return found.union(*(below(cls) for cls in found))

    return {cls for cls in below(PerdureError) if cls.__module__.startswith("perdure.")}


def raised_classes() -> set[type[PerdureError]]:
    """Those that are errors themselves, not only the base of some."""
    return {cls for cls in error_classes() if "code" in vars(cls) or not cls.__subclasses__()}


def codes_of_attempt_errors() -> set[str]:
    """Codes without a class: why an attempt failed, as an invocation's last error shows it."""
    source = "\n".join(path.read_text() for path in Path(perdure.__file__).parent.rglob("*.py"))
    return set(re.findall(r'"(RT\d{4}|PD03\d\d)"', source))


def test_codes_are_unique_and_well_formed() -> None:
    owners: dict[str, list[str]] = defaultdict(list)
    for cls in raised_classes():
        owners[cls.code].append(cls.__qualname__)
    assert {code: names for code, names in owners.items() if len(names) > 1} == {}
    assert [code for code in owners if not re.fullmatch(r"(PD0[1-9]\d\d|RT\d{4}|META\d{4})", code)] == []


def test_every_code_has_its_page_and_every_page_its_code() -> None:
    pages = {page.stem for page in PAGES.glob("[A-Z][A-Z]*[0-9].md")}
    assert {cls.code for cls in raised_classes()} | codes_of_attempt_errors() == pages


def test_a_page_says_what_why_and_what_to_do() -> None:
    thin = [page.name for page in PAGES.glob("[A-Z][A-Z]*[0-9].md") if not is_complete(page)]
    assert thin == []


def is_complete(page: Path) -> bool:
    text = page.read_text()
    return text.startswith(f"# {page.stem}") and len(text.split()) >= 30
