"""Tables and durations as people read them, with and without rich."""

from __future__ import annotations

import io
import sys

import pytest

from perdure.cli.tables import at, duration, one_line, relative, table

ROWS = [("inv_1", "paused", "3"), ("inv_22", "running", "12")]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1_000, "1 s"),
        (2_440, "2.4 s"),
        (60_000, "1 m"),
        (185_000, "3 m 5 s"),
        (3_600_000, "1 h"),
        (3_605_000, "1 h"),
        (90_000_000, "1 d 1 h"),
        (86_400_000 * 40, "40 d"),
    ],
)
def test_durations(ms: int, text: str) -> None:
    assert duration(ms) == text


def test_times() -> None:
    assert at(1_790_000_000_000) == "2026-09-21 14:13:20 UTC"
    assert relative(1_000, 6_000) == "5 s ago"
    assert relative(6_000, 1_000) == "in 5 s"
    assert one_line("a\n  b " + "c" * 80, 10) == "a b ccccc…"


def test_columns_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    table(("id", "status", "attempts"), ROWS, numbers=(2,))
    assert capsys.readouterr().out.splitlines() == [
        "id      status   attempts",
        "inv_1   paused          3",
        "inv_22  running        12",
    ]


def test_a_terminal_gets_colours_where_rich_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    table(("id", "status", "attempts"), ROWS)
    assert "\x1b[33mpaused" in terminal.getvalue()


def test_a_terminal_without_rich_gets_plain_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("rich.console", "rich.table", "rich.text"):
        monkeypatch.setitem(sys.modules, module, None)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    table(("id", "status", "attempts"), ROWS)
    assert "\x1b" not in terminal.getvalue()
    assert "inv_22  running  12" in terminal.getvalue()
