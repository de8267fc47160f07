"""Durations in the JSON of the admin API: `1d`, `1h 30m`, `500ms`; read also as ISO 8601 (`PT1H`)."""

from __future__ import annotations

from perdure.http.ingress.delay import BadDelay, parse_delay_ms

_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1))


def in_words(ms: int) -> str:
    parts: list[str] = []
    for unit, size in _UNITS:
        count, ms = divmod(ms, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts) or "0s"


def in_ms(text: str) -> int:
    """Errors: ValueError, with the reason. A number without a unit, but for 0, is refused: nobody should have to guess it."""
    if text.strip().isdigit() and text != "0":
        raise ValueError("a duration needs a unit, such as '10s' or 'PT10S'")
    try:
        return parse_delay_ms(text)
    except BadDelay as why:
        raise ValueError(f"expected a duration: {why}") from None
