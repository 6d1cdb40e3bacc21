"""The laws of simulated time."""

from __future__ import annotations

from datetime import datetime, time
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.feed.sessions import last_past_session, windows
from stream.session.hours import RegularHours

NEW_YORK = ZoneInfo("America/New_York")
HOURS = RegularHours.parse("Mon-Fri 09:30-16:00 America/New_York")


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).timestamp()) * 10**9


def local(ts: int) -> datetime:
    return datetime.fromtimestamp(ts / 10**9, NEW_YORK)


@pytest.mark.parametrize(
    ("now", "start"),
    [
        ("2026-07-17 12:00", "2026-07-16 10:00"),
        ("2026-07-17 23:59", "2026-07-16 10:00"),
        ("2026-07-18 00:00", "2026-07-17 10:00"),
        ("2026-07-19 12:00", "2026-07-17 10:00"),
        ("2026-07-20 09:00", "2026-07-17 10:00"),
        ("2026-07-21 09:00", "2026-07-20 10:00"),
        # The clocks have changed between the two.
        ("2026-03-09 00:30", "2026-03-06 10:00"),
    ],
)
def test_it_begins_at_ten_on_the_last_past_weekday(now: str, start: str) -> None:
    """A whole session lies in the past then, in New York's own date."""
    assert last_past_session(ns(now), HOURS) == ns(start)


def test_a_session_ends_at_the_close_and_the_next_begins_at_ten() -> None:
    """From Friday's last instant straight to Monday, with no time between."""
    cut = list(islice(windows(ns("2026-07-17 15:00"), 1800 * 10**9, HOURS), 3))

    assert cut == [
        (ns("2026-07-17 15:00"), ns("2026-07-17 15:30")),
        (ns("2026-07-17 15:30"), ns("2026-07-17 16:00")),
        (ns("2026-07-20 10:00"), ns("2026-07-20 10:30")),
    ]


@given(st.integers(ns("2026-01-01 00:00"), ns("2026-12-31 00:00")), st.integers(1, 8 * 3600))
def test_simulated_time_lies_in_regular_hours_and_never_goes_back(
    start: int, length_s: int
) -> None:
    """Wherever it begins: weekdays, from ten to the close, each window after the one before."""
    cut = list(islice(windows(start, length_s * 10**9, HOURS), 40))

    assert cut[0][0] >= start
    assert all(first < last <= first + length_s * 10**9 for first, last in cut)
    assert all(before[1] <= after[0] for before, after in pairwise(cut))
    for first, last in cut:
        assert local(first).weekday() < 5
        assert time(10) <= local(first).time()
        assert local(last - 1).date() == local(first).date()
        assert local(last).time() <= time(16)


def test_short_hours_are_used_whole() -> None:
    """Where regular hours last half an hour or less, all of them are simulated."""
    short = RegularHours.parse("Mon-Fri 09:30-10:00 America/New_York")

    assert next(windows(ns("2026-07-17 00:00"), 3600 * 10**9, short)) == (
        ns("2026-07-17 09:30"),
        ns("2026-07-17 10:00"),
    )
