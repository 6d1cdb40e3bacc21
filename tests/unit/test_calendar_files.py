"""A user's calendar file: closures and hours over the bundled ones, and what is said of a bad file."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from oracle import NEW_YORK, NS
from stream.errors import FileError
from stream.session.calendar import Calendar, Phase, Stretch, Venue

PAGE = Path(__file__).parents[2] / "docs" / "calendar.md"

Load = Callable[[str], Calendar]

WHOLE = """
zone = "Europe/London"

[[cash.hours]]
from = 2026-01-01
days = "Mon-Fri"
pre_market = "07:00"
open = "08:00"
close = "16:30"
post_market = "17:15"

[[futures.hours]]
from = 2026-01-01
days = "Mon-Fri"
open = "01:00"
close = "21:00"

[[roll]]
from = 2026-01-01
futures = "open"
equities = "18:00"
"""


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Give a function that loads a calendar over the bundled one from the text of a file."""
    path = tmp_path / "mine.toml"

    def load_text(text: str) -> Calendar:
        path.write_text(text, encoding="utf-8")
        return Calendar.load(path)

    return load_text


def at(text: str, zone: ZoneInfo = NEW_YORK) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()) * NS


def listing(calendar: Calendar, start: str, end: str) -> list[str]:
    """Write the phases of a span, one line each: start in the calendar's zone, phase, cash phase."""

    def line(one: Stretch) -> str:
        local = datetime.fromtimestamp(one.starts_ns // NS, calendar.zone)
        return f"{local:%d %H:%M} {one.phase.name} {one.cash_phase.name}"

    return [
        line(one) for one in calendar.stretches(at(start, calendar.zone), at(end, calendar.zone))
    ]


def test_a_day_of_mourning(load: Load) -> None:
    """Dates closed and closed early join the bundled ones, in either market."""
    calendar = load(
        """
        [cash]
        closed = [2026-07-15]
        [[cash.special]]
        dates = [2026-07-16]
        close = "12:00"
        post_market = "14:00"
        [[futures.special]]
        dates = [2026-07-15]
        close = "09:30"
        """
    )

    assert listing(calendar, "2026-07-15 00:00", "2026-07-16 18:00") == [
        "15 00:00 OVERNIGHT CLOSED",
        "15 09:30 MAINTENANCE CLOSED",
        "15 18:00 OVERNIGHT CLOSED",
        "16 04:00 PRE_MARKET PRE_MARKET",
        "16 09:30 REGULAR REGULAR",
        "16 12:00 POST_MARKET POST_MARKET",
        "16 14:00 OVERNIGHT CLOSED",
        "16 17:00 MAINTENANCE CLOSED",
    ]
    assert calendar.session_at(at("2026-07-15 12:00")).name == "2026-07-16"
    assert calendar.is_holiday(date(2026, 12, 25))
    assert calendar.is_holiday(date(2026, 7, 15))
    assert not Calendar.bundled().is_holiday(date(2026, 7, 15))


def test_equities_around_the_clock(load: Load) -> None:
    """A pre-market that starts later than it opens starts the evening before; other hours hold from their date on."""
    calendar = load(
        """
        [[cash.hours]]
        from = 2027-01-04
        pre_market = "21:00"
        [[roll]]
        from = 2027-01-04
        equities = "21:00"
        """
    )

    assert listing(calendar, "2027-01-01 12:00", "2027-01-05 09:30") == [
        "01 12:00 CLOSED CLOSED",
        "03 18:00 OVERNIGHT CLOSED",
        "03 21:00 PRE_MARKET PRE_MARKET",
        "04 09:30 REGULAR REGULAR",
        "04 16:00 POST_MARKET POST_MARKET",
        "04 17:00 MAINTENANCE POST_MARKET",
        "04 18:00 POST_MARKET POST_MARKET",
        "04 20:00 OVERNIGHT CLOSED",
        "04 21:00 PRE_MARKET PRE_MARKET",
    ]
    assert calendar.next_change(at("2026-12-30 20:00")) == at("2026-12-31 04:00")
    # New Year's Eve is a Thursday: Monday's session begins after it.
    session = calendar.session("2027-01-04", Venue.EQUITIES)
    assert session.starts_ns == at("2026-12-31 21:00")
    assert calendar.session("2026-12-31", Venue.EQUITIES).starts_ns == at("2026-12-30 20:00")
    # An early close of the bundled table keeps its close, and takes the rest from the new hours.
    assert listing(calendar, "2027-11-25 20:00", "2027-11-26 12:00")[1] == (
        "25 21:00 PRE_MARKET PRE_MARKET"
    )
    assert calendar.regular_hours("2027-11-26")[1] == at("2027-11-26 13:00")


def test_hours_that_reach_into_the_morning(load: Load) -> None:
    """A post-market that ends earlier than the market closes ends the next morning, and a pre-market waits for it."""
    calendar = load(
        """
        [[cash.hours]]
        from = 2026-07-01
        pre_market = "01:30"
        post_market = "01:30"
        [[cash.special]]
        dates = [2026-07-15]
        pre_market = "00:30"
        """
    )

    assert listing(calendar, "2026-07-14 18:00", "2026-07-16 09:30") == [
        "14 18:00 POST_MARKET POST_MARKET",
        "15 01:30 PRE_MARKET PRE_MARKET",
        "15 09:30 REGULAR REGULAR",
        "15 16:00 POST_MARKET POST_MARKET",
        "15 17:00 MAINTENANCE POST_MARKET",
        "15 18:00 POST_MARKET POST_MARKET",
        "16 01:30 PRE_MARKET PRE_MARKET",
    ]


def test_a_market_without_extended_hours(load: Load) -> None:
    """A pre-market that starts as the market opens, and a post-market that ends as it closes, are none."""
    calendar = load(
        """
        [[cash.hours]]
        from = 2026-07-01
        pre_market = "09:30"
        post_market = "16:00"
        """
    )

    assert listing(calendar, "2026-07-14 18:00", "2026-07-15 18:00") == [
        "14 18:00 OVERNIGHT CLOSED",
        "15 09:30 REGULAR REGULAR",
        "15 16:00 OVERNIGHT CLOSED",
        "15 17:00 MAINTENANCE CLOSED",
    ]


def test_other_days_other_hours_of_futures(load: Load) -> None:
    """A weekday may gain trading, a single Saturday too, and futures may close later and later open."""
    calendar = load(
        """
        [[futures.hours]]
        from = 2026-07-13
        days = "Mon-Thu,Sun"
        open = "19:00"
        close = "17:30"
        [[cash.special]]
        dates = [2026-07-18]
        open = "10:00"
        """
    )

    assert listing(calendar, "2026-07-15 17:00", "2026-07-16 20:00") == [
        "15 17:00 POST_MARKET POST_MARKET",
        "15 17:30 MAINTENANCE POST_MARKET",
        "15 19:00 POST_MARKET POST_MARKET",
        "15 20:00 OVERNIGHT CLOSED",
        "16 04:00 PRE_MARKET PRE_MARKET",
        "16 09:30 REGULAR REGULAR",
        "16 16:00 POST_MARKET POST_MARKET",
        "16 17:30 CLOSED POST_MARKET",
    ]
    assert (
        calendar.phase(at("2026-07-18 19:00")) is Phase.POST_MARKET
    )  # Sunday's futures, Saturday's shares
    assert calendar.regular_hours("2026-07-18")[0] == at("2026-07-18 10:00")
    assert calendar.session_at(at("2026-07-18 12:00"), Venue.EQUITIES).name == "2026-07-18"


def test_futures_around_the_clock(load: Load) -> None:
    """Futures that close as they open again pause on weekends and after an early close alone."""
    calendar = load('[[futures.hours]]\nfrom = 2026-11-01\nclose = "18:00"')

    phases = listing(calendar, "2026-11-24 16:00", "2026-11-30 00:00")
    assert [line for line in phases if "MAINTENANCE" in line] == ["26 13:00 MAINTENANCE CLOSED"]
    assert [line for line in phases if " CLOSED" in line and "OVERNIGHT" not in line] == [
        "26 13:00 MAINTENANCE CLOSED",
        "27 13:15 CLOSED POST_MARKET",
        "27 17:00 CLOSED CLOSED",
    ]


def test_what_a_file_says_of_a_date_replaces_what_was_bundled(load: Load) -> None:
    """A bundled holiday becomes usual or an early close, an early close usual or a holiday."""
    calendar = load(
        """
        [cash]
        usual = [2026-12-25, 2026-12-24]
        closed = [2026-11-27]
        [[cash.special]]
        dates = [2026-11-26]
        close = "14:00"
        """
    )

    names = ("2026-11-26", "2026-12-24", "2026-12-25")
    assert [calendar.regular_hours(name)[1] for name in names] == [
        at("2026-11-26 14:00"),
        at("2026-12-24 16:00"),
        at("2026-12-25 16:00"),
    ]
    assert calendar.is_holiday(date(2026, 11, 27))
    assert calendar.expiry(2026, 12) == date(2026, 12, 18)


def test_hours_from_the_same_date_replace_the_bundled_ones(load: Load) -> None:
    """Of two rules from one date the user's holds, and must be whole where none precedes it."""
    calendar = load(
        """
        [[cash.hours]]
        from = 2000-01-01
        days = "Tue"
        pre_market = "05:00"
        open = "10:00"
        close = "15:00"
        post_market = "15:00"
        """
    )

    assert calendar.regular_hours("2026-07-14") == (at("2026-07-14 10:00"), at("2026-07-14 15:00"))
    assert not calendar.trades_on(date(2026, 7, 15))
    assert calendar.cash_phase(at("2026-07-14 15:00")).name == "CLOSED"


def test_rolls_by_the_clock(load: Load) -> None:
    """A roll at a time of the day comes when that time is first reached after the close; midnight is one such."""
    calendar = load(
        """
        [[roll]]
        from = 2026-07-01
        futures = "17:00"
        equities = "00:00"
        [[roll]]
        from = 2026-08-01
        equities = "open"
        [[roll]]
        from = 2026-09-01
        equities = "16:00"
        """
    )

    assert calendar.session("2026-07-20").starts_ns == at("2026-07-17 17:00")
    assert calendar.session("2026-07-20", Venue.EQUITIES).starts_ns == at("2026-07-18 00:00")
    assert calendar.session("2026-08-10").starts_ns == at("2026-08-07 17:00")
    assert calendar.session("2026-08-10", Venue.EQUITIES).starts_ns == at("2026-08-09 18:00")
    assert calendar.session("2026-11-30").starts_ns == at("2026-11-27 17:00")
    assert calendar.session("2026-11-25", Venue.EQUITIES).starts_ns == at("2026-11-24 16:00")


def test_futures_that_open_as_shares_close(load: Load) -> None:
    """The opening at the very close is the first after it."""
    calendar = load('[[cash.hours]]\nfrom = 2026-07-01\nclose = "18:00"')

    assert calendar.session("2026-07-15").starts_ns == at("2026-07-14 18:00")


def test_a_session_begins_with_its_own_day_where_futures_stay_shut(load: Load) -> None:
    """Futures closed for days cannot hold back a cash day."""
    calendar = load("[futures]\nclosed = [2026-07-14, 2026-07-15, 2026-07-16]")

    assert calendar.session("2026-07-14").starts_ns == at("2026-07-14 09:30")
    assert calendar.session("2026-07-15").starts_ns == at("2026-07-15 09:30")
    assert calendar.session("2026-07-17").starts_ns == at("2026-07-16 18:00")
    assert calendar.phase(at("2026-07-15 12:00")) is Phase.CLOSED


def test_a_calendar_that_stands_on_its_own(load: Load) -> None:
    """With `replace = true` nothing of the bundled one is left, its zone included."""
    calendar = load("replace = true\n" + WHOLE)

    assert calendar.zone.key == "Europe/London"
    assert listing(calendar, "2026-12-25 00:00", "2026-12-26 00:00") == [
        "25 00:00 CLOSED CLOSED",
        "25 01:00 OVERNIGHT CLOSED",
        "25 07:00 PRE_MARKET PRE_MARKET",
        "25 08:00 REGULAR REGULAR",
        "25 16:30 POST_MARKET POST_MARKET",
        "25 17:15 OVERNIGHT CLOSED",
        "25 21:00 CLOSED CLOSED",
    ]
    assert (
        Calendar.read(WHOLE, file="whole").phase(at("2026-07-14 08:00", calendar.zone))
        is Phase.REGULAR
    )


def test_an_empty_file_changes_nothing(load: Load) -> None:
    """All keys may be left out, and a byte order mark is no key."""
    span = at("2026-07-01 00:00"), at("2026-08-01 00:00")

    assert list(load("\ufeff").stretches(*span)) == list(Calendar.bundled().stretches(*span))


def test_the_page_shows_files_that_work(load: Load) -> None:
    """Every TOML example of the documentation can be used as it stands."""
    examples = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)

    assert examples
    for example in examples:
        assert load(example).trades_on(date(2026, 7, 14))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[cash\n", "mine.toml: Expected ']'"),
        ("holidays = []", "mine.toml: Object contains unknown field `holidays`"),
        (
            "[cash]\nclose = []",
            "mine.toml: cash: Object contains unknown field `close`, found {'close'",
        ),
        (
            "[cash]\nclosed = [2026-07-15, 5]",
            "mine.toml: cash.closed[1]: Expected `date`, got `int`, found 5",
        ),
        (
            '[cash]\nclosed = ["soon"]',
            "mine.toml: cash.closed[0]: Invalid RFC3339 encoded date, found 'soon'",
        ),
        (
            "[cash]\nclosed = [2026-07-15]\nusual = [2026-07-15]",
            "mine.toml: cash.usual: 2026-07-15 stands twice",
        ),
        ("[futures]\nclosed = [2026-07-15, 2026-07-15]", "futures.closed: 2026-07-15 stands twice"),
        (
            "[[cash.special]]\ndates = [2026-07-15]",
            "cash.special[0]: expected at least one of pre_market, open",
        ),
        (
            '[[cash.special]]\ndates = [2026-07-15]\nclose = "25:00"',
            "mine.toml: cash.special[0].close: expected a time of the day, HH:MM, found '25:00'",
        ),
        (
            '[[cash.special]]\ndates = [2026-07-15]\nclose = "09:00"',
            "mine.toml: cash.special on 2026-07-15: open 09:30 is not before close 09:00",
        ),
        (
            '[[cash.hours]]\nfrom = 2027-01-04\nopen = "9:30"',
            "mine.toml: cash.hours[0].open: expected a time of the day, HH:MM, found '9:30'",
        ),
        (
            '[[cash.hours]]\nfrom = 2027-01-04\nopen = "16:00"',
            "mine.toml: cash.hours from 2027-01-04: open 16:00 is not before close 16:00",
        ),
        (
            '[[cash.hours]]\nfrom = 2027-01-04\npre_market = "19:00"',
            "the post-market's end, 20:00, lies after the start of the next pre-market, 19:00",
        ),
        (
            '[[cash.hours]]\nopen = "10:00"',
            "cash.hours[0]: Object missing required field `from`, found {'open'",
        ),
        (
            '[[cash.hours]]\nfrom = 1999-01-01\nopen = "10:00"',
            "cash.hours[0]: expected pre_market and close and post_market and days as well, since no hours precede",
        ),
        (
            '[[futures.hours]]\nfrom = 2027-01-04\ndays = "Mo-Fr"',
            "futures.hours[0].days: expected days such as",
        ),
        (
            '[[futures.hours]]\nfrom = 2027-01-04\ndays = "Fri-Mon"',
            "days: expected days from Mon to Sun in order",
        ),
        (
            '[[roll]]\nfrom = 2027-01-04\nequities = "12:00"',
            "mine.toml: roll.equities from 2027-01-04: expected a time outside regular hours, 09:30-16:00, found 12:00",
        ),
        (
            '[[roll]]\nfrom = 2027-01-04\nfutures = "close"',
            "roll[0].futures: expected a time of the day, HH:MM, found",
        ),
        (
            "[[roll]]\nfrom = 1999-01-01",
            "roll[0].futures: expected a time of the day or 'open', found none",
        ),
        (
            'zone = "Europe/London"',
            "zone: expected 'America/New_York', whose clock the bundled hours follow, found",
        ),
        (
            'replace = true\nzone = "Mars"',
            "zone: expected a name such as 'America/New_York', found 'Mars'",
        ),
        ("replace = true", "zone: expected a name such as 'America/New_York', found None"),
        (
            'replace = true\nzone = "Europe/London"',
            "cash.hours: expected at least one table, found none",
        ),
        (
            f"replace = true\n{WHOLE[: WHOLE.index('[[roll]]')]}",
            "roll: expected at least one table, found none",
        ),
    ],
)
def test_a_bad_file_is_named_with_key_and_value(load: Load, text: str, message: str) -> None:
    """An operator reads which file, which key and what was found there."""
    with pytest.raises(FileError, match=re.escape(message)) as error:
        load(text)

    assert "mine.toml: " in str(error.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file, and one that is not text, are named."""
    (tmp_path / "latin").write_bytes(b"zone = '\xe9'")

    with pytest.raises(FileError, match="missing: No such file"):
        Calendar.load(tmp_path / "missing")
    with pytest.raises(FileError, match="latin: expected UTF-8, found 0xe9"):
        Calendar.load(tmp_path / "latin")
