"""Connections to Restate Cloud, as in `restate.connection`; this version has none, and says so when asked."""

from perdure.client.connecting import connect as connect
from perdure.client.connecting import with_connection as with_connection
from perdure.client.errors import ConnectError as ConnectError

__all__ = [
    "ConnectError",
    "connect",
    "with_connection",
]
