"""Expenses that somebody outside approves: the handler mails an address to POST to, and waits; a refusal is a typed error."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import perdure

OUTBOX = Path(os.environ.get("APPROVALS_OUTBOX", "outbox.txt"))

desk = perdure.Service("Desk")


@dataclass
class Expense:
    who: str
    amount: int


@dataclass
class Answer:
    approved: bool
    by: str


class Refused(perdure.TerminalError):
    """Raised by the handler, and as this class by whoever called it."""

    by: str
    amount: int

    def __init__(self, expense: Expense, by: str) -> None:
        super().__init__(f"{by} refused {expense.amount} for {expense.who}", status_code=403)
        self.by = by
        self.amount = expense.amount


@desk.handler(errors=[Refused])
async def claim(ctx: perdure.Context, expense: Expense) -> str:
    if expense.amount <= 50:
        return f"{expense.amount} paid to {expense.who}"
    name, answered = ctx.awakeable(type_hint=Answer)
    await ctx.run_typed("mail", lambda: mail(expense, ctx.awakeable_url(name)))
    answer = await answered
    if not answer.approved:
        raise Refused(expense, answer.by)
    return f"{expense.amount} paid to {expense.who}, approved by {answer.by}"


def mail(expense: Expense, url: str) -> None:
    """Stands for a mail to the boss: a line in a file."""
    with OUTBOX.open("a") as outbox:
        outbox.write(f"{expense.who} {expense.amount} {url}\n")


app = perdure.app([desk])
