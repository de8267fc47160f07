"""Logging once and not once per replay, as in `restate.logging`."""

from perdure.sdk.logging import RestateLoggingFilter as RestateLoggingFilter
from perdure.sdk.logging import getLogger as getLogger

__all__ = [
    "RestateLoggingFilter",
    "getLogger",
]
