from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.http.ingress.delay import DELAY_MAX_MS, BadDelay, parse_delay_ms

ARABIC_FIVE = "\u0665"
SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("PT60S", 60 * SECOND),
        ("PT0.5S", 500),
        ("PT0,5S", 500),
        ("P1D", DAY),
        ("P1W", 7 * DAY),
        ("P1DT2H3M4S", DAY + 2 * HOUR + 3 * MINUTE + 4 * SECOND),
        ("pt1m", MINUTE),
        ("60s", 60 * SECOND),
        ("60sec", 60 * SECOND),
        ("1.5s", 1500),
        ("1,5s", 1500),
        ("00:01:30", 90 * SECOND),
        ("25:00:00,5", 25 * HOUR + 500),
        ("1m", MINUTE),
        ("100ms", 100),
        ("1 sec", SECOND),
        ("1h 30m", 90 * MINUTE),
        ("1h30m", 90 * MINUTE),
        ("1h, 30m", 90 * MINUTE),
        ("2 days", 2 * DAY),
        ("1500us", 2),
        ("0s", 0),
        ("PT0S", 0),
        ("0", 0),
        ("1500", 1500),
    ],
)
def test_spellings(text: str, ms: int) -> None:
    assert parse_delay_ms(text) == ms


@pytest.mark.parametrize(
    "text",
    # "\u0665s" is an Arabic-Indic five
    [
        "",
        "  ",
        "P",
        "PT",
        "P1M",
        " 5s",
        "1s 2s",
        "1s 2m",
        "P1Y",
        "P1DT",
        "PT1H1D",
        "-PT5S",
        "-5s",
        "1M",
        "1 fortnight",
        "s",
        "5s ago",
        ",5s",
        "1s,2ms",
        "00:60:00",
        "1.5",
        "1e3",
        "+5s",
        "PT5",
        ARABIC_FIVE + "s",
        "5s\n5",
        "9" * 200,
        "101 y",
        "P99999W",
        f"{DELAY_MAX_MS + 1}",
        "soon",
        "%31s",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(BadDelay):
        parse_delay_ms(text)


def test_never_shorter_than_asked() -> None:
    assert parse_delay_ms("1ns") == 1
    assert parse_delay_ms("PT0.0001S") == 1


@given(st.text(max_size=140))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    try:
        assert 0 <= parse_delay_ms(text) <= DELAY_MAX_MS
    except BadDelay as why:
        assert str(why)
