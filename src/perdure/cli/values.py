"""How a setting is written by people: durations, sizes, addresses, switches, and numbers, as text or as TOML values.

Each reader takes what a source gave and answers with the value, or raises ValueError that says what would be right. It
does not know which setting it reads, nor where it came from.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypeVar

from perdure.http.ingress.delay import BadDelay, parse_delay_ms
from perdure.model.limits import KIB, MIB

Raw: TypeAlias = object
"""What a source gives: text from a flag or a variable; text, a number, a truth value or a list from TOML."""
T = TypeVar("T")

_DURATION_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|[KMG]i?B)?", re.IGNORECASE)
_SIZE_UNITS = {"GiB": 1024 * MIB, "MiB": MIB, "KiB": KIB, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3}


class Address(NamedTuple):
    """Where a server listens. Port 0: the system picks a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def duration_ms(raw: Raw) -> int:
    """`1m 30s`, `500ms`, `1.5h`, `2 days`, `PT30S`, `0`: a unit is needed, so that nobody has to guess it."""
    text = str(raw).strip()
    if text == "0":
        return 0
    if not text:
        raise ValueError("is empty; write a duration such as '10s'")
    if not text.isdigit():
        try:
            return parse_delay_ms(text)
        except BadDelay:
            pass
    raise ValueError("is no duration; write one with its unit, such as '500ms', '10s', '1m 30s', '24h', '7d'")


def size_bytes(raw: Raw) -> int:
    """`64MiB`, `512 KiB`, `1.5 GB`, or a plain number of bytes."""
    match = _SIZE.fullmatch(str(raw).strip())
    if match is None:
        raise ValueError("is no size; write a number of bytes, or one with KiB, MiB or GiB")
    unit = next(size for name, size in _SIZE_UNITS.items() if name.lower() == (match[2] or "B").lower())
    return round(float(match[1]) * unit) if "." in match[1] else int(match[1]) * unit


def whole_number(raw: Raw) -> int:
    if isinstance(raw, bool) or not re.fullmatch(r"[+-]?\d+", str(raw).strip()):
        raise ValueError("is no whole number")
    return int(str(raw))


def number(raw: Raw) -> float:
    if isinstance(raw, bool):
        raise ValueError("is no number")
    try:
        return float(str(raw))
    except ValueError:
        raise ValueError("is no number") from None


def switch(raw: Raw) -> bool:
    text = str(raw).strip().lower()
    if text in ("true", "1", "yes", "on"):
        return True
    if text in ("false", "0", "no", "off"):
        return False
    raise ValueError("is neither true nor false")


def address(raw: Raw) -> Address:
    """`127.0.0.1:8080`, `[::1]:8080`, `:8080` (all interfaces), or a port alone (this machine only)."""
    text = str(raw).strip()
    host, _, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65_535 or (":" in host and not (host.startswith("[") and host.endswith("]"))):
        raise ValueError("is no address; write HOST:PORT, such as '127.0.0.1:8080' or '[::1]:8080'")
    if ":" not in text:
        return Address("127.0.0.1", int(port))
    return Address(host.strip("[]") or "0.0.0.0", int(port))


def path(raw: Raw) -> Path:
    if not isinstance(raw, str | Path) or not str(raw):
        raise ValueError("is no path")
    return Path(raw).expanduser()


def names(raw: Raw) -> tuple[str, ...]:
    """A TOML list, or text with commas."""
    parts = raw if isinstance(raw, list | tuple) else str(raw).split(",")
    return tuple(text for part in parts if (text := str(part).strip()))


def one_of(*choices: str) -> Callable[[Raw], str]:
    def read(raw: Raw) -> str:
        text = str(raw).strip().lower()
        if text not in choices:
            raise ValueError(f"is not {' or '.join(repr(choice) for choice in choices)}")
        return text

    return read


def or_none(word: str, reader: Callable[[Raw], T]) -> Callable[[Raw], T | None]:
    """`word` stands for "no bound"."""

    def read(raw: Raw) -> T | None:
        return None if str(raw).strip().lower() == word else reader(raw)

    return read


def in_words(value: object) -> str:
    """A value as a person would write it back, without its unit of storage."""
    match value:
        case None:
            return "-"
        case bool():
            return "true" if value else "false"
        case tuple() if not isinstance(value, Address):
            return ", ".join(map(str, value)) or "-"
        case _:
            return str(value)


def duration_in_words(ms: int) -> str:
    for unit in ("d", "h", "m", "s"):
        size = _DURATION_UNITS_MS[unit]
        if ms and ms % size == 0:
            return f"{ms // size}{unit}"
    return f"{ms}ms" if ms else "0"


def size_in_words(count: int) -> str:
    for unit in ("GiB", "MiB", "KiB"):
        if count and count % _SIZE_UNITS[unit] == 0:
            return f"{count // _SIZE_UNITS[unit]}{unit}"
    return str(count)
