"""What the codes of errors are called in SQL: as Restate names those that it makes itself."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_NAMES: Mapping[int, str] = MappingProxyType(
    {
        400: "Bad request",
        404: "Not found",
        409: "Aborted",
        410: "Gone",
        470: "Not ready",
        500: "Internal",
        570: "Journal mismatch",
        571: "Protocol violation",
        572: "Awaiting two async results",
        573: "Unsupported feature",
    }
)


def code_text(code: int) -> str:
    """As in `500 Internal`; the number alone when it has no name."""
    name = _NAMES.get(code)
    return str(code) if name is None else f"{code} {name}"
