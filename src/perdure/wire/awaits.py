"""What a peer says it waits for: lists until version 6, a tree from version 7 on."""

from __future__ import annotations

from perdure.model import journal as j
from perdure.wire import messages as m
from perdure.wire.errors import ProtocolViolation

TREE_DEPTH_MAX = 60
"""Deeper trees are kept as the list of their leaves: waking too early is safe."""


def suspension_awaiting(suspension: m.Suspension) -> j.Awaiting:
    """Errors: ProtocolViolation when it waits for nothing."""
    if suspension.awaiting_on is not None:
        return future_awaiting(suspension.awaiting_on)
    signals: list[int | str] = [*suspension.waiting_signals, *suspension.waiting_named_signals]
    if not suspension.waiting_completions and not signals:
        raise ProtocolViolation("a suspension that waits for nothing.")
    return j.Awaiting(suspension.waiting_completions, signals)


def future_awaiting(future: m.Future) -> j.Awaiting:
    """Errors: ProtocolViolation when it waits for nothing."""
    completions: list[int] = []
    signals: list[int | str] = []
    depth = _leaves(future, completions, signals)
    if not completions and not signals:
        raise ProtocolViolation("an await that waits for nothing.")
    return j.Awaiting(completions, signals, _tree(future) if depth <= TREE_DEPTH_MAX else None)


def _leaves(future: m.Future, completions: list[int], signals: list[int | str]) -> int:
    """Collect the leaves; returns how deep the tree is."""
    depth, level = 0, [future]
    while level:
        depth += 1
        for each in level:
            completions += each.waiting_completions
            signals += each.waiting_signals
            signals += each.waiting_named_signals
        level = [child for each in level for child in each.nested_futures]
    return depth


def _tree(future: m.Future) -> j.AwaitTree:
    return j.AwaitTree(
        future.combinator_type,
        future.waiting_completions,
        [*future.waiting_signals, *future.waiting_named_signals],
        [_tree(child) for child in future.nested_futures],
    )
