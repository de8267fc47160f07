"""What a client raises: the same classes whether the engine is in this process or behind HTTP.

All that stand for an answer are `HttpError`s with a status, so that programs written for Restate's client, which knows no
other error, go on working.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from perdure.client.client_types import HttpError
from perdure.model.errors import PerdureError
from perdure.sdk.errors import TerminalError


class CallFailed(HttpError, TerminalError):
    """The handler's own answer: the terminal error that ended the invocation, as it was raised there."""

    def __init__(
        self,
        message: str,
        status_code: int = 500,
        metadata: Mapping[str, str] | None = None,
        body: str | None = None,
    ) -> None:
        HttpError.__init__(self, status_code, message, body)
        self.args = (message,)
        self.metadata = None if metadata is None else dict(metadata)


class Refused(PerdureError, HttpError):
    """The engine did not accept the request; nothing is stored. `status_code` says why, as HTTP does."""

    code: ClassVar[str] = "PD0420"

    def __init__(self, status_code: int, message: str, next_step: str = "", body: str | None = None) -> None:
        PerdureError.__init__(self, message, next_step)
        self.status_code = status_code
        self.message = message
        self.body = body


class Unreachable(PerdureError, ConnectionError):
    """No connection to the server could be made; nothing was sent."""

    code: ClassVar[str] = "PD0421"


class ConnectionLost(PerdureError, ConnectionError):
    """The connection ended before the answer came. The request may or may not have been accepted."""

    code: ClassVar[str] = "PD0422"

    idempotency_key: str | None = None
    """The key of the request, to repeat it or to attach to what it started."""


class CallTimeout(PerdureError, TimeoutError):
    """No answer within the client's timeout. An invocation that was accepted goes on."""

    code: ClassVar[str] = "PD0423"

    def __init__(self, what: str, next_step: str = "", idempotency_key: str | None = None) -> None:
        super().__init__(what, next_step)
        self.idempotency_key = idempotency_key


class ConnectError(PerdureError):
    """A connection to Restate Cloud, or the address of one, cannot be had."""

    code: ClassVar[str] = "PD0424"


class WrongThread(PerdureError, RuntimeError):
    """A blocking call was made on the thread whose event loop has to answer it: it would wait for ever."""

    code: ClassVar[str] = "PD0425"
