"""What a deployment's answer says before any message of the protocol does: its HTTP status and content type."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

from perdure.invoker.remote.opening import content_type
from perdure.model.records import AttemptError

_CODES: Mapping[int, tuple[str, str]] = {
    413: ("RT0019", "the deployment refused the size of the request (413)."),
    415: ("RT0015", "the deployment does not take this version of the service protocol (415): register it again."),
    429: ("RT0023", "the deployment asks for time (429)."),
    502: ("RT0010", "the deployment cannot be reached through the proxy before it (502)."),
    503: ("RT0023", "the deployment asks for time (503)."),
    504: ("RT0010", "the deployment cannot be reached through the proxy before it (504)."),
}
_RATE_LIMITED = (429, 503)
_RETRY_AFTER_MS_MAX = 24 * 3600 * 1000


def refusal(
    status: int, headers: Mapping[str, str], version: int, now_ms: int
) -> tuple[AttemptError, int | None] | None:
    """Why the attempt fails, and when to try again (milliseconds) if the answer says so; None: it may go on."""
    if status == 200:
        came, wanted = headers.get("content-type", ""), content_type(version)
        if came.partition(";")[0].strip().lower() == wanted:
            return None
        text = f"the deployment answered with the content type '{came[:200]}' instead of '{wanted}'."
        return AttemptError(500, text, doc_code="RT0012"), None
    doc_code, text = _CODES.get(
        status, ("RT0012", f"the deployment answered with status {status}: is the address right?")
    )
    retry_after_ms = _retry_after_ms(headers.get("retry-after"), now_ms) if status in _RATE_LIMITED else None
    return AttemptError(500, text, doc_code=doc_code), retry_after_ms


def _retry_after_ms(value: str | None, now_ms: int) -> int | None:
    """Seconds or a date, as HTTP has it; None for what is neither."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(int(value[:9]) * 1000, _RETRY_AFTER_MS_MAX)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0, min(int(at.timestamp() * 1000) - now_ms, _RETRY_AFTER_MS_MAX))
