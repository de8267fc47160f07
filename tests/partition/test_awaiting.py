"""What is left to wait for: reducing a tree thing by thing says the same as looking at all that came at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.model.journal import Awaiting, AwaitTree, Combinator, Completion, CompletionCode, Failure, Signal
from perdure.partition.awaiting import still_awaited

Leaf = tuple[str, int | str]
FIRST, ALL = Combinator.FIRST_COMPLETED, Combinator.ALL_COMPLETED
ANY_SUCCESS, ALL_SUCCESS = Combinator.FIRST_SUCCEEDED_OR_ALL_FAILED, Combinator.ALL_SUCCEEDED_OR_FIRST_FAILED


def leaves(tree: AwaitTree) -> list[Leaf]:
    here: list[Leaf] = [*(("c", each) for each in tree.completions), *(("s", each) for each in tree.signals)]
    return here + [leaf for child in tree.nested for leaf in leaves(child)]


Done = tuple[int, bool]
"""When it was done, and whether it succeeded."""


def outcome(tree: AwaitTree, came: dict[Leaf, Done]) -> Done | None:
    """By the book, looking at everything that came; None: not done."""
    children = [came.get(("c", each)) for each in tree.completions] + [came.get(("s", each)) for each in tree.signals]
    children += [outcome(child, came) for child in tree.nested]
    done = sorted(child for child in children if child is not None)
    last = done[-1][0] if len(done) == len(children) else None
    if tree.combinator == ALL:
        return None if last is None else (last, True)
    if tree.combinator in (ANY_SUCCESS, ALL_SUCCESS):
        decisive = tree.combinator == ANY_SUCCESS
        early = [child for child in done if child[1] is decisive]
        return early[0] if early else None if last is None else (last, not decisive)
    return done[0] if done else None


def awaiting(tree: AwaitTree) -> Awaiting:
    every = leaves(tree)
    return Awaiting([n for kind, n in every if kind == "c"], [n for kind, n in every if kind == "s"], tree)  # type: ignore[misc]


def notification(leaf: Leaf, succeeded: bool) -> Completion | Signal:
    result = b"v" if succeeded else Failure(500, "x")
    if leaf[0] == "s":
        return Signal(leaf[1], result)
    assert isinstance(leaf[1], int)
    return Completion(leaf[1], CompletionCode.CALL, result)


@st.composite
def trees(draw: st.DrawFn) -> AwaitTree:
    """Each leaf once, and none of them cancellation."""
    names = iter(range(2, 100))

    def node(depth: int) -> AwaitTree:
        width = draw(st.integers(1, 3))
        completions = [next(names) for _ in range(draw(st.integers(0, width)))]
        signals: list[int | str] = [str(next(names)) for _ in range(width - len(completions))]
        nested = [node(depth + 1) for _ in range(draw(st.integers(0, 2)) if depth < 3 else 0)]
        return AwaitTree(draw(st.sampled_from(Combinator)), completions, signals, nested)

    return node(0)


@given(trees(), st.data())
def test_it_goes_on_exactly_when_the_tree_is_done(tree: AwaitTree, data: st.DataObject) -> None:
    came: dict[Leaf, Done] = {}
    left: Awaiting | None = awaiting(tree)
    for when, leaf in enumerate(data.draw(st.permutations(leaves(tree)))):
        assert left is not None
        came[leaf] = when, data.draw(st.booleans())
        left = still_awaited(left, notification(leaf, came[leaf][1]))
        assert (left is None) == (outcome(tree, came) is not None)
        if left is None:
            return
    raise AssertionError("a tree of which everything came is done")


def test_a_list_goes_on_with_any_of_it() -> None:
    waits = Awaiting([1, 2], ["go"])
    assert still_awaited(waits, Completion(2, CompletionCode.SLEEP)) is None
    assert still_awaited(waits, Signal("go")) is None
    assert still_awaited(waits, Completion(3, CompletionCode.SLEEP)) is waits
    assert still_awaited(waits, Signal("stop")) is waits


def test_cancellation_always_goes_on() -> None:
    assert still_awaited(Awaiting([1], []), Signal(1)) is None
    assert still_awaited(awaiting(AwaitTree(ALL, [1, 2], [])), Signal(1)) is None


@pytest.mark.parametrize(("combinator", "first", "goes_on"), [(ALL, True, False), (ANY_SUCCESS, True, True)])
def test_one_of_two(combinator: Combinator, first: bool, goes_on: bool) -> None:
    left = still_awaited(awaiting(AwaitTree(combinator, [1, 2], [])), notification(("c", 1), first))
    assert (left is None) == goes_on
    if left is not None:
        assert (left.completions, left.tree) == ([2], AwaitTree(combinator, [2], []))


def test_a_signal_and_a_completion_of_one_number_are_two_things() -> None:
    tree = AwaitTree(ALL, [17], [17])
    left = still_awaited(awaiting(tree), Completion(17, CompletionCode.SLEEP))
    assert left == Awaiting([], [17], AwaitTree(ALL, [], [17]))
