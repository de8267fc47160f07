"""What a suspended handler still waits for after it was told something.

A tree is reduced leaf by leaf as things come, so that each costs the size of the tree and no look into the journal. What
always holds: a handler never waits longer than its tree says; waking it earlier would be harmless, later would not.
"""

from __future__ import annotations

from perdure.model.ids import CANCEL_SIGNAL
from perdure.model.journal import Awaiting, AwaitTree, Combinator, Completion, Failure, Notification, Signal


def still_awaited(awaiting: Awaiting, notification: Notification) -> Awaiting | None:
    """What is left to wait for; None: the handler goes on now."""
    leaf: tuple[bool, int | str]
    if type(notification) is Signal:
        leaf = (True, notification.signal_id)
        if notification.signal_id == CANCEL_SIGNAL:
            return None
        if notification.signal_id not in awaiting.signals:
            return awaiting
    else:
        assert type(notification) is Completion
        leaf = (False, notification.completion_id)
        if notification.completion_id not in awaiting.completions:
            return awaiting
    if awaiting.tree is None:
        return None
    rest = _reduce(awaiting.tree, leaf, not isinstance(notification.result, Failure))
    if isinstance(rest, bool):
        return None
    signals, completions = awaiting.signals, awaiting.completions
    if leaf[0]:
        signals = [each for each in signals if each != leaf[1]]
    else:
        completions = [each for each in completions if each != leaf[1]]
    return Awaiting(completions, signals, rest)


def _reduce(tree: AwaitTree, leaf: tuple[bool, int | str], succeeded: bool) -> AwaitTree | bool:
    """The tree without the leaf, or, when it is done, whether it succeeded."""
    is_signal, name = leaf
    completions, signals = tree.completions, tree.signals
    done: list[bool] = []
    if is_signal and name in signals:
        signals = [each for each in signals if each != name]
        done.append(succeeded)
    elif not is_signal and name in completions:
        completions = [each for each in completions if each != name]
        done.append(succeeded)
    nested: list[AwaitTree] = []
    for child in tree.nested:
        rest = _reduce(child, leaf, succeeded)
        if isinstance(rest, bool):
            done.append(rest)
        else:
            nested.append(rest)
    left = bool(completions or signals or nested)
    outcome = _outcome(tree.combinator, done, left)
    return AwaitTree(tree.combinator, completions, signals, nested) if outcome is None else outcome


def _outcome(combinator: int, done: list[bool], left: bool) -> bool | None:
    """Whether the node succeeded, given the children that are done now; None: it is not done."""
    match combinator:
        case Combinator.ALL_COMPLETED:
            return None if left else True
        case Combinator.FIRST_SUCCEEDED_OR_ALL_FAILED:
            if any(done):
                return True
            return None if left else False
        case Combinator.ALL_SUCCEEDED_OR_FIRST_FAILED:
            if not all(done):
                return False
            return None if left else True
        case _:
            if done:
                return done[0]
            return None if left else True
