"""What libraries around handlers use, as in `restate.extensions`."""

from perdure.sdk.context_managers import contextvar as contextvar
from perdure.sdk.runtime import current_context as current_context

__all__ = [
    "contextvar",
    "current_context",
]
