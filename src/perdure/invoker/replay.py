"""Replay comparison: is the command that a handler issues the one it issued before?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from perdure.model import journal as j
from perdure.model.journal import Command

MISMATCH = 570
"""Failure code of a journal mismatch, as in Restate."""
DOC_CODE = "RT0016"

# What is compared of each kind. Left out are answers that the journal itself holds (eager state), times that are taken
# from the record (sleep), and what the invoker fills in (the resolved request of a call).
_COMPARED: Mapping[type, tuple[str, ...]] = MappingProxyType(
    {
        j.Output: (),
        j.GetEagerState: ("key", "name"),
        j.GetEagerStateKeys: ("name",),
        j.Sleep: ("completion_id", "name"),
        j.Call: ("completion_id", "target", "headers", "body", "idempotency_key", "name"),
        j.OneWayCall: ("invocation_id_completion_id", "target", "headers", "body", "idempotency_key", "name"),
    }
)


def same(recorded: Command, issued: Command) -> bool:
    kind = type(issued)
    if type(recorded) is not kind:
        return False
    fields = _COMPARED.get(kind)
    if fields is None:
        return recorded == issued
    return all(getattr(recorded, field) == getattr(issued, field) for field in fields)


def explain(
    index: int,
    recorded: Command | None,
    issued: Command | None,
    was: str,
    where: str,
    recorded_by: str | None,
    identity: str,
) -> str:
    """The mismatch in words: both sides, where the code stands, whose the journal is, and the likely cause.

    `index` counts commands, 0 = Input. `was` says where this code has what is recorded, `where` where it issues something.
    `recorded_by` and `identity`: the app that accepted the invocation, and this one.
    """
    return (
        f"journal mismatch at command {index}: the journal says {describe(recorded)}{was}, "
        f"the code now {_issues(issued)}"
        f"{where}. {_whose(recorded_by, identity)}{_cause(recorded, issued)} "
        "Deploy code that issues the recorded command at this place and resume the "
        "invocation, or cancel or kill it."
    )


def _whose(recorded_by: str | None, identity: str) -> str:
    if recorded_by is None:
        return ""
    if recorded_by == identity:
        return f"The invocation was accepted by this very code ({identity[:12]}). "
    return f"The invocation was accepted by other code ({recorded_by[:12]}; this is {identity[:12]}). "


def _issues(issued: Command | None) -> str:
    return "waits or ends without issuing anything" if issued is None else f"issues {describe(issued)}"


def _cause(recorded: Command | None, issued: Command | None) -> str:
    if type(recorded) is not type(issued) or _subject(recorded) != _subject(issued):
        return (
            "Likely cause: the handler was changed (an operation added, removed, renamed or reordered), or it "
            "branches on something that is not recorded, such as the clock, randomness, the environment or set order."
        )
    return (
        "Likely cause: the arguments of this operation changed with the code, or they depend on something that is not "
        "recorded, such as the clock, randomness or the environment."
    )


def _subject(command: Command | None) -> list[object]:
    return [getattr(command, field, None) for field in ("name", "target", "key", "awakeable_id")]


def describe(command: Command | None) -> str:
    """One command for people, e.g. `run "charge"` or `call Ticket/7/reserve`."""
    if command is None:
        return "nothing more"
    describe_kind = _DESCRIBE.get(type(command))
    text = type(command).__name__ if describe_kind is None else describe_kind(command)
    return f'{text} "{command.name}"' if command.name else text


def _size(body: bytes) -> str:
    return f"{len(body)} bytes"


_DESCRIBE: Mapping[type, Callable[[Any], str]] = MappingProxyType(
    {
        j.Run: lambda c: "run",
        j.Sleep: lambda c: "sleep",
        j.Call: lambda c: f"call {c.target} ({_size(c.body)})",
        j.OneWayCall: lambda c: f"send to {c.target} ({_size(c.body)})",
        j.SetState: lambda c: f"set state '{c.key}' ({_size(c.value)})",
        j.GetEagerState: lambda c: f"get state '{c.key}'",
        j.GetLazyState: lambda c: f"get state '{c.key}'",
        j.ClearState: lambda c: f"clear state '{c.key}'",
        j.CompleteAwakeable: lambda c: f"complete awakeable {c.awakeable_id}",
        j.GetPromise: lambda c: f"await promise '{c.key}'",
        j.PeekPromise: lambda c: f"peek promise '{c.key}'",
        j.CompletePromise: lambda c: f"complete promise '{c.key}'",
    }
)
