"""What a peer may send and we do not take. Each ends the stream it came on, and nothing else."""

from __future__ import annotations

from perdure.model.errors import PerdureError


class ProtocolViolation(PerdureError):
    """Bytes or messages that the service protocol does not allow here."""

    code = "RT0012"


class MessageTooLarge(PerdureError):
    code = "RT0003"


class AwaitTooDeep(PerdureError):
    """An await tree nested deeper than anything sensible: another attempt would send it again."""

    code = "RT0025"
