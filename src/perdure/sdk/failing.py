"""How a failed attempt is described to people."""

from __future__ import annotations

from perdure.model.errors import stack_of
from perdure.model.records import AttemptError
from perdure.sdk.errors import DecodeError, retryable_cause


def describe(error: BaseException) -> AttemptError:
    """The code and delay of a `RetryableError` among the causes count; the entry is named where it is known."""
    retryable = retryable_cause(error)
    entry = error.entry_name if isinstance(error, DecodeError) else None
    return AttemptError(
        code=500 if retryable is None else retryable.status_code,
        message=f"{type(error).__name__}: {error}",
        stacktrace=stack_of(error),
        command_name=entry,
    )
