"""Log lines once: a logger for handlers that is silent while recorded work is replayed."""

from __future__ import annotations

import logging

from perdure.sdk.runtime import current_context


class RestateLoggingFilter(logging.Filter):
    """Drops the records that a handler's body writes while it is being replayed."""

    def filter(self, record: logging.LogRecord) -> bool:
        """False for what was logged the first time already."""
        if not super().filter(record):
            return False
        context = current_context()
        return context is None or not context.replaying


def getLogger(name: str | None = None) -> logging.Logger:
    """`logging.getLogger`, with the filter."""
    logger = logging.getLogger(name)
    if not any(isinstance(known, RestateLoggingFilter) for known in logger.filters):
        logger.addFilter(RestateLoggingFilter())
    return logger
