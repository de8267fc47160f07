"""Why an exchange with a remote deployment broke. `doc_code` is the code under which Restate documents the same failure."""

from __future__ import annotations

from typing import ClassVar

from perdure.model.errors import PerdureError

RETRIED = "The attempt is tried again under its retry policy."
"""The next step of an error that the author can do nothing about."""


class TransportFailed(PerdureError):
    doc_code: ClassVar[str] = "RT0010"


class Unreachable(TransportFailed):
    """No connection came about: name, address, refusal, time, TLS. Nothing was sent."""

    code = "PD0601"


class ConnectionBroken(TransportFailed):
    """The connection or the stream ended before the response did."""

    code = "PD0602"


class NotTheProtocol(TransportFailed):
    """What came back is not HTTP of the version that was agreed on."""

    code = "PD0603"


class ResponseTooLarge(TransportFailed):
    code = "PD0604"


class TransportClosed(TransportFailed):
    """The node stops."""

    code = "PD0605"

    def __init__(self) -> None:
        super().__init__("the node stops.", "The attempt goes on when it runs again.")


class UnfitRequest(TransportFailed):
    """The address or a header cannot be sent as HTTP."""

    code = "PD0606"
