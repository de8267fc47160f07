"""The world outside a simulated process: what steps did to it, what it was told, and what must hold of that.

It outlives every process and sees only what a real outside could see, and the log's acknowledgements. The first thing that
does not hold is raised as `Violation` at the end of the callback in which it was noticed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from perdure.store.snapshot import Snapshot
from perdure.testing.sim.linearizability import History


class Violation(Exception):
    """Something that is promised did not hold. `check` names the promise."""

    def __init__(self, check: str, what: str) -> None:
        super().__init__(check, what)
        self.check = check
        self.what = what

    def __str__(self) -> str:
        return f"{self.check}: {self.what}"


class Trace:
    """Everything that happened, in order, as text; and a digest of it."""

    def __init__(self, keep: bool) -> None:
        self.lines: list[str] = []
        self.now_s: Callable[[], float] = float
        self._keep = keep
        self._sha = hashlib.sha256()

    def note(self, text: str) -> None:
        line = f"{self.now_s():.4f} {text}"
        self._sha.update(line.encode())
        if self._keep:
            self.lines.append(line)

    def digest(self) -> str:
        return self._sha.hexdigest()


class World:
    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.history = History()
        self.process = 0
        """Number of the process that lives; 0: none does."""
        self.violations: list[Violation] = []
        self.on_violation: Callable[[], None] = lambda: None
        self.lenient = False
        """The machine went down, and only the process was promised to survive: what was acknowledged may be gone."""
        self.recorded: set[tuple[str, str]] = set()
        """(invocation id, step) of the steps whose results are durable."""
        self.posted: dict[str, int] = {}
        """Awakeables that somebody outside is to resolve, by id, and with what."""
        self.entries: dict[str, set[str]] = {}
        """Per token: the invocations that ran its program."""
        self.process_began_s = 0.0
        self.may_run: Callable[[str], bool] = lambda _: True
        """Whether this invocation is one that runs now, as its process has it."""
        self.now_ms: Callable[[], int] = int
        """The time of the engine that lives."""
        self.ended = False
        """The engine that lives says that it has come to its end."""
        self.meddled = False
        """Somebody may pause and resume whatever there is."""
        self.last_processes = False
        """From here on no process dies, but by what its handlers do."""
        self.disk_fails: Callable[[], bool] = lambda: False
        """Whether what cannot be read may be the fault of the disk."""
        self.snapshot_at: Callable[[int], Snapshot]
        """What a snapshot at this LSN must say."""
        self.look_over: Callable[[], None] = lambda: None
        """Check all tables of the engine that lives."""
        self.kill: Callable[[], None] = lambda: None
        """What a handler does that takes its process down."""
        self.is_stopped: Callable[[str], bool] = lambda _: False
        """Whether this invocation is paused or was killed: what it did is stopped."""
        self.repeated = 0
        """Steps that ran again, as they may."""
        self._runs: dict[tuple[str, str], _Runs] = {}
        self._furthest: dict[tuple[str, str], int] = {}
        self._drawn: dict[tuple[str, str], str] = {}
        self._turns: dict[str, int] = {}
        self._not_before_ms: dict[str, int] = {}
        self._withdrawn: set[str] = set()
        self._epochs: dict[str, int] = {}
        """Of the latest attempt of an invocation that runs elsewhere."""
        self._came: set[str] = set()

    def broken(self, check: str, what: str) -> None:
        if self.process and not (self.lenient and check in _LENIENT):
            self.trace.note(f"VIOLATION {check}: {what}")
            self.violations.append(Violation(check, what))
            self.on_violation()

    # --- what handlers do -------------------------------------------------------------------------------------------------

    @contextmanager
    def runs(
        self, invocation_id: str, name: str, branch: str, index: int, *, stoppable: bool = True, epoch: int = 0
    ) -> Iterator[int]:
        """The body of a step runs; gives how often it had failed before. `stoppable`: it runs where it can be stopped.

        `epoch`: of its attempt, if it runs elsewhere, where it outlives the engine.
        """
        process = self.process
        runner = epoch or process
        runs = self._runs.setdefault((invocation_id, name), _Runs())
        if self.is_outdated(invocation_id, epoch):
            self.trace.note(f"runs step {name!r} of {invocation_id} in attempt {epoch}, which is over")
            self.repeated += 1
        elif process or epoch:
            if stoppable and self.ended and not epoch:
                self.broken("over", f"step {name!r} of {invocation_id} began after the end of its engine")
            elif stoppable and not self.may_run(invocation_id):
                self.broken("over", f"step {name!r} of {invocation_id} began, which is paused or has ended")
            self._begin(invocation_id, name, branch, index, runs, runner)
        try:
            yield runs.failed
            if self.process == process and process and stoppable and self.is_stopped(invocation_id):
                self.broken("over", f"step {name!r} of {invocation_id} ran on, which is paused or was killed")
        except Exception:
            if epoch or self.process == process:
                runs.failed += 1
            raise
        finally:
            if epoch or self.process == process:
                if runs.running_in == runner:
                    runs.running_in = 0
                runs.ended_ms = self.now_ms() if process else 0

    def attempt_began(self, invocation_id: str, epoch: int) -> None:
        """The engine asks somebody elsewhere to run it."""
        self._epochs[invocation_id] = max(epoch, self._epochs.get(invocation_id, 0))

    def is_outdated(self, invocation_id: str, epoch: int) -> bool:
        """Whether a later attempt has begun elsewhere: what this one still does counts for nothing."""
        return epoch < self._epochs.get(invocation_id, 0)

    def runs_of(self, invocation_id: str, name: str) -> int:
        """How often the body of a step began."""
        return self._runs[invocation_id, name].count

    def seen_at(self, invocation_id: str, name: str, now_s: float) -> None:
        """A handler has the result of this step, and this is the time for it."""
        runs = self._runs.get((invocation_id, name))
        if self.process and runs is not None and round(now_s * 1000) < runs.ended_ms:
            self.broken("time", f"the clock of {invocation_id} is behind the end of its step {name!r}")

    def _begin(self, invocation_id: str, name: str, branch: str, index: int, runs: _Runs, runner: int) -> None:
        who = f"step {name!r} of {invocation_id}"
        self.trace.note(f"runs {who}")
        if (invocation_id, name) in self.recorded:
            self.broken("step-again", f"{who} ran again after its result was durable")
        furthest = self._furthest.get((invocation_id, branch), -1)
        if index < furthest:
            self.broken("step-order", f"{who} ran again after a later step of its branch")
        if runs.running_in == runner:
            self.broken("step-twice", f"{who} runs twice at once")
        self._furthest[invocation_id, branch] = max(index, furthest)
        self.repeated += runs.count > 0
        runs.count += 1
        runs.running_in = runner

    def entered(self, invocation_id: str, token: str) -> None:
        if not self.process:
            return
        early_ms = self._not_before_ms.get(token, 0) - self.now_ms()
        if early_ms > 0:
            self.broken("early", f"program {token} ran {early_ms} ms before its time")
        known = self.entries.setdefault(token, set())
        known.add(invocation_id)
        if len(known) > 1:
            self.broken("exactly-once", f"program {token} ran as {len(known)} invocations: {', '.join(sorted(known))}")

    def defer(self, token: str, at_ms: int) -> None:
        """A program was asked for, to run no earlier than this. What was asked twice may run at the earlier time."""
        if self.process:
            self._not_before_ms[token] = min(at_ms, self._not_before_ms.get(token, at_ms))

    def withdraw(self, tokens: list[str]) -> None:
        """These were cancelled before they had started, unless they have come already."""
        if self.process:
            self._withdrawn.update(token for token in tokens if token not in self._came)

    def came(self, token: str) -> None:
        if self.process:
            self._came.add(token)
            if token in self._withdrawn:
                self.broken("cancelled", f"{token} ran after it had been cancelled")

    def in_turn(self, key: str, number: int) -> None:
        """Handlers of one key, sent by one caller, begin in the order in which they were sent."""
        if self.process:
            if number < self._turns.get(key, 0):
                self.broken("order", f"number {number} of key {key} ran after number {self._turns[key]}")
            self._turns[key] = number

    def same(self, invocation_id: str, place: str, drawn: str) -> None:
        """What a handler drew must be the same in each attempt."""
        if self.process and self._drawn.setdefault((invocation_id, place), drawn) != drawn:
            self.broken("replay", f"{invocation_id} drew something else at {place} when it was replayed")

    def post(self, awakeable: str, value: int) -> None:
        if self.process:
            self.posted[awakeable] = value


_LENIENT = {
    "acknowledged",
    "step-again",
    "step-order",
    "exactly-once",
    "result",
    "linearizable",
    "replay",
    "cancelled",
    "time",
    "order",
}
"""What is not promised when the machine went down under durability `os`."""


class _Runs:
    __slots__ = ("count", "ended_ms", "failed", "running_in")

    def __init__(self) -> None:
        self.count = 0
        self.ended_ms = 0
        self.failed = 0
        self.running_in = 0
