"""The laws of a feed's time: where it begins and ends, and when a session begins in it."""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.cli.simulate import moment
from stream.feed.sessions import by_session
from stream.feed.start import (
    START_PHASES,
    Moment,
    StartPhase,
    beginning,
    first_instant,
    last_instant,
    nothing_trades,
    phase_start,
)
from stream.feed.trades import Trades
from stream.session.calendar import Calendar, CashPhase, Phase, Session, Venue

NEW_YORK = ZoneInfo("America/New_York")
CALENDAR = Calendar.bundled()
DAY = 24 * 3600 * 10**9


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).timestamp()) * 10**9


def local(ts: int) -> str:
    return f"{datetime.fromtimestamp(ts / 10**9, NEW_YORK):%Y-%m-%d %H:%M:%S}"


def trades_at(*prints: tuple[str, int]) -> Trades:
    """Make trades of symbols at instants."""
    n = len(prints)
    return Trades(
        symbols=("AIG", "/RTYZ6", "IBM"),
        conditions=("@",),
        symbol=np.array([("AIG", "/RTYZ6", "IBM").index(name) for name, _ in prints], np.int32),
        ts=np.array([ts for _, ts in prints], np.int64),
        price=np.full(n, 10_000, np.int64),
        seq=np.arange(n, dtype=np.uint64),
        size=np.zeros(n, np.int64),
        venue=np.zeros(n, np.uint8),
        condition=np.zeros(n, np.int32),
        kind=np.zeros(n, np.uint8),
    )


def names(trades: Trades, session: Session | None = None) -> list[str]:
    """Give the session of each trade."""
    parts = by_session(trades, session, CALENDAR)
    return [reached.name for part, reached in parts for _ in range(len(part))]


@pytest.mark.parametrize(
    ("prints", "sessions"),
    [
        # A tape of shares alone stays in one session until 20:00.
        ([("AIG", "17:59"), ("AIG", "18:01"), ("IBM", "19:59"), ("IBM", "20:00")], "16 16 16 17"),
        # Futures begin the next at 18:00, and shares that come after are late.
        ([("AIG", "17:59"), ("/RTYZ6", "18:00"), ("AIG", "18:01")], "16 17 17"),
        (
            [("AIG", "16:00"), ("AIG", "18:30"), ("/RTYZ6", "18:31"), ("AIG", "21:00")],
            "16 16 17 17",
        ),
        ([("/RTYZ6", "19:00"), ("AIG", "19:01"), ("AIG", "20:01")], "17 17 17"),
        ([("/RTYZ6", "16:59"), ("AIG", "18:01"), ("AIG", "20:01")], "16 16 17"),
    ],
)
def test_a_tape_rolls_by_the_venue_of_its_trades(
    prints: list[tuple[str, str]], sessions: str
) -> None:
    """Futures from 18:00 on, shares from 20:00 on, and never back."""
    trades = trades_at(*((name, ns(f"2026-07-16 {at}")) for name, at in prints))

    assert [name[-2:] for name in names(trades)] == sessions.split()


def test_a_session_that_was_reached_goes_on_in_the_next_trades() -> None:
    """It is the same object, whose beginning is that of the venue that began it."""
    (_, first), (_, second) = by_session(
        trades_at(("AIG", ns("2026-07-16 12:00")), ("/RTYZ6", ns("2026-07-16 18:00"))),
        None,
        CALENDAR,
    )
    (part,) = by_session(trades_at(("AIG", ns("2026-07-16 18:01"))), second, CALENDAR)

    assert (local(first.starts_ns), local(second.starts_ns)) == (
        "2026-07-15 20:00:00",
        "2026-07-16 18:00:00",
    )
    assert part[1] is second


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["AIG", "/RTYZ6", "IBM"]),
            st.integers(ns("2026-11-20 12:00"), ns("2026-12-01 12:00")),
        ),
        min_size=1,
        max_size=30,
    ),
    st.integers(1, 29),
)
def test_sessions_are_those_of_the_calendar_and_never_go_back(
    prints: list[tuple[str, int]], cut: int
) -> None:
    """Each trade is in the latest session that any trade up to it is in by its own venue, however they are cut."""
    expected, newest = [], ""
    for name, ts in prints:
        venue = Venue.FUTURES if name.startswith("/") else Venue.EQUITIES
        newest = max(newest, CALENDAR.session_at(ts, venue).name)
        expected.append(newest)
    trades = trades_at(*prints)

    assert names(trades) == expected
    parts = list(by_session(trades.take(slice(0, cut)), None, CALENDAR))
    rest = trades.take(slice(cut, None))
    if len(rest):
        assert names(rest, parts[-1][1]) == expected[cut:]
    assert [int(seq) for part, _ in parts for seq in part.seq] == list(range(min(cut, len(prints))))


