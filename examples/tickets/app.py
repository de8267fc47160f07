"""The ticket shop: `perdure serve examples.tickets.app:app`."""

from __future__ import annotations

import perdure
from examples.tickets.cart import cart
from examples.tickets.checkout import checkout
from examples.tickets.ticket import ticket

app = perdure.app([ticket, cart, checkout])
