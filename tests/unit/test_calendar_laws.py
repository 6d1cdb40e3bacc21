"""Laws of every calendar, on the bundled one and on some that nobody would bundle."""

from __future__ import annotations

from datetime import UTC, date, datetime
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle import NEW_YORK, NS
from stream.session.calendar import Calendar, CashPhase, Phase, Venue

DAY = 86_400 * NS

#: Equities around the clock but for an hour, a roll at midnight, and futures that never pause on weekdays.
ALL_NIGHT = """
[[cash.hours]]
from = 2026-06-01
pre_market = "21:00"

[[futures.hours]]
from = 2026-06-01
close = "18:00"

[[roll]]
from = 2026-06-01
equities = "00:00"

[futures]
closed = [2026-07-06, 2026-07-07, 2026-07-08, 2026-07-09, 2026-07-10]
"""

#: Sunday is a working day, post-market meets pre-market, and the zone's day is half a day ahead.
FAR_EAST = """
replace = true
zone = "Pacific/Auckland"

[cash]
closed = [2026-12-25]

[[cash.hours]]
from = 2000-01-01
days = "Mon-Thu,Sun"
pre_market = "18:00"
open = "10:00"
close = "17:00"
post_market = "18:00"

[[futures.hours]]
from = 2000-01-01
days = "Mon-Fri,Sun"
open = "02:00"
close = "23:30"

[[roll]]
from = 2000-01-01
futures = "open"
equities = "18:00"
"""


@pytest.fixture(scope="module", params=["bundled", "all night", "far east"])
def calendar(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Calendar:
    if request.param == "bundled":
        return Calendar.bundled()
    path = tmp_path_factory.mktemp("calendar") / "calendar.toml"
    path.write_text(ALL_NIGHT if request.param == "all night" else FAR_EAST, encoding="utf-8")
    return Calendar.load(path)


def instants() -> st.SearchStrategy[int]:
    """Most in the years of the table, some around the summer in which the odd hours begin, some anywhere."""
    first, last = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * NS for year in (2000, 2040))
    summer, winter = (
        int(datetime(2026, month, 20, tzinfo=UTC).timestamp()) * NS for month in (5, 12)
    )
    return st.one_of(
        st.integers(first, last),
        st.integers(summer, winter),
        st.integers(winter, winter + 16 * DAY),
        st.integers(0, 2**63 - 1),
    )


@given(start=instants(), length=st.integers(1, 12 * DAY))
def test_stretches_tile_any_span(calendar: Calendar, start: int, length: int) -> None:
    """They cover it without gap or overlap, neighbours differ, and each says what its first and last instant do."""
    stretches = list(calendar.stretches(start, start + length))

    assert stretches[0].starts_ns == start
    assert stretches[-1].ends_ns == start + length
    for one, following in pairwise(stretches):
        assert one.ends_ns == following.starts_ns
        assert one[:2] != following[:2]
    for one in stretches:
        for ts in (one.starts_ns, one.ends_ns - 1):
            assert (calendar.phase(ts), calendar.cash_phase(ts)) == one[:2]


@given(ts=instants(), part=st.floats(0, 1))
def test_nothing_changes_before_the_next_change(calendar: Calendar, ts: int, part: float) -> None:
    """The next change is the first instant at which either phase is another."""
    change = calendar.next_change(ts)
    between = ts + int((change - 1 - ts) * part)

    assert change > ts
    here = calendar.phase(ts), calendar.cash_phase(ts)
    for same in (between, change - 1):
        assert (calendar.phase(same), calendar.cash_phase(same)) == here
    assert (calendar.phase(change), calendar.cash_phase(change)) != here


