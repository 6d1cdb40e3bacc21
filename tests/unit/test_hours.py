"""Regular hours against the zone database, read instant by instant."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import oracle
from oracle import NS
from stream.errors import SettingsError
from stream.session.hours import DAY_NAMES, RegularHours

REGULAR = "Mon-Fri 09:30-16:00 America/New_York"
NEW_YORK = RegularHours.parse(REGULAR)
FIRST = int(datetime(1990, 1, 1, tzinfo=UTC).timestamp()) * NS
LAST = int(datetime(2100, 12, 31, tzinfo=UTC).timestamp()) * NS


def array(*instants: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(instants, np.int64)


def contains(hours: str, *instants: int) -> list[bool]:
    return [bool(inside) for inside in RegularHours.parse(hours).contains(array(*instants))]


@given(st.lists(st.integers(FIRST, LAST), min_size=1, max_size=20))
def test_instants_of_a_century_are_inside_as_new_yorks_clock_shows(instants: list[int]) -> None:
    """Together or one by one, in any order and across years, the answer is the clock's."""
    expected = [oracle.in_regular_hours(ts) for ts in instants]

    hours = NEW_YORK
    assert hours.contains(array(*instants)).tolist() == expected
    assert [bool(hours.contains(array(ts))[0]) for ts in instants] == expected


@given(st.dates(date(1990, 1, 2), date(2100, 12, 30)))
@example(date(2026, 3, 6))
@example(date(2026, 3, 9))
@example(date(2026, 10, 30))
@example(date(2026, 11, 2))
@example(date(2007, 3, 12))
@example(date(2026, 1, 1))
@example(date(2026, 12, 31))
def test_hours_are_half_open_on_every_weekday(day: date) -> None:
    """The opening nanosecond is inside and the closing one is not, in summer, winter and at the turn of a year."""
    opens = oracle.nanoseconds(day.isoformat(), "09:30:00")
    closes = oracle.nanoseconds(day.isoformat(), "16:00:00")
    open_day = day.weekday() < 5

    edges = contains(REGULAR, opens - 1, opens, opens + 1, closes - 1, closes, closes + 1)

    assert edges == [False, open_day, open_day, open_day, False, False]
    assert RegularHours.parse(REGULAR).opening(day) == opens


@pytest.mark.parametrize(
    ("utc", "inside"),
    [
        ("2026-03-06T14:29:59", False),
        ("2026-03-06T14:30:00", True),
        ("2026-03-06T20:59:59", True),
        ("2026-03-06T21:00:00", False),
        ("2026-03-09T13:29:59", False),
        ("2026-03-09T13:30:00", True),
        ("2026-03-09T20:00:00", False),
        ("2026-10-30T13:30:00", True),
        ("2026-11-02T13:30:00", False),
        ("2026-11-02T14:30:00", True),
        ("2026-03-07T15:00:00", False),
        ("2026-03-08T15:00:00", False),
        ("2027-01-01T01:00:00", False),
    ],
)
def test_clock_changes_move_the_hours_in_utc(utc: str, inside: bool) -> None:  # noqa: FBT001
    """New York is five hours behind UTC in winter and four in summer; weekends are closed."""
    ts = int(datetime.fromisoformat(utc).replace(tzinfo=UTC).timestamp()) * NS

    assert contains(REGULAR, ts) == [inside]


ZONES = (
    "America/New_York",
    "Asia/Tokyo",
    "Europe/London",
    "UTC",
    "Pacific/Auckland",
    "Pacific/Honolulu",
)


@given(
    st.sampled_from(ZONES),
    st.sampled_from(
        (("00:00", "23:59"), ("04:00", "20:00"), ("08:00", "15:00"), ("18:00", "23:00"))
    ),
    st.tuples(st.integers(0, 6), st.integers(0, 6)).map(sorted),
    st.integers(1991, 2099),
    st.lists(st.integers(-48 * 60, 48 * 60), min_size=1, max_size=8),
)
@example("Asia/Tokyo", ("08:00", "15:00"), [0, 6], 2026, [-30])
@example("America/New_York", ("04:00", "20:00"), [0, 4], 2026, [30])
def test_other_hours_and_zones_hold_at_the_turn_of_the_year(
    zone: str, times: tuple[str, str], days: list[int], year: int, minutes: list[int]
) -> None:
    """The local year may be another than that of UTC: a session that spans the turn is whole."""
    first, last = days
    turn = datetime(year, 1, 1, tzinfo=UTC)
    instants = [int((turn + timedelta(minutes=m)).timestamp()) * NS for m in minutes]

    inside = contains(
        f"{DAY_NAMES[first]}-{DAY_NAMES[last]} {times[0]}-{times[1]} {zone}", *instants
    )

    expected = []
    for ts in instants:
        local = datetime.fromtimestamp(ts // NS, ZoneInfo(zone))
        opens, closes = time.fromisoformat(times[0]), time.fromisoformat(times[1])
        expected.append(first <= local.weekday() <= last and opens <= local.time() < closes)
    assert inside == expected


@given(st.lists(st.integers(2**62, 2**63 - 1), min_size=1, max_size=3))
@example([2**63 - 1])
@example([oracle.nanoseconds("2026-07-17", "12:00:00"), 2**63 - 1])
def test_the_last_instants_of_64_bits_are_judged_like_any_other(instants: list[int]) -> None:
    """A tick may carry any event time of the contract; none may stop the book."""
    inside = contains(REGULAR, *instants)

    assert inside == [oracle.in_regular_hours(ts) for ts in instants]


def test_no_instants_are_inside_nothing() -> None:
    """An empty batch has an empty answer."""
    assert contains(REGULAR) == []


def test_a_single_day_may_be_given() -> None:
    """`Sat` alone means Saturdays."""
    saturday = oracle.nanoseconds("2026-07-18", "12:00:00", ZoneInfo("Asia/Tokyo"))
    day = 86_400 * NS

    inside = contains("Sat 09:00-15:00 Asia/Tokyo", saturday - day, saturday, saturday + day)

    assert inside == [False, True, False]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "09:30-16:00 America/New_York",
        "Mon-Fri 09:30-16:00",
        "Mon-Fri 16:00-09:30 America/New_York",
        "Mon-Fri 09:30-09:30 America/New_York",
        "Fri-Mon 09:30-16:00 America/New_York",
        "Mon-Fry 09:30-16:00 America/New_York",
        "Mon-Fri 09:30-24:30 America/New_York",
        "Mon-Fri 9:30-16:00 America/New_York",
        "Mon-Fri 09:30-16:00 America/Gotham",
        "Mon-Fri 09:30-16:00 America",
        "Mon-Fri 09:30-16:00 America/New_York ",
    ],
)
def test_hours_that_cannot_be_meant_are_refused_with_an_example(text: str) -> None:
    """The message repeats what was found and shows what is expected."""
    with pytest.raises(SettingsError, match="expected days, hours and zone, such as") as caught:
        RegularHours.parse(text)

    assert repr(text) in str(caught.value)