@pytest.mark.parametrize(
    ("phase", "now", "start"),
    [
        ("regular", "2026-07-17 12:00", "2026-07-17 10:00:00"),
        ("regular", "2026-07-17 09:59", "2026-07-16 10:00:00"),
        ("regular", "2026-07-19 12:00", "2026-07-17 10:00:00"),
        ("regular", "2026-11-26 12:00", "2026-11-25 10:00:00"),
        ("opening", "2026-07-17 12:00", "2026-07-17 09:29:30"),
        ("closing", "2026-07-17 12:00", "2026-07-16 15:59:30"),
        ("closing", "2026-11-28 12:00", "2026-11-27 12:59:30"),
        ("pre_market", "2026-07-17 12:00", "2026-07-17 08:30:00"),
        ("post_market", "2026-07-17 12:00", "2026-07-16 16:10:00"),
        ("overnight", "2026-07-17 12:00", "2026-07-16 22:00:00"),
        ("overnight", "2026-07-20 12:00", "2026-07-19 20:00:00"),
    ],
)
def test_a_phase_begins_in_the_newest_one_of_the_past(
    phase: StartPhase, now: str, start: str
) -> None:
    """On its own days, and with its own hours."""
    newest = phase_start(phase, CALENDAR, now_ns=ns(now))

    assert local(newest) == start
    assert phase_start(phase, CALENDAR, now_ns=ns(now), after_ns=newest - 1) == newest
    assert phase_start(phase, CALENDAR, now_ns=ns(now), after_ns=newest) > newest


@given(
    st.sampled_from(START_PHASES),
    st.integers(ns("2026-01-10 00:00"), ns("2027-06-01 00:00")),
    st.integers(-10 * DAY, 10 * DAY),
)
def test_a_start_lies_in_its_phase_after_what_it_must(
    phase: StartPhase, now: int, after: int
) -> None:
    """In the past where that is after the newest event, else the first one after it."""
    start = phase_start(phase, CALENDAR, now_ns=now, after_ns=now + after)

    assert start > now + after
    if after > 0:
        assert start < now + after + 6 * DAY
    else:
        newest = phase_start(phase, CALENDAR, now_ns=now)
        assert start == newest or newest <= now + after
    phases = {
        "overnight": (Phase.OVERNIGHT, None),
        "regular": (None, CashPhase.REGULAR),
        "closing": (None, CashPhase.REGULAR),
        "opening": (None, CashPhase.PRE_MARKET),
        "pre_market": (None, CashPhase.PRE_MARKET),
        "post_market": (None, CashPhase.POST_MARKET),
    }
    expected, cash = phases[phase]
    assert expected is None or CALENDAR.phase(start) is expected
    assert cash is None or CALENDAR.cash_phase(start) is cash


@pytest.mark.parametrize(
    ("given", "now", "after", "start"),
    [
        (None, "2026-07-17 12:00", None, "2026-07-17 12:00:00"),
        (None, "2026-07-17 03:00", None, "2026-07-17 03:00:00"),
        # On a weekend the last regular hours, on from where they have been shown already.
        (None, "2026-07-18 12:00", None, "2026-07-17 10:00:00"),
        (None, "2026-07-18 12:00", "2026-07-16 11:00", "2026-07-17 10:00:00"),
        (None, "2026-07-18 12:00", "2026-07-17 11:00", "2026-07-17 11:00:00"),
        (None, "2026-07-18 12:00", "2026-07-17 23:00", "2026-07-19 18:00:00"),
        (None, "2026-07-17 12:00", "2026-07-17 13:00", "2026-07-17 13:00:00"),
        # Who gives a time waits for the next trading, and so does who has run ahead of the clock.
        ("2026-07-18 12:00", "2026-07-22 12:00", None, "2026-07-19 18:00:00"),
        ("2026-07-21 12:00", "2026-07-22 12:00", "2026-07-21 12:30", "2026-07-21 12:30:00"),
        (None, "2026-07-17 12:00", "2026-07-18 12:00", "2026-07-19 18:00:00"),
    ],
)
def test_simulated_time_begins_where_something_trades(
    given: str | None, now: str, after: str | None, start: str
) -> None:
    """Now or when somebody says, after the newest event, and not in the middle of a weekend."""
    moment = None if given is None else datetime.fromisoformat(given)
    after_ns = 0 if after is None else ns(after)

    asked, possible = beginning(CALENDAR, None, moment, now_ns=ns(now), after_ns=after_ns)

    assert asked == ns(given or now)
    assert local(possible) == start
    assert possible > after_ns