@given(ts=instants())
def test_a_stretch_ends_where_something_changes(calendar: Calendar, ts: int) -> None:
    """It holds its instant, and reaches to the next change, or to the end of the year in UTC."""
    stretch = calendar.stretch(ts)
    new_year = datetime.fromtimestamp(ts // NS, UTC).year + 1

    assert stretch.starts_ns <= ts < stretch.ends_ns
    assert stretch.ends_ns == min(
        calendar.next_change(ts), int(datetime(new_year, 1, 1, tzinfo=UTC).timestamp()) * NS
    )


@given(ts=instants(), venue=st.sampled_from(Venue))
def test_sessions_tile(calendar: Calendar, ts: int, venue: Venue) -> None:
    """An instant lies in one session, the next begins where it ends, and names follow each other."""
    session = calendar.session_at(ts, venue)
    following = calendar.session_at(session.ends_ns, venue)
    previous = calendar.session_at(session.starts_ns - 1, venue)

    assert session.starts_ns <= ts < session.ends_ns
    assert following.starts_ns == session.ends_ns
    assert previous.ends_ns == session.starts_ns
    assert previous.name < session.name < following.name
    assert calendar.session(session.name, venue) == session


@given(one=instants(), other=instants(), venue=st.sampled_from(Venue))
def test_session_names_never_go_back(
    calendar: Calendar, one: int, other: int, venue: Venue
) -> None:
    """A later instant has no earlier session."""
    early, late = sorted((one, other))

    assert calendar.session_at(early, venue).name <= calendar.session_at(late, venue).name


@given(ts=instants(), venue=st.sampled_from(Venue))
def test_a_session_holds_its_own_regular_hours_and_no_other(
    calendar: Calendar, ts: int, venue: Venue
) -> None:
    """Its cash day opens and closes within it, and a close ends no other session's day."""
    session = calendar.session_at(ts, venue)
    opens, closes = calendar.regular_hours(session.name)

    assert session.starts_ns <= opens < closes <= session.ends_ns
    assert calendar.cash_phase(opens) is calendar.cash_phase(closes - 1) is CashPhase.REGULAR
    regular = [
        one
        for one in calendar.stretches(session.starts_ns, session.ends_ns)
        if one.cash_phase is CashPhase.REGULAR
    ]
    assert {(regular[0].starts_ns, regular[-1].ends_ns)} == {(opens, closes)}
    assert calendar.last_close(closes) == (session.name, closes)
    assert calendar.last_close(closes - 1)[1] < session.starts_ns


@given(ts=st.lists(instants(), min_size=1, max_size=12))
def test_contains_is_the_regular_cash_phase(calendar: Calendar, ts: list[int]) -> None:
    """For any batch, in any order and across years, and for both ends of a batch as `covers` has it."""
    regular = [calendar.cash_phase(one) is CashPhase.REGULAR for one in ts]

    assert calendar.contains(np.array(ts, np.int64)).tolist() == regular
    assert [calendar.covers(one, one) for one in ts] == regular
    first, last = min(ts), max(ts)
    within = calendar.cash_phase(first) is CashPhase.REGULAR and last < calendar.next_change(first)
    assert calendar.covers(first, last) is within


@given(ts=instants(), length=st.integers(0, 3 * DAY))
def test_batches_of_a_day_or_three(calendar: Calendar, ts: int, length: int) -> None:
    """The fast road, for batches of one day, answers as the slow one does."""
    batch = np.array([min(ts + length * n // 8, 2**63 - 1) for n in range(9)], np.int64)

    expected = [calendar.cash_phase(int(one)) is CashPhase.REGULAR for one in batch]
    assert calendar.contains(batch).tolist() == expected


@given(ts=st.lists(instants(), min_size=2, max_size=4))
@settings(max_examples=25)
def test_answers_do_not_depend_on_what_was_asked_before(calendar: Calendar, ts: list[int]) -> None:
    """One calendar asked in turn says what calendars asked but once say."""
    alone = [Calendar(calendar.rules).phase(one) for one in ts]

    assert [calendar.phase(one) for one in ts] == alone


@given(st.integers(0, 2**63 - 1).filter(lambda ts: not 946_000_000 * NS < ts < 2_083_000_000 * NS))
def test_beyond_the_table_every_week_is_the_same(ts: int) -> None:
    """Before 2000 and after 2035 the clock and the weekday in New York say all."""
    moment = datetime.fromtimestamp(ts // NS, UTC).astimezone(NEW_YORK)
    minutes = moment.hour * 60 + moment.minute

    assert Calendar.bundled().cash_phase(ts) is cash_phase_by_the_clock(moment.weekday(), minutes)
    assert Calendar.bundled().phase(ts) is phase_by_the_clock(moment.weekday(), minutes)


def cash_phase_by_the_clock(weekday: int, minutes: int) -> CashPhase:
    if weekday > 4 or minutes < 240 or minutes >= 1200:
        return CashPhase.CLOSED
    if minutes < 570:
        return CashPhase.PRE_MARKET
    return CashPhase.REGULAR if minutes < 960 else CashPhase.POST_MARKET


def phase_by_the_clock(weekday: int, minutes: int) -> Phase:
    if weekday == 5 or (weekday == 4 and minutes >= 1020) or (weekday == 6 and minutes < 1080):
        return Phase.CLOSED
    if 1020 <= minutes < 1080:
        return Phase.MAINTENANCE
    cash = cash_phase_by_the_clock(weekday, minutes)
    return Phase.OVERNIGHT if cash is CashPhase.CLOSED else Phase[cash.name]


@given(st.integers(1990, 2100), st.integers(1, 12))
def test_expiries_are_trading_days_in_the_third_week(year: int, month: int) -> None:
    """A contract expires on a cash trading day from the 14th on, on a Friday unless that is a holiday."""
    day = Calendar.bundled().expiry(year, month)
    friday = next(
        date(year, month, n) for n in range(15, 22) if date(year, month, n).weekday() == 4
    )

    assert Calendar.bundled().trades_on(day)
    assert day == friday or (day < friday and Calendar.bundled().is_holiday(friday))
