"""`capstream sessions`: what trades when, in the cities that watch."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from stream.cli.common import load_settings, print_json
from stream.cli.ticker import CAUTION, LABEL, MINUS
from stream.session.calendar import Calendar, Phase, Stretch
from stream.session.rules import NS_PER_S

EPILOG = """\
examples:
  capstream sessions                          the session of this moment
  capstream sessions --date 2026-11-27        an early close
  capstream sessions --days 10 --json         this one and the nine that follow
  capstream sessions --calendar mine.toml     with closures and hours of your own: docs/calendar.md

A day is a session: it bears the date of a cash trading day and begins when futures open for the first time after the
cash close before it. A date without cash trading is shown from midnight to midnight in New York.
"""

LEGEND = f"Each row is the beginning of a phase; {MINUS}1, +1: on the date before, after."

CITIES = {
    "UTC": ZoneInfo("UTC"),
    "New York": ZoneInfo("America/New_York"),
    "Chicago": ZoneInfo("America/Chicago"),
    "London": ZoneInfo("Europe/London"),
    "Tokyo": ZoneInfo("Asia/Tokyo"),
}

FIRST_DATE, LAST_DATE = date(1970, 1, 2), date(2262, 1, 1)
MAX_DAYS = 400

_DAY = timedelta(days=1)


class Day(NamedTuple):
    """What is shown of a date.

    Attributes
    ----------
    date
        A cash trading day, or a date that is none.
    trades
        Whether it is one.
    stretches
        Its phases, without gaps.
    """

    date: date
    trades: bool
    stretches: list[Stretch]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "sessions",
        help="phases of a day or more, in five zones",
        description="Show the phases of trading sessions in UTC, New York, Chicago, London and Tokyo.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--date", metavar="D", type=_date, help="YYYY-MM-DD; default: the session of this moment"
    )
    parser.add_argument(
        "--days", metavar="N", type=_count, default=1, help="this day and the next N - 1 sessions"
    )
    parser.add_argument(
        "--calendar",
        metavar="FILE",
        help="closures and hours (TOML); they add to the bundled ones",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the sessions."""
    calendar = load_settings(find_services=False, calendar=args.calendar).trading_calendar
    now_ns = int(datetime.now(UTC).timestamp()) * NS_PER_S
    first = args.date or date.fromisoformat(calendar.session_at(now_ns).name)
    days = list(read_days(calendar, first, args.days))
    if args.json:
        print_json({"days": [_fields(day) for day in days]})
        return 0
    console = Console()
    for number, day in enumerate(days):
        if number:
            console.print()
        console.print(_title(calendar, day))
        console.print(_table(day, now_ns))
    console.print(f"\n{LEGEND}", style=LABEL, highlight=False)
    return 0


def read_days(calendar: Calendar, first: date, count: int) -> Iterator[Day]:
    """Give a date and the sessions that follow it.

    Parameters
    ----------
    calendar
        Knows them.
    first
        Where it is no cash trading day, it is shown from midnight to midnight in the calendar's zone.
    count
        How many days in all.
    """
    day, trades = first, calendar.trades_on(first)
    for _ in range(count):
        if trades:
            _, start, end = calendar.session(day.isoformat())
        else:
            start, end = (_midnight(one, calendar.zone) for one in (day, day + _DAY))
        yield Day(day, trades, list(calendar.stretches(start, end)))
        day, trades = calendar.trade_date_after(day), True


def _midnight(day: date, zone: ZoneInfo) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * NS_PER_S


def _fields(day: Day) -> dict[str, object]:
    return {
        "date": day.date.isoformat(),
        "trade_date": day.trades,
        "phases": [
            {
                "phase": one.phase.name.lower(),
                "cash_phase": one.cash_phase.name.lower(),
                "start": _iso(one.starts_ns),
                "end": _iso(one.ends_ns),
            }
            for one in day.stretches
        ],
    }


def _iso(ts: int) -> str:
    return f"{datetime.fromtimestamp(ts // NS_PER_S, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _title(calendar: Calendar, day: Day) -> Text:
    notes = ((f"  {note}", CAUTION) for note in _notes(calendar, day))
    return Text.assemble((f"{day.date:%a %d %b %Y}", "bold"), *notes)


def _notes(calendar: Calendar, day: Day) -> Iterator[str]:
    if not day.trades:
        kind = "a holiday" if calendar.is_holiday(day.date) else "no trade date"
        first, last = day.stretches[0].starts_ns, day.stretches[-1].ends_ns - 1
        names = dict.fromkeys(calendar.session_at(ts).name for ts in (first, last))
        sessions = " and ".join(f"{date.fromisoformat(name):%a %d %b}" for name in names)
        yield f"{kind}: belongs to {sessions}"
        return
    one = calendar.trade_date_before(day.date) + _DAY
    while one < day.date:
        if calendar.is_holiday(one):
            yield f"with the holiday of {one:%a %d %b}"
        one += _DAY
    if calendar.closes_early(day.date):
        closes = calendar.regular_hours(day.date.isoformat())[1]
        local = datetime.fromtimestamp(closes // NS_PER_S, calendar.zone)
        yield f"early close, {local:%H:%M} in {_city(calendar.zone)}"


def _city(zone: ZoneInfo) -> str:
    return zone.key.rpartition("/")[2].replace("_", " ")


def _table(day: Day, now_ns: int) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style=LABEL, padding=(0, 1, 0, 0))
    table.add_column("", width=1)
    table.add_column("Phase", width=11)
    table.add_column("Cash", width=11)
    for city in CITIES:
        # The mark of another date stands outside: times stay one below the other.
        table.add_column(f"{city}  ", justify="right", width=10)
    for one in day.stretches:
        now = one.starts_ns <= now_ns < one.ends_ns
        table.add_row(
            Text("▸", style=CAUTION) if now else "",
            _words(one.phase.name),
            _words(one.cash_phase.name),
            *(_local(one.starts_ns, zone, day.date) for zone in CITIES.values()),
            style=_style(one.phase, now=now),
        )
    table.add_row(
        "",
        "ends",
        "",
        *(_local(day.stretches[-1].ends_ns, zone, day.date) for zone in CITIES.values()),
        style=LABEL,
    )
    return table


def _style(phase: Phase, *, now: bool) -> str:
    if now:
        return "bold"
    return LABEL if phase in (Phase.MAINTENANCE, Phase.CLOSED) else ""


def _words(name: str) -> str:
    return name.lower().replace("_", "-")


def _local(ts: int, zone: ZoneInfo, day: date) -> str:
    """Write a local time; a mark tells how many dates after or before the day's own it is."""
    local = datetime.fromtimestamp(ts // NS_PER_S, zone)
    ahead = (local.date() - day).days
    mark = f"{'+' if ahead > 0 else MINUS}{abs(ahead)}" if ahead else ""
    return f"{local:%H:%M}{mark:<2}"


def _date(text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = date.min
    if not FIRST_DATE <= day <= LAST_DATE:
        raise argparse.ArgumentTypeError(
            f"expected a date from {FIRST_DATE} to {LAST_DATE}, YYYY-MM-DD, found {text!r}"
        )
    return day


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= MAX_DAYS):
        raise argparse.ArgumentTypeError(f"expected 1 to {MAX_DAYS}, found {text!r}")
    return int(text)
