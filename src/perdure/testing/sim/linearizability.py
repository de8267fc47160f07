"""Is a history of one register linearizable? The search of Wing and Gong, with what was tried remembered.

The register is a number that can be read and added to; adding returns the new number. An operation that never returned
may have taken effect at any time after it began, or never. Histories are checked key by key, which is as good as whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Call:
    """`amount` None: a read. `ended` None: it never returned, and `found` says nothing. Times are moments of one order."""

    began: int
    amount: int | None
    ended: int | None = None
    found: int | None = None


@dataclass(slots=True)
class History:
    """What callers saw, per key. A name that is given twice is the same call, told again by a replay."""

    calls: dict[str, dict[str, Call]] = field(default_factory=dict)
    moment: int = 0

    def begin(self, key: str, name: str, amount: int | None) -> None:
        self.moment += 1
        self.calls.setdefault(key, {}).setdefault(name, Call(self.moment, amount))

    def end(self, key: str, name: str, found: int) -> None:
        self.moment += 1
        call = self.calls[key][name]
        if call.ended is None:
            call.ended, call.found = self.moment, found

    def not_linearizable(self) -> list[str]:
        """The keys whose histories are not."""
        return [key for key, calls in sorted(self.calls.items()) if not is_linearizable(list(calls.values()))]


def is_linearizable(calls: list[Call], initial: int = 0) -> bool:
    """Whether some order of the calls, each within its time, explains what every one found."""
    calls = sorted(calls, key=lambda call: call.began)
    returned = sum(1 << index for index, call in enumerate(calls) if call.ended is not None)
    seen: set[tuple[int, int]] = set()
    stack = [(0, initial)]
    while stack:
        done, value = stack.pop()
        if done & returned == returned:
            return True
        if (done, value) in seen:
            continue
        seen.add((done, value))
        deadline = min(
            call.ended for index, call in enumerate(calls) if call.ended is not None and not done >> index & 1
        )
        for index, call in enumerate(calls):
            if call.began > deadline:
                break
            if done >> index & 1:
                continue
            after = value + (call.amount or 0)
            if call.ended is None or call.found == after:
                stack.append((done | 1 << index, after))
    return False
