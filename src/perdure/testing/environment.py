"""`HarnessEnvironment`: what a test is given by `create_test_harness`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure.client.client_types import RestateClient


@dataclass
class HarnessEnvironment:
    """A running server: its addresses, and a client for it."""

    ingress_url: str
    admin_api_url: str
    client: RestateClient
