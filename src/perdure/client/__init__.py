"""The clients: what programs outside handlers use to call them. `Client` and `create_client` as in `restate.client`."""

from perdure.client.client import Client as Client
from perdure.client.connecting import create_client as create_client

__all__ = ["Client", "create_client"]
