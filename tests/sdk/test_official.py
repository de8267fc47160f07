"""Names, parameters and shapes are those of the official Restate SDK; ours may have more."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from typing import Any

import pytest

import perdure

restate = pytest.importorskip("restate")

CLASSES = [
    "Service",
    "VirtualObject",
    "Workflow",
    "Context",
    "ObjectContext",
    "ObjectSharedContext",
    "WorkflowContext",
    "WorkflowSharedContext",
    "DurablePromise",
    "RestateDurableCallFuture",
    "SendHandle",
    "TerminalError",
    "JournalValueCodec",
]


def test_every_exported_name_exists() -> None:
    assert set(restate.__all__) - set(perdure.__all__) == set()
    for name in perdure.__all__:
        assert getattr(perdure, name) is not None


def parameters(function: Any) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(function).parameters)


@pytest.mark.parametrize("name", CLASSES)
def test_methods_take_the_same_parameters_in_the_same_places(name: str) -> None:
    theirs, ours = getattr(restate, name), getattr(perdure, name)
    for member, function in inspect.getmembers(theirs, inspect.isfunction):
        if member.startswith("_") and member != "__init__":
            continue
        assert hasattr(ours, member), f"{name}.{member}"
        wanted, got = parameters(function), parameters(getattr(ours, member))
        if name.startswith("Restate") and member == "__init__":
            continue
        for position, (parameter, declared) in enumerate(wanted.items()):
            assert parameter in got, f"{name}.{member}({parameter})"
            if declared.kind is declared.POSITIONAL_OR_KEYWORD:
                assert list(got)[position] == parameter, f"{name}.{member}: {parameter} is elsewhere"
            if declared.default is not declared.empty:
                assert got[parameter].default is not inspect.Parameter.empty, f"{name}.{member}({parameter}=)"
        extra = [p for key, p in got.items() if key not in wanted and p.default is p.empty and p.kind < 2]
        assert extra == [], f"{name}.{member} needs more than theirs"


@pytest.mark.parametrize("name", ["app", "gather", "select", "as_completed", "wait_completed", "getLogger"])
def test_functions_take_the_same_parameters(name: str) -> None:
    wanted, got = parameters(getattr(restate, name)), parameters(getattr(perdure, name))
    assert [p for p in wanted if p not in got] == []
    assert list(got)[: len(wanted)] == list(wanted)


@pytest.mark.parametrize("name", ["RunOptions", "InvocationRetryPolicy"])
def test_dataclasses_have_the_same_fields(name: str) -> None:
    wanted = [field.name for field in dataclasses.fields(getattr(restate, name))]
    got = [field.name for field in dataclasses.fields(getattr(perdure, name))]
    assert got[: len(wanted)] == wanted


def test_errors_have_the_same_shape() -> None:
    from restate.exceptions import RetryableError

    error = perdure.TerminalError("m", 404, {"a": "b"})
    assert (error.message, error.status_code, error.metadata) == ("m", 404, {"a": "b"})
    assert list(parameters(perdure.RetryableError)) == list(parameters(RetryableError))
    assert not perdure.is_internal_exception(error)
    assert perdure.is_internal_exception(perdure.SdkInternalBaseException())


def test_importing_is_quick() -> None:
    code = "import time; start = time.process_time(); import perdure; print((time.process_time() - start) * 1000)"
    best = min(
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(3)
    )
    assert best < 80