@pytest.mark.parametrize(
    ("moment", "now", "instant"),
    [
        (time(15, 59), "2026-07-17 16:00", "2026-07-17 15:59:00"),
        (time(15, 59), "2026-07-17 15:58", "2026-07-16 15:59:00"),
        # On Saturday nothing trades at that time; on Sunday evening futures do.
        (time(15, 59), "2026-07-19 20:00", "2026-07-17 15:59:00"),
        (time(19), "2026-07-19 20:00", "2026-07-19 19:00:00"),
        # Nothing ever trades at 3 on Saturday, but who asks for it gets it.
        (datetime(2026, 7, 18, 3), "2026-07-19 20:00", "2026-07-18 03:00:00"),  # noqa: DTZ001
        (datetime(2026, 7, 18, 3, tzinfo=UTC), "2026-07-19 20:00", "2026-07-17 23:00:00"),
    ],
)
def test_a_time_of_day_is_the_newest_at_which_something_traded(
    moment: Moment, now: str, instant: str
) -> None:
    """In New York, unless the moment has an offset of its own."""
    assert local(last_instant(moment, CALENDAR, now_ns=ns(now))) == instant


@pytest.mark.parametrize(
    ("moment", "instant"),
    [
        (time(16, 5), "2026-07-17 16:05:00"),
        (time(15), "2026-07-18 15:00:00"),
        (time(15, 59), "2026-07-17 15:59:00"),
        (datetime(2026, 7, 21, 9, 30), "2026-07-21 09:30:00"),  # noqa: DTZ001
    ],
)
def test_an_end_is_the_first_after_the_start(moment: Moment, instant: str) -> None:
    """A time of day comes again each day."""
    assert local(first_instant(moment, CALENDAR, from_ns=ns("2026-07-17 15:59"))) == instant


@pytest.mark.parametrize(
    ("at", "nothing"),
    [
        ("2026-07-17 16:59", False),
        ("2026-07-17 17:30", False),  # shares
        ("2026-07-17 20:00", True),
        ("2026-07-19 17:59", True),
        ("2026-07-19 18:00", False),
        ("2026-07-20 17:30", False),
        ("2026-11-26 12:00", False),  # futures, on a holiday
        ("2026-11-26 14:00", True),
    ],
)
def test_nothing_trades_where_both_markets_are_closed(at: str, *, nothing: bool) -> None:
    """Weekends, and holidays after the early end of futures."""
    assert nothing_trades(CALENDAR, ns(at)) is nothing


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("09:30", time(9, 30)),
        ("15:59:30", time(15, 59, 30)),
        ("2026-11-22", datetime(2026, 11, 22)),  # noqa: DTZ001
        ("2026-11-22T18:00", datetime(2026, 11, 22, 18)),  # noqa: DTZ001
        ("2026-11-22T23:00Z", datetime(2026, 11, 22, 23, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_from_the_command_line(text: str, meant: Moment) -> None:
    """ISO 8601, with or without an offset, or a time of day."""
    read = moment(text)

    assert (type(read), read) == (type(meant), meant)


@pytest.mark.parametrize("text", ["", "9:30", "1530", "12", "24:00", "2026-13-01", "noon"])
def test_a_time_that_cannot_be_read_is_named(text: str) -> None:
    """With what was expected."""
    with pytest.raises(ArgumentTypeError, match=rf"HH:MM\[:SS\], found '{text}'"):
        moment(text)
