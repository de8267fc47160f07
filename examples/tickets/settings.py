"""What can be set about the shop, as environment variables. Units: seconds."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path


def _seconds(name: str, default: float) -> timedelta:
    return timedelta(seconds=float(os.environ.get(name, default)))


RESERVATION = _seconds("TICKETS_RESERVATION_S", 15 * 60)
"""How long a ticket stays in a cart that is not checked out."""
CONFIRMATION = _seconds("TICKETS_CONFIRMATION_S", 24 * 3600)
"""How long a customer may take to confirm by e-mail."""
OUTSIDE_WORLD = Path(os.environ.get("TICKETS_OUTSIDE_WORLD", "tickets-outside-world.txt"))
"""Stands for the bank and the mail server: what the shop did to them, one line each."""
