"""The bank and the mail server. Here they are one file, to which each call appends a line with one write(2).

A real bank takes an idempotency token with a payment and does not charge twice for the same one. This one does not look:
the demo counts the lines, and would see a second charge.
"""

from __future__ import annotations

from dataclasses import dataclass

from examples.tickets import settings
from perdure.testing.steps import StepTrace

_WORLD = StepTrace(settings.OUTSIDE_WORLD)
CHARGE, MAIL, REFUND = 1, 2, 3
"""Positions in a checkout."""


@dataclass
class Payment:
    reference: str
    accepted: bool


def charge(invocation_id: str, card: str, token: str, amount: int) -> Payment:
    """Take `amount` from the card, unless the bank refuses."""
    reference = _WORLD.step(invocation_id, CHARGE, "charge", token, amount)
    return Payment(reference, accepted=not card.startswith("refused"))


def refund(invocation_id: str, token: str) -> str:
    return _WORLD.step(invocation_id, REFUND, "refund", token)


def send_mail(invocation_id: str, address: str, awakeable_id: str) -> str:
    """Ask the customer to confirm, by resolving this awakeable."""
    return _WORLD.step(invocation_id, MAIL, "mail", address, awakeable_id)
