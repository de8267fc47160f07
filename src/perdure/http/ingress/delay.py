"""The `delay` query parameter: how long a send waits before it starts.

Three spellings: ISO 8601 (`PT60S`, `P1D`, `PT0.5S`), friendly (`60s`, `1.5 h`, `1h 30m`, `00:01:30`) and a bare number of
milliseconds. Units are fixed lengths: a day is 24 hours, and months and years are refused because they are not.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal

MS_PER_SECOND = 1_000
_MINUTE = 60 * MS_PER_SECOND
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
DELAY_MAX_MS = 36_500 * _DAY
"""A hundred years: beyond it a date is surely a mistake."""

_ISO = re.compile(
    r"P(?=[\dT])(?:(?P<w>\d+(?:[.,]\d+)?)W)?(?:(?P<d>\d+(?:[.,]\d+)?)D)?"
    r"(?:T(?=\d)(?:(?P<h>\d+(?:[.,]\d+)?)H)?(?:(?P<m>\d+(?:[.,]\d+)?)M)?(?:(?P<s>\d+(?:[.,]\d+)?)S)?)?",
    re.IGNORECASE | re.ASCII,
)
_ISO_MS = {"w": 7 * _DAY, "d": _DAY, "h": _HOUR, "m": _MINUTE, "s": MS_PER_SECOND}
_FRIENDLY_PART = re.compile(r"(?:\s*|\s*,\s+)(\d+(?:[.,]\d+)?)\s*([a-zµ]+)", re.ASCII)
_CLOCK = re.compile(r"(\d+):([0-5]\d):([0-5]\d(?:[.,]\d+)?)", re.ASCII)
_FRIENDLY_MS: dict[str, int | Decimal] = {
    **dict.fromkeys(("w", "wk", "wks", "week", "weeks"), 7 * _DAY),
    **dict.fromkeys(("d", "day", "days"), _DAY),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), _HOUR),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), _MINUTE),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), MS_PER_SECOND),
    **dict.fromkeys(("ms", "msec", "msecs", "milli", "millis", "millisecond", "milliseconds"), 1),
    **dict.fromkeys(("us", "µs", "usec", "usecs", "micro", "micros", "microsecond", "microseconds"), Decimal("0.001")),
    **dict.fromkeys(("ns", "nsec", "nsecs", "nano", "nanos", "nanosecond", "nanoseconds"), Decimal("0.000001")),
}
_CALENDAR = frozenset(("mo", "mos", "month", "months", "y", "yr", "yrs", "year", "years"))
_ISO_CALENDAR = re.compile(r"P[\d.,]+[YM]", re.IGNORECASE | re.ASCII)
_NO_FIXED_LENGTH = "please use units of days or smaller"
_TEXT_MAX = 128
"""The words of what is refused are in part those of Restate, where clients see them too."""


class BadDelay(ValueError):
    """Text that is no duration; the message says why."""


def parse_delay_ms(text: str) -> int:
    """Whole milliseconds, rounded up so that a delay is never cut short. Errors: BadDelay."""
    if not text:
        raise BadDelay(
            'an empty string is not a valid duration in either the ISO 8601 format or Jiff\'s "friendly" format'
        )
    if len(text) > _TEXT_MAX:
        raise BadDelay("it is too long")
    if text[0] == "-" or text.endswith(" ago"):
        raise BadDelay("negative signed durations cannot be converted to an unsigned duration")
    if text.isascii() and text.isdigit():
        return _bounded(Decimal(int(text)))
    if text[0] in "Pp":
        return _bounded(_iso(text))
    return _bounded(_friendly(text))


def _iso(text: str) -> Decimal:
    match = _ISO.fullmatch(text)
    if match is None:
        if _ISO_CALENDAR.match(text):
            raise BadDelay(_NO_FIXED_LENGTH)
        raise BadDelay(f"'{text}' is not of the form P1DT2H3M4S")
    parts = ((_ISO_MS[unit], number) for unit, number in match.groupdict().items() if number)
    return sum((Decimal(number.replace(",", ".")) * ms for ms, number in parts), Decimal(0))


def _friendly(text: str) -> Decimal:
    if clock := _CLOCK.fullmatch(text):
        hours, minutes, seconds = (Decimal(part.replace(",", ".")) for part in clock.groups())
        return hours * _HOUR + minutes * _MINUTE + seconds * MS_PER_SECOND
    total, end, before = Decimal(0), 0, Decimal("inf")
    while end < len(text):
        match = _FRIENDLY_PART.match(text, end)
        if match is None or (end == 0 and text[0] in " ,"):
            raise BadDelay(f"'{text}' is neither like PT60S nor like 60s, 1.5h or 1h 30m")
        unit = _FRIENDLY_MS.get(match[2])
        if match[2] in _CALENDAR:
            raise BadDelay(_NO_FIXED_LENGTH)
        if unit is None:
            raise BadDelay(f"'{match[2]}' is no unit of time; use d, h, m, s or ms")
        if unit >= before:
            raise BadDelay("units must be written from largest to smallest (and they can't be repeated)")
        before = Decimal(unit)
        total += Decimal(match[1].replace(",", ".")) * unit
        end = match.end()
    return total


def _bounded(ms: Decimal) -> int:
    whole = int(ms.to_integral_value(ROUND_CEILING))
    if whole > DELAY_MAX_MS:
        raise BadDelay("it is more than a hundred years")
    return whole
