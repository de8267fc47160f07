"""`VirtualObject`, as in `restate.object`."""

from perdure.sdk.object import VirtualObject as VirtualObject

__all__ = [
    "VirtualObject",
]
