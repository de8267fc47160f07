"""`Service`, as in `restate.service`."""

from perdure.sdk.service import Service as Service

__all__ = [
    "Service",
]
