"""Callers of the crash lab: each does one thing after another, and gives none up."""

from __future__ import annotations

import itertools
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from perdure.testing.process import Answer, Caller
from perdure.testing.sim.linearizability import History

ACCOUNTS = [f"account-{number}" for number in range(4)]
CALLS_OF_A_REGISTER = 150
"""The time that a history takes to check grows with the square of its length: then another register's begins."""


class SharedHistory:
    """What all callers saw of the registers, as they saw it: a call begins before it is sent, and ends when it is answered."""

    def __init__(self) -> None:
        self._history = History()
        self._lock = threading.Lock()
        self._calls = 0

    @property
    def calls(self) -> int:
        return self._calls

    @property
    def registers(self) -> int:
        return len(self._history.calls)

    @contextmanager
    def call(self, name: str, amount: int | None) -> Iterator[RegisterCall]:
        with self._lock:
            call = RegisterCall(f"register-{self._calls // CALLS_OF_A_REGISTER}")
            self._calls += 1
            self._history.begin(call.register, name, amount)
        yield call
        with self._lock:
            self._history.end(call.register, name, call.found)

    def not_linearizable(self) -> list[str]:
        return self._history.not_linearizable()


@dataclass
class RegisterCall:
    register: str
    found: int = 0


@dataclass
class Invocation:
    """One that the server has acknowledged. `answer` None: accepted only."""

    kind: str
    id: str
    answer: Answer | None


class Worker:
    """One caller that does one thing after another, and gives none up."""

    def __init__(self, number: int, caller: Caller, rng: random.Random, history: SharedHistory) -> None:
        self.key = f"worker-{number}"
        self.acknowledged: list[Invocation] = []
        self.appended = 0
        self.added: Counter[str] = Counter()
        """Amount that this worker's calls have put on each account."""
        self._history = history
        self._caller = caller
        self._rng = rng
        self._requests = itertools.count()

    def work(self, stop: threading.Event) -> None:
        kinds = [self.call_steps, self.call_naps, self.call_add, self.place_order, self.send_append, self.send_later]
        while not stop.is_set():
            self._rng.choice(
                [*kinds, self.ask_for_approval, self.repeat_a_call, self.add_to_register, self.read_register]
            )()

    def call_steps(self) -> None:
        count = self._rng.randint(1, 8)
        answer = self._call("steps", "/Steps/in_sequence", count)
        expected = [f"{answer.invocation_id}.{position}" for position in range(count)]
        assert answer.json() == expected, f"{answer} is not {expected}"

    def call_naps(self) -> None:
        naps_ms = [self._rng.randint(0, 60) for _ in range(self._rng.randint(1, 4))]
        assert self._call("timers", "/Steps/with_naps", naps_ms).json() == len(naps_ms)

    def call_add(self) -> None:
        account = self._rng.choice(ACCOUNTS)
        self._call("objects", f"/Ledger/{account}/add", 1)
        self.added[account] += 1

    def add_to_register(self) -> None:
        amount = self._rng.randint(1, 5)
        with self._history.call(f"{self.key}-{next(self._requests)}", amount) as call:
            call.found = cast("int", self._call("registers", f"/Ledger/{call.register}/add", amount).json())

    def read_register(self) -> None:
        with self._history.call(f"{self.key}-{next(self._requests)}", None) as call:
            call.found = cast("int", self._call("registers", f"/Ledger/{call.register}/total", None).json())

    def place_order(self) -> None:
        accounts = self._rng.sample(ACCOUNTS, 3)
        assert self._call("calls of calls", "/Orders/place", accounts).json() == len(accounts) + 1
        self.added.update(accounts)

    def send_append(self) -> None:
        """In order: the next number is sent when the last one is acknowledged."""
        self._send("sends", f"/Ledger/{self.key}/append", self.appended)
        self.appended += 1

    def send_later(self) -> None:
        self._send("delayed sends", "/Steps/in_sequence", 2, f"?delay={self._rng.randint(1, 1500)}ms")

    def ask_for_approval(self) -> None:
        """The answer comes from the approver, which reads the trace."""
        self._send("awakeables", "/Steps/approved", "really")

    def repeat_a_call(self) -> None:
        """The same idempotency key again gives the same invocation and the same answer."""
        key = f"{self.key}-again-{next(self._requests)}"
        first = self._request("POST", "/Steps/in_sequence", 1, key)
        second = self._request("POST", "/Steps/in_sequence", 1, key)
        assert (first.invocation_id, first.body) == (second.invocation_id, second.body), f"{first} is not {second}"
        self.acknowledged.append(Invocation("idempotency keys", first.invocation_id, first))

    def _call(self, kind: str, path: str, argument: object) -> Answer:
        answer = self._request("POST", path, argument, f"{self.key}-{next(self._requests)}")
        assert answer.status == 200, f"{path}: {answer}"
        self.acknowledged.append(Invocation(kind, answer.invocation_id, answer))
        return answer

    def _send(self, kind: str, path: str, argument: object, query: str = "") -> None:
        answer = self._request("POST", f"{path}/send{query}", argument, f"{self.key}-{next(self._requests)}")
        assert answer.status == 202, f"{path}: {answer}"
        invocation_id = cast("dict[str, str]", answer.json())["invocationId"]
        self.acknowledged.append(Invocation(kind, invocation_id, None))

    def _request(self, method: str, path: str, argument: object, key: str) -> Answer:
        return self._caller.until_answered(method, path, argument, {"idempotency-key": key})
