"""`contextvar`, as in `restate.context_managers`."""

from perdure.sdk.context_managers import contextvar as contextvar

__all__ = [
    "contextvar",
]
