"""The public API of Restate's Python SDK, name by name and parameter by parameter, as far as the installed one goes.

What is missing, or takes other parameters, must stand in docs/drop-in.md: the tables there are the lists of exceptions here.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import perdure

restate = pytest.importorskip("restate")

PAGE = (Path(__file__).parents[2] / "docs" / "drop-in.md").read_text()
MODULES = [
    "asyncio",
    "aws_lambda",
    "client",
    "client_types",
    "connection",
    "context",
    "context_managers",
    "endpoint",
    "entry_codec",
    "exceptions",
    "extensions",
    "harness",
    "logging",
    "object",
    "retry_policy",
    "serde",
    "server_types",
    "service",
    "types",
    "workflow",
]


def listed(heading: str) -> set[str]:
    """The names in code font in the first column of the table below this heading."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return {
        name for row in re.findall(r"^\| (.+?) \|", section, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)
    }


MISSING = listed("What is not there")
DIFFERENT = listed("What takes other parameters")


def official(module: str) -> Any:
    """A module of the SDK. Its harness imports what runs containers; to read its signatures, the names are enough."""
    wanted = {
        "hypercorn": [],
        "hypercorn.config": ["Config"],
        "hypercorn.asyncio": ["serve"],
        "testcontainers": [],
        "testcontainers.core": [],
        "testcontainers.core.container": ["DockerContainer"],
        "testcontainers.core.wait_strategies": ["CompositeWaitStrategy", "HttpWaitStrategy"],
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, attributes in wanted.items() if module == "harness" else ():
            stand_in = types.ModuleType(name)
            vars(stand_in).update({attribute: type(attribute, (), {}) for attribute in attributes})
            patch.setitem(sys.modules, name, stand_in)
        return importlib.import_module(f"restate.{module}")


def public_names(module: Any) -> Iterator[str]:
    """What a module of the SDK defines itself, or says that it exports; not what it imports for its own use."""
    exported = getattr(module, "__all__", ())
    for name, value in vars(module).items():
        if name.startswith("_"):
            continue
        defined = getattr(value, "__module__", None) == module.__name__ and not inspect.ismodule(value)
        if name in exported or (defined and (inspect.isclass(value) or inspect.isfunction(value))):
            yield name


PAIRS = [(module, name) for module in MODULES for name in public_names(official(module))]


def ours_and_theirs(module: str, name: str) -> tuple[Any, Any]:
    return getattr(importlib.import_module(f"perdure.{module}"), name), getattr(official(module), name)


def test_every_name_of_the_package_is_there() -> None:
    assert set(restate.__all__) - set(perdure.__all__) == set()
    for name in restate.__all__:
        assert getattr(perdure, name) is not None


@pytest.mark.parametrize("module", MODULES)
def test_every_module_is_an_attribute_and_can_be_imported(module: str) -> None:
    assert getattr(perdure, module) is importlib.import_module(f"perdure.{module}")


@pytest.mark.parametrize(("module", "name"), PAIRS)
def test_every_name_of_a_module_is_there(module: str, name: str) -> None:
    if f"{module}.{name}" in MISSING:
        assert not hasattr(importlib.import_module(f"perdure.{module}"), name), "it is there: take it off the list"
    else:
        assert ours_and_theirs(module, name)[0] is not None


@pytest.mark.parametrize(("module", "name"), [pair for pair in PAIRS if ".".join(pair) not in MISSING])
def test_it_takes_what_theirs_takes_in_the_same_places(module: str, name: str) -> None:
    ours, theirs = ours_and_theirs(module, name)
    compared = f"{module}.{name}"
    if inspect.isfunction(theirs):
        if compared in DIFFERENT:
            return
        compare(compared, ours, theirs)
    elif inspect.isclass(theirs) and not hasattr(theirs, "__total__"):  # a TypedDict has no signature worth comparing
        for member, function in inspect.getmembers(theirs, inspect.isfunction):
            if (member.startswith("_") and member != "__init__") or f"{compared}.{member}" in DIFFERENT | MISSING:
                continue
            assert hasattr(ours, member), f"{compared}.{member}"
            if member != "__init__" or constructed(theirs):
                compare(f"{compared}.{member}", getattr(ours, member), function)
        if dataclasses.is_dataclass(theirs):
            names = [field.name for field in dataclasses.fields(theirs)]
            assert [field.name for field in dataclasses.fields(ours)][: len(names)] == names


def constructed(theirs: Any) -> bool:
    """A class that programs make themselves, and not one that contexts hand out."""
    return not inspect.isabstract(theirs) and not theirs.__name__.startswith("RestateDurable")


def compare(what: str, ours: Any, theirs: Any) -> None:
    got, wanted = inspect.signature(ours).parameters, inspect.signature(theirs).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in got.values()):
        wanted = {name: parameter for name, parameter in wanted.items() if name in got}
    for position, (name, declared) in enumerate(wanted.items()):
        assert name in got, f"{what}({name})"
        if declared.kind is declared.POSITIONAL_OR_KEYWORD:
            assert list(got)[position] == name, f"{what}: {name} is elsewhere"
        if declared.default is not declared.empty:
            assert got[name].default is not inspect.Parameter.empty, f"{what}({name}=)"
    more = [p for name, p in got.items() if name not in wanted and p.default is p.empty and p.kind < p.VAR_POSITIONAL]
    assert more == [], f"{what} needs more than theirs"


def test_lists_of_exceptions_name_what_is_there() -> None:
    known = {".".join(pair) for pair in PAIRS}
    for name in MISSING | DIFFERENT:
        if name.count(".") == 2:
            parent, member = name.rsplit(".", 1)
            assert parent in known and hasattr(ours_and_theirs(*parent.split("."))[1], member), name
        elif "." in name:
            assert name in known, name


def test_a_submodule_that_is_not_public_is_not_there() -> None:
    for name in ("server", "server_context", "vm", "handler", "discovery", "ext"):
        assert f"`{name}`" in PAGE
        with pytest.raises(ImportError):
            importlib.import_module(f"perdure.{name}")
