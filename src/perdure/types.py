"""Types used across the API, as in `restate.types`."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from perdure.testing.environment import HarnessEnvironment as HarnessEnvironment

__all__ = ["HarnessEnvironment", "extract_core_type"]


def extract_core_type(annotation: Any) -> tuple[Literal["optional", "simple"], Any]:
    """An annotation without its `| None`, and whether it had one; a union of more stays as it is."""
    members = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else ()
    if len(members) == 2 and NoneType in members:
        return "optional", members[0] if members[1] is NoneType else members[1]
    return "simple", annotation
