"""Parts that commands and notifications share: values, failures, headers, keys of the state."""

from __future__ import annotations

from perdure.model import journal as j
from perdure.wire import messages as m
from perdure.wire.errors import ProtocolViolation

_FAILURE_METADATA_SINCE = 6


def from_value(value: m.Value | None) -> bytes | None:
    return None if value is None else value.content


def from_failure(failure: m.Failure) -> j.Failure:
    metadata = {pair.key: pair.value for pair in failure.metadata}
    return j.Failure(failure.code, failure.message, metadata or None)


def to_failure(failure: j.Failure, version: int) -> m.Failure:
    metadata = failure.metadata if version >= _FAILURE_METADATA_SINCE else None
    return m.Failure(failure.code, failure.message, [m.Pair(*pair) for pair in (metadata or {}).items()])


def from_pairs(pairs: list[m.Pair]) -> j.Headers:
    return [(pair.key, pair.value) for pair in pairs]


def to_pairs(headers: j.Headers) -> list[m.Pair]:
    return [m.Pair(*header) for header in headers]


def state_key(raw: bytes) -> str:
    """Errors: ProtocolViolation; keys are text here, as they are in every SDK."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise ProtocolViolation("the key of a state entry is not UTF-8.") from None
