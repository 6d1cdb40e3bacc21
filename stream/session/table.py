"""A calendar's file: TOML with weekly hours and dated exceptions (`docs/calendar.md`), turned into rules."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from operator import attrgetter
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from stream.errors import FileError
from stream.session.rules import (
    DAY_MINUTES,
    DAY_NAMES,
    CashDay,
    Market,
    Roll,
    Rules,
    Times,
    Week,
    clock,
)

#: A roll at this time is the opening of futures.
AT_FUTURES_OPEN = "open"

_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")


class _CashTimes(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    pre_market: str | None = None
    open: str | None = None
    close: str | None = None
    post_market: str | None = None


class _CashWeek(_CashTimes, rename={"since": "from"}):
    since: date
    days: str | None = None


class _CashDates(_CashTimes):
    dates: list[date]


class _FuturesTimes(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    open: str | None = None
    close: str | None = None


class _FuturesWeek(_FuturesTimes, rename={"since": "from"}):
    since: date
    days: str | None = None


class _FuturesDates(_FuturesTimes):
    dates: list[date]


class _Cash(msgspec.Struct, forbid_unknown_fields=True):
    hours: list[_CashWeek] = []
    closed: list[date] = []
    usual: list[date] = []
    special: list[_CashDates] = []


class _Futures(msgspec.Struct, forbid_unknown_fields=True):
    hours: list[_FuturesWeek] = []
    closed: list[date] = []
    usual: list[date] = []
    special: list[_FuturesDates] = []


class _Roll(msgspec.Struct, forbid_unknown_fields=True, rename={"since": "from"}):
    since: date
    futures: str | None = None
    equities: str | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    zone: str | None = None
    replace: bool = False
    cash: _Cash = msgspec.field(default_factory=_Cash)
    futures: _Futures = msgspec.field(default_factory=_Futures)
    roll: list[_Roll] = []


def read_rules(text: str, *, file: str, base: Rules | None = None) -> Rules:
    """Read a calendar's file.

    Parameters
    ----------
    text
        TOML.
    file
        Its name, for error messages.
    base
        Rules that the file adds to, unless it says `replace = true`; None where it stands on its own.

    Raises
    ------
    FileError
        Naming file, key and value of what is wrong.
    """
    given = _decode(text, file)
    base = None if given.replace else base
    rules = Rules(
        _zone(given.zone, base, file),
        _market(
            given.cash, base.cash if base else None, f"{file}: cash", _CashTimes.__struct_fields__
        ),
        _market(
            given.futures,
            base.futures if base else None,
            f"{file}: futures",
            _FuturesTimes.__struct_fields__,
        ),
        _rolls(given.roll, base.rolls if base else (), file),
    )
    _check(rules, file)
    return rules


def _decode(text: str, file: str) -> _File:
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FileError(f"{file}: {error}") from error
    try:
        return msgspec.convert(tree, _File)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `$")
        steps = _STEP.findall(path)
        key = path.rstrip("`").lstrip(".")
        found = f", found {_value(tree, steps)!r}" if steps else ""
        raise FileError(f"{file}: {key}: {what}{found}" if key else f"{file}: {what}") from error


def _value(tree: Any, steps: Iterable[tuple[str, str]]) -> Any:
    for name, place in steps:
        tree = tree[name] if name else tree[int(place)]
    return tree


def _zone(name: str | None, base: Rules | None, file: str) -> ZoneInfo:
    if name is None and base is not None:
        return base.zone
    try:
        zone = ZoneInfo(name or "")
    except (ValueError, OSError, ZoneInfoNotFoundError) as error:
        raise FileError(
            f"{file}: zone: expected a name such as 'America/New_York', found {name!r}"
        ) from error
    if base is not None and zone.key != base.zone.key:
        raise FileError(
            f"{file}: zone: expected {base.zone.key!r}, whose clock the bundled hours follow, found {name!r}; "
            "another zone needs replace = true"
        )
    return zone


def _market(
    given: _Cash | _Futures, base: Market | None, place: str, keys: Sequence[str]
) -> Market:
    weeks = list(base.weeks) if base else []
    hours: Sequence[_CashWeek | _FuturesWeek] = given.hours
    for number, entry in enumerate(hours):
        # Of two rules from one date, the file's own holds.
        weeks = [week for week in weeks if week.since != entry.since]
        weeks.append(_week(entry, weeks, f"{place}.hours[{number}]", keys))
        weeks.sort(key=attrgetter("since"))
    if not weeks:
        raise FileError(f"{place}.hours: expected at least one table, found none")
    dates = _dates(given, place, keys)
    kept = base or Market((), frozenset(), {})
    return Market(
        tuple(weeks),
        frozenset(day for day in kept.closed if day not in dates) | frozenset(given.closed),
        {day: times for day, times in kept.special.items() if day not in dates}
        | {day: times for day, times in dates.items() if times},
    )


def _week(
    entry: _CashWeek | _FuturesWeek, weeks: Sequence[Week], place: str, keys: Sequence[str]
) -> Week:
    """Read a week; what it does not say is as it was before."""
    before = [week for week in weeks if week.since < entry.since]
    times = (dict(before[-1].times) if before else {}) | _times(entry, place, keys)
    missing = [key for key in keys if key not in times]
    if entry.days is None and not before:
        missing.append("days")
    if missing:
        raise FileError(
            f"{place}: expected {' and '.join(missing)} as well, since no hours precede"
        )
    days = _weekdays(entry.days, place) if entry.days is not None else before[-1].weekdays
    return Week(entry.since, days, times)


def _times(entry: msgspec.Struct, place: str, keys: Sequence[str]) -> dict[str, int]:
    texts = {key: getattr(entry, key) for key in keys}
    return {
        key: _minutes(text, f"{place}.{key}") for key, text in texts.items() if text is not None
    }


def _minutes(text: str, place: str) -> int:
    match = _TIME.fullmatch(text)
    if match is None:
        raise FileError(f"{place}: expected a time of the day, HH:MM, found {text!r}")
    return int(match[1]) * 60 + int(match[2])


def _weekdays(text: str, place: str) -> frozenset[int]:
    numbers: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if first not in DAY_NAMES or (last or first) not in DAY_NAMES:
            raise FileError(
                f"{place}.days: expected days such as 'Mon-Fri' or 'Mon-Thu,Sun', found {text!r}"
            )
        low, high = DAY_NAMES.index(first), DAY_NAMES.index(last or first)
        if low > high:
            raise FileError(f"{place}.days: expected days from Mon to Sun in order, found {text!r}")
        numbers.update(range(low, high + 1))
    return frozenset(numbers)


def _dates(given: _Cash | _Futures, place: str, keys: Sequence[str]) -> dict[date, Times]:
    """Give what the file says of dates: times on special ones, none on those closed or as usual."""
    dates: dict[date, Times] = {}
    named: list[tuple[str, list[date], Times]] = [
        (f"{place}.closed", given.closed, {}),
        (f"{place}.usual", given.usual, {}),
    ]
    special: Sequence[_CashDates | _FuturesDates] = given.special
    for number, entry in enumerate(special):
        key = f"{place}.special[{number}]"
        own = _times(entry, key, keys)
        if not own:
            raise FileError(f"{key}: expected at least one of {', '.join(keys)}, found none")
        named.append((f"{key}.dates", entry.dates, own))
    for key, days, times in named:
        for day in days:
            if day in dates:
                raise FileError(f"{key}: {day} stands twice")
            dates[day] = times
    return dates


def _rolls(given: Sequence[_Roll], base: Sequence[Roll], file: str) -> tuple[Roll, ...]:
    rolls = list(base)
    for number, entry in enumerate(given):
        rolls = [roll for roll in rolls if roll.since != entry.since]
        before = [roll for roll in rolls if roll.since < entry.since]
        times: dict[str, int | None] = dict(before[-1].times) if before else {}
        for venue, text in (("futures", entry.futures), ("equities", entry.equities)):
            place = f"{file}: roll[{number}].{venue}"
            if text is not None:
                times[venue] = None if text == AT_FUTURES_OPEN else _minutes(text, place)
            elif venue not in times:
                raise FileError(f"{place}: expected a time of the day or 'open', found none")
        rolls.append(Roll(entry.since, times))
        rolls.sort(key=attrgetter("since"))
    if not rolls:
        raise FileError(f"{file}: roll: expected at least one table, found none")
    return tuple(rolls)


def _check(rules: Rules, file: str) -> None:
    """Check what only the whole can show, since a date's hours may come from two files."""
    for week in rules.cash.weeks:
        day = _place(week.times, f"{file}: cash.hours from {week.since}")
        if day.post_market - DAY_MINUTES > day.pre_market:
            raise FileError(
                f"{file}: cash.hours from {week.since}: the post-market's end, {_key(week, 'post_market')}, lies "
                f"after the start of the next pre-market, {_key(week, 'pre_market')}"
            )
    for special, own in rules.cash.special.items():
        times = {**rules.cash.week(special).times, **own}
        _place(times, f"{file}: cash.special on {special}")
    starts = {entry.since for entries in (rules.rolls, rules.cash.weeks) for entry in entries}
    for since in sorted(starts):
        usual = rules.cash.week(since).times
        for venue in ("futures", "equities"):
            _check_roll(rules.roll(since, venue), usual, f"{file}: roll.{venue} from {since}")


def _place(times: Times, place: str) -> CashDay:
    try:
        return CashDay.place(times)
    except ValueError as error:
        raise FileError(f"{place}: {error}") from error


def _check_roll(at: int | None, times: Mapping[str, int], place: str) -> None:
    opens, closes = times["open"], times["close"]
    if at is not None and opens < at < closes:
        raise FileError(
            f"{place}: expected a time outside regular hours, {clock(opens)}-{clock(closes)}, found {clock(at)}"
        )


def _key(week: Week, key: str) -> str:
    return clock(week.times[key])
