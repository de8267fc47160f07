"""What handlers raise, and what the author's side raises at them.

`TerminalError` ends an invocation, `RetryableError` sets the next delay, anything else is retried by policy. The classes
with a code say what a handler did that cannot be replayed, and what to write instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import ClassVar, cast

from perdure.model.errors import PerdureError
from perdure.model.journal import Failure


class TerminalError(Exception):
    """Ends the invocation (or the step) with this failure; never retried."""

    def __init__(self, message: str, status_code: int = 500, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status_code = status_code
        self.metadata = None if metadata is None else dict(metadata)


class RetryableError(Exception):
    """Fails the attempt (or the step) and asks for the next try after `retry_after`."""

    def __init__(self, message: str, status_code: int = 500, retry_after: timedelta | float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status_code = status_code
        self.retry_after = timedelta(seconds=retry_after) if isinstance(retry_after, (int, float)) else retry_after

    @property
    def retry_after_ms(self) -> int | None:
        """`retry_after` in milliseconds."""
        return None if self.retry_after is None else max(0, self.retry_after // timedelta(milliseconds=1))


class SdkInternalBaseException(BaseException):
    """Raised by engines that suspend by an exception; the embedded engine raises none. Never catch it."""


class SuspendedException(SdkInternalBaseException):
    """An engine that suspends by an exception has suspended the invocation."""


class SdkInternalException(SdkInternalBaseException):
    """An engine that ends attempts by an exception has ended this one."""


def is_internal_exception(e: BaseException) -> bool:
    """True for exceptions that belong to the engine and must pass through user code."""
    return isinstance(e, SdkInternalBaseException)


class DeterminismWarning(UserWarning):
    """A handler's body used something that differs from replay to replay (shown in dev and test)."""


class DirectIOError(PerdureError, RuntimeError):
    """A handler's body did I/O outside `ctx.run`."""

    code: ClassVar[str] = "PD0401"


class OutsideWakeError(PerdureError, RuntimeError):
    """A step, a thread or other code woke a handler; only durable operations may."""

    code: ClassVar[str] = "PD0402"


class UsedOutsideError(PerdureError, RuntimeError):
    """An operation of the context was used outside the handler's body, mostly inside a step."""

    code: ClassVar[str] = "PD0412"


class TurnTooLongError(PerdureError, RuntimeError):
    """A handler ran without ever waiting for something durable."""

    code: ClassVar[str] = "PD0403"


class NothingToWaitForError(PerdureError, RuntimeError):
    """Every task of a handler waits, and nothing durable is pending that could wake one."""

    code: ClassVar[str] = "PD0404"


class UnorderedError(PerdureError, RuntimeError):
    """An asyncio helper that runs things in an order that differs from replay to replay."""

    code: ClassVar[str] = "PD0405"


class DecodeError(PerdureError, ValueError):
    """A recorded value does not fit the type that the handler asks for."""

    code: ClassVar[str] = "PD0406"

    entry_name = ""
    """What the entry of the journal is called that holds the value."""


class EncodeError(PerdureError, TypeError):
    """A result, or another value that a handler writes, cannot be serialized."""

    code: ClassVar[str] = "PD0413"
    park: ClassVar[bool] = True


class RegistrationError(PerdureError, ValueError):
    """A service or handler was declared in a way that cannot be served."""

    code: ClassVar[str] = "PD0407"


class StepError(PerdureError, TypeError):
    """What was passed to `ctx.run` cannot run as a step."""

    code: ClassVar[str] = "PD0408"


class CapabilityError(PerdureError, NotImplementedError):
    """The engine that runs this handler cannot do what it asks."""

    code: ClassVar[str] = "PD0409"


class StateRefused(PerdureError, RuntimeError):
    """A shared handler wrote state, or a handler without a key used it."""

    code: ClassVar[str] = "PD0410"
    park: ClassVar[bool] = True


class ServiceProtocolNeeded(PerdureError, NotImplementedError):
    """An app was used as a deployment of a Restate server, which needs Restate's service protocol."""

    code: ClassVar[str] = "PD0419"


def causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it was raised from, outermost first."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__


def _members(error: BaseException) -> tuple[BaseException, ...]:
    """What an exception group holds; nothing for any other exception."""
    if not isinstance(error, BaseExceptionGroup):
        return ()
    group = cast("BaseExceptionGroup[BaseException]", error)
    return group.exceptions


def terminal_cause(error: BaseException) -> TerminalError | None:
    """The terminal error that an exception stands for: itself, one in its `__cause__` chain, or, of a group whose
    leaves are all terminal, the first."""
    for link in causes(error):
        if isinstance(link, TerminalError):
            return link
        leaves = [terminal_cause(leaf) for leaf in _members(link)]
        if leaves and all(leaf is not None for leaf in leaves):
            return leaves[0]
    return None


def retryable_cause(error: BaseException) -> RetryableError | None:
    for link in causes(error):
        if isinstance(link, RetryableError):
            return link
        for leaf in _members(link):
            found = retryable_cause(leaf)
            if found is not None:
                return found
    return None


def failure_of(error: TerminalError) -> Failure:
    return Failure(code=error.status_code, message=error.message, metadata=error.metadata)


def cancelled_error() -> TerminalError:
    return TerminalError("cancelled", 409)


def error_of(failure: Failure) -> TerminalError:
    return TerminalError(failure.message, failure.code, failure.metadata)
