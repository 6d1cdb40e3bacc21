"""Writes the bundled calendar from pandas_market_calendars, with what is known better: `make calendar`."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from itertools import groupby
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas_market_calendars

TABLE = Path(__file__).parents[1] / "stream" / "session" / "bundled" / "calendar.toml"
FIRST, LAST = date(2000, 1, 1), date(2035, 12, 31)
NEW_YORK = ZoneInfo("America/New_York")
WIDTH = 100

#: Closing times of futures on days for which pandas_market_calendars has a whole session.
FUTURES_CLOSES = {
    date(2012, 10, 29): "09:15",  # Hurricane Sandy
    date(2012, 10, 30): "09:15",
    date(2018, 12, 5): "09:30",  # day of mourning for George H. W. Bush
    date(2025, 1, 9): "09:30",  # day of mourning for Jimmy Carter
}

HEAD = f"""\
# When futures and equities trade: a rule for the week, and the dates on which something else holds.
# Times are those of New York's clock. A file of your own has the same form: docs/calendar.md.
# Written by `make calendar` for {FIRST.year} to {LAST.year}: mend tests/calendar_table.py, not this file.

zone = "{NEW_YORK.key}"

[[roll]]            # when a session begins, the evening after the cash close before it
from = {FIRST}
futures = "open"    # when futures open
equities = "20:00"
"""

CASH_WEEK = f"""
[[cash.hours]]
from = {FIRST}
days = "Mon-Fri"
pre_market = "04:00"
open = "09:30"
close = "16:00"
post_market = "20:00"
"""

FUTURES_WEEK = f"""
[[futures.hours]]
from = {FIRST}
days = "Mon-Fri"
open = "18:00"      # the evening before
close = "17:00"
"""


def main() -> int:
    """Write the table, and say where it is."""
    TABLE.write_text(text(), encoding="utf-8")
    sys.stdout.write(f"{TABLE}\n")
    return 0


def text() -> str:
    """Give the table as it should stand."""
    return "\n".join([HEAD, *_cash(), *_futures()])


def _cash() -> Iterator[str]:
    days = dict(_schedule("NYSE"))
    special: dict[str, list[date]] = defaultdict(list)
    for day, (opens, closes) in days.items():
        times = []
        if opens != "09:30":
            times.append(f'open = "{opens}"')
        if closes != "16:00":
            times += [f'close = "{closes}"', 'post_market = "17:00"']
        if times:
            special["\n".join(times)].append(day)
    yield "[cash]"
    yield from _section("closed", _closed(days))
    yield CASH_WEEK
    yield from _special("cash", special)


def _futures() -> Iterator[str]:
    days = dict(_schedule("CME Globex Equity"))
    special: dict[str, list[date]] = defaultdict(list)
    for day, (_, closes) in days.items():
        closed = FUTURES_CLOSES.get(day, closes)
        if closed != "17:00":
            special[f'close = "{closed}"'].append(day)
    yield "[futures]"
    yield from _section("closed", _closed(days))
    yield FUTURES_WEEK
    yield from _special("futures", special)


def _schedule(name: str) -> Iterator[tuple[date, tuple[str, str]]]:
    """Give opening and closing times of each trade date on New York's clock."""
    schedule = pandas_market_calendars.get_calendar(name).schedule(FIRST, LAST)
    for row in schedule.itertuples():
        moments = (row.market_open, row.market_close)
        opens, closes = (moment.tz_convert(NEW_YORK).strftime("%H:%M") for moment in moments)
        yield row.Index.date(), (opens, closes)


def _closed(days: Iterable[date]) -> list[date]:
    weekdays = (FIRST + timedelta(n) for n in range((LAST - FIRST).days + 1))
    traded = set(days)
    return [day for day in weekdays if day.isoweekday() <= 5 and day not in traded]


def _special(market: str, special: dict[str, list[date]]) -> Iterator[str]:
    for times, days in sorted(special.items()):
        yield f"[[{market}.special]]"
        yield times
        yield from _section("dates", days)
        yield ""


def _section(key: str, days: Iterable[date]) -> Iterator[str]:
    """Write dates, each year on lines of its own."""
    yield f"{key} = ["
    for _, of_year in groupby(sorted(days), key=lambda day: day.year):
        line = " "
        for day in of_year:
            if len(line) + 12 > WIDTH:
                yield line
                line = " "
            line += f" {day},"
        yield line
    yield "]"


if __name__ == "__main__":
    sys.exit(main())
