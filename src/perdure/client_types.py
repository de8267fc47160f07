"""The types of clients, as in `restate.client_types`."""

from perdure.client.client_types import HttpError as HttpError
from perdure.client.client_types import RestateClient as RestateClient
from perdure.client.client_types import RestateClientSendHandle as RestateClientSendHandle
from perdure.client.scoped import RestateScopedClient as RestateScopedClient

__all__ = [
    "HttpError",
    "RestateClient",
    "RestateClientSendHandle",
    "RestateScopedClient",
]
