"""Customers of the shop: what each does over HTTP, what it was told, and whether that was true in the end.

A customer never gives up: a request without an answer is sent again under the same idempotency key.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import cast

from perdure.testing.process import Answer, Caller
from perdure.testing.steps import StepTrace

PATIENCE_S = 120.0


@dataclass
class Acknowledged:
    """A request that the server answered, and the answer: it may never be forgotten or change."""

    path: str
    invocation_id: str
    answer: Answer | None
    """None: only accepted, with 202; the answer came later."""


@dataclass
class Customer:
    number: int
    caller: Caller
    acknowledged: list[Acknowledged] = field(default_factory=list)
    had: list[str] = field(default_factory=list)
    """The tickets that its cart held."""
    outcome: int = 0
    """Status of the checkout; 0: it never checked out."""

    @property
    def name(self) -> str:
        return f"customer-{self.number}"

    @property
    def walks_away(self) -> bool:
        return self.number % 10 == 7

    @property
    def card(self) -> str:
        return "refused-card" if self.number % 10 == 3 else "good-card"

    @property
    def declines(self) -> bool:
        return self.number % 10 == 5

    @property
    def expected_outcome(self) -> int:
        if self.walks_away:
            return 0
        if self.card == "refused-card":
            return 402
        return 409 if self.declines else 200

    def shop(self) -> None:
        """Put a seat of one's own and one that a neighbour wants too into the cart; check out, unless walking away."""
        for seat in (f"own-{self.number}", f"wanted-by-two-{self.number // 2}"):
            added = self._call(f"/Cart/{self.name}/add_ticket", seat)
            if added.json() is True:
                self.had.append(seat)
        if not self.walks_away:
            self.outcome = self._send_and_wait(f"/Cart/{self.name}/checkout", self.card).status

    def _call(self, path: str, argument: object) -> Answer:
        answer = self.caller.until_answered("POST", path, argument, self._key(path))
        self.acknowledged.append(Acknowledged(path, answer.invocation_id, answer))
        return answer

    def _send_and_wait(self, path: str, argument: object) -> Answer:
        accepted = self.caller.until_answered("POST", f"{path}/send", argument, self._key(path))
        invocation_id = cast("dict[str, str]", accepted.json())["invocationId"]
        acknowledgement = Acknowledged(path, invocation_id, None)
        self.acknowledged.append(acknowledgement)
        answer = self.caller.until_answered("GET", f"/restate/invocation/{invocation_id}/attach")
        acknowledgement.answer = answer
        return answer

    def _key(self, path: str) -> dict[str, str]:
        return {"idempotency-key": f"{path}-{len(self.acknowledged)}"}

    def lost(self) -> list[str]:
        """What was acknowledged and is not there any more, or has another answer now."""
        found = []
        for was in self.acknowledged:
            now = self.caller.until_answered("GET", f"/restate/invocation/{was.invocation_id}/output")
            if was.answer is None or (now.status, now.body) != (was.answer.status, was.answer.body):
                found.append(f"{was.path} ({was.invocation_id}): was {was.answer}, is {now.status} {now.body!r}")
        return found


class Mailbox:
    """Reads the mails that the shop sends, and answers them by resolving the awakeable that each carries."""

    def __init__(self, world: StepTrace, caller: Caller, customers: list[Customer]) -> None:
        self._world = world
        self._caller = caller
        self._declining = {customer.name for customer in customers if customer.declines}
        self._answered: set[str] = set()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._read, name="mailbox")

    def __enter__(self) -> Mailbox:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._closed.wait(0.05):
            for line in self._world.lines():
                match line.words:
                    case ("mail", customer, awakeable_id) if awakeable_id not in self._answered:
                        self._answer(customer, awakeable_id)

    def _answer(self, customer: str, awakeable_id: str) -> None:
        word = "no" if customer in self._declining else "yes"
        self._caller.until_answered("POST", f"/restate/awakeables/{awakeable_id}/resolve", word)
        self._answered.add(awakeable_id)
