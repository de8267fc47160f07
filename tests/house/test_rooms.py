"""What keeps the rooms apart beyond the import contract of pyproject.toml: the machine, private names, size."""

from __future__ import annotations

import ast
import functools
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "perdure"
ENGINE_ROOMS = ("log", "store", "partition", "invoker", "node")
THE_MACHINE = {"time", "os", "random", "threading"}
LINES_MAX = 500


def imported_modules(tree: ast.AST) -> Iterator[tuple[int, str, str | None]]:
    """(line, module, name) of each import; `name` is None for `import module`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, None
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                yield node.lineno, node.module or "", alias.name


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def sources(*rooms: str) -> list[Path]:
    return [path for room in rooms for path in sorted((SOURCE / room).rglob("*.py"))]


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def test_the_engine_reaches_the_machine_only_through_env() -> None:
    found = [
        f"{place(path, line)} imports {module}"
        for path in sources(*ENGINE_ROOMS)
        for line, module, _ in imported_modules(parsed(path))
        if module.split(".")[0] in THE_MACHINE
    ]
    assert not found, "take Clock, Files, Random or Executor from perdure.env instead"


def test_the_scan_would_see_a_forbidden_import() -> None:
    tree = ast.parse("def f():\n    import os.path\n    from time import monotonic\n")
    assert [(module, name) for _, module, name in imported_modules(tree)] == [("os.path", None), ("time", "monotonic")]


def test_no_room_imports_private_names_of_another() -> None:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        room = path.relative_to(SOURCE).parts[0]
        for line, module, name in imported_modules(parsed(path)):
            parts = [*module.split("."), *([name] if name else [])]
            if parts[0] != "perdure" or len(parts) < 2 or parts[1] == room:
                continue
            if any(part.startswith("_") and not part.startswith("__") for part in parts):
                found.append(f"{place(path, line)} imports {'.'.join(parts)}")
    assert not found


def loaded_with(path: Path) -> set[str]:
    """The modules of perdure that are loaded while this file is: not those imported for types only, or in functions."""
    tree = parsed(path)
    found: set[str] = set()
    for statement in tree.body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            for _, module, name in imported_modules(ast.Module([statement], [])):
                found |= {module, f"{module}.{name}"}
    return found


def test_no_file_needs_itself_while_it_loads() -> None:
    modules = {
        ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in SOURCE.rglob("*.py")
    }
    needs = {name: loaded_with(path) & modules.keys() - {name} for name, path in modules.items()}
    assert needs["perdure.cli.server"] >= {"perdure.node.engine", "perdure.http.server"}
    graphlib.TopologicalSorter(needs).prepare()  # raises CycleError, which names the files


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_file_is_one_concept(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= LINES_MAX, f"{lines} lines: usually two concepts; split them"


def test_every_module_says_what_it_is() -> None:
    mute = [
        str(path.relative_to(ROOT))
        for path in sorted(SOURCE.rglob("*.py"))
        if path.read_text().strip() and not ast.get_docstring(parsed(path))
    ]
    assert not mute, "a module's docstring says what it is, what always holds, what it must not know"
