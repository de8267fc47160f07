"""The state of a key as one attempt sees it: what came with the attempt, changed by what the handler wrote since.

On replay the journal decides: a read that was answered from eager state carries its answer in the journal, because the
state that comes with a later attempt already holds what this handler wrote after that read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from perdure.model.journal import (
    Completion,
    Entry,
    GetEagerState,
    GetEagerStateKeys,
    GetLazyState,
    GetLazyStateKeys,
    Signal,
)


class StateView:
    """What is known of the state: values, keys known to be absent (None), and whether that is all."""

    __slots__ = ("complete", "values")

    def __init__(self, known: Mapping[str, bytes] | None, partial: bool) -> None:
        self.values: dict[str, bytes | None] = dict(known) if known is not None else {}
        self.complete = known is not None and not partial

    def knows(self, key: str) -> bool:
        return self.complete or key in self.values

    def learn(self, key: str, value: bytes | None) -> None:
        """A value that was read: it does not replace what was written meanwhile."""
        if not self.complete:
            self.values.setdefault(key, value)

    def set(self, key: str, value: bytes) -> None:
        self.values[key] = value

    def clear(self, key: str) -> None:
        self.values[key] = None

    def clear_all(self) -> None:
        self.values.clear()
        self.complete = True

    def keys(self) -> list[str]:
        return sorted(key for key, value in self.values.items() if value is not None)


class RecordedCommands:
    """Finds the n-th command of the journal, moving forward only."""

    __slots__ = ("_commands", "_entries", "_position")

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries: Final = entries
        self._position = 0
        self._commands = 0
        """How many commands lie before the position."""

    def at(self, index: int) -> Entry | None:
        """The command with this index (0 is `Input`); None when the journal does not reach so far."""
        entries = self._entries
        while self._position < len(entries):
            entry = entries[self._position]
            if not isinstance(entry, (Completion, Signal)):
                if self._commands == index:
                    return entry
                self._commands += 1
            self._position += 1
        return None


class EagerRead:
    """A read answered at once, with this answer."""

    __slots__ = ("value",)

    def __init__(self, value: bytes | None) -> None:
        self.value = value


def plan_read(view: StateView, recorded: Entry | None, key: str) -> EagerRead | None:
    """How to read a key: answered at once, or None: ask the engine."""
    if isinstance(recorded, GetEagerState) and recorded.key == key:
        return EagerRead(recorded.value)
    if isinstance(recorded, GetLazyState) and recorded.key == key:
        return None
    return EagerRead(view.values.get(key)) if view.knows(key) else None


def plan_keys(view: StateView, recorded: Entry | None) -> list[str] | None:
    """The keys if they are known, or None: ask the engine."""
    if isinstance(recorded, GetEagerStateKeys):
        return recorded.keys
    if isinstance(recorded, GetLazyStateKeys):
        return None
    return view.keys() if view.complete else None
