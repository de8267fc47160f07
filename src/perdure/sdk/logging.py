"""Log lines once: what a handler's body says, through any logger, is not said again while recorded work is replayed."""

from __future__ import annotations

import logging

from perdure.sdk.runtime import current_context

_OWN = __name__.partition(".")[0]
_handle = logging.Logger.handle


def say_once() -> None:
    """Have every logger of the process drop what a replay repeats; called at the start of every attempt, and cheap."""
    logging.Logger.handle = _handle_once  # type: ignore[method-assign]


def _handle_once(self: logging.Logger, record: logging.LogRecord) -> None:
    if not _said_before(record):
        _handle(self, record)


def _said_before(record: logging.LogRecord) -> bool:
    """Whether it comes from a handler's body that is replayed. What perdure itself says of a handler is always heard."""
    context = current_context()
    return context is not None and context.replaying and record.name.partition(".")[0] != _OWN


class RestateLoggingFilter(logging.Filter):
    """Drops the records that a handler's body writes while it is being replayed, as every logger does by itself."""

    def filter(self, record: logging.LogRecord) -> bool:
        """False for what was logged the first time already."""
        return bool(super().filter(record)) and not _said_before(record)


def getLogger(name: str | None = None) -> logging.Logger:
    """`logging.getLogger`, with the filter."""
    logger = logging.getLogger(name)
    if not any(isinstance(known, RestateLoggingFilter) for known in logger.filters):
        logger.addFilter(RestateLoggingFilter())
    return logger
