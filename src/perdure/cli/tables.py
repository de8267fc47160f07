"""Tables, durations and times for people: through rich where it is installed and the output is a terminal, plain otherwise."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import click

_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000))


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[int] = ()) -> None:
    """Print the rows below their heads; the columns `numbers` are set to the right."""
    if sys.stdout.isatty() and _rich_table(heads, rows, numbers):
        return
    widths = [max(len(row[at]) for row in (heads, *rows)) for at in range(len(heads))]
    for row in (heads, *rows):
        cells = [
            cell.rjust(width) if at in numbers else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())


def _rich_table(heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int]) -> bool:
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return False
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for at, head in enumerate(heads):
        shown.add_column(head, justify="right" if at in numbers else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    Console().print(shown)
    return True


_STYLES = {
    "failed": "red",
    "paused": "yellow",
    "backing-off": "yellow",
    "running": "green",
    "open": "cyan",
    "suspended": "cyan",
}


def duration(ms: float) -> str:
    """`350 ms`, `2.4 s`, `3 m 5 s`, `2 h`: the two largest units that say something."""
    if ms < 1_000:
        return f"{int(ms)} ms"
    if ms < 60_000:
        return f"{ms / 1000:.1f}".removesuffix(".0") + " s"
    parts = []
    for unit, size in _UNITS:
        count, ms = divmod(int(ms), size)
        if count:
            parts.append(f"{count} {unit}")
        if len(parts) == 2 or (parts and not count):
            break
    return " ".join(parts)


def at(unix_ms: int) -> str:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def relative(unix_ms: int, now_ms: int) -> str:
    """`5 m ago` or `in 5 m`."""
    return f"{duration(now_ms - unix_ms)} ago" if unix_ms <= now_ms else f"in {duration(unix_ms - now_ms)}"


def one_line(text: str, width: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
