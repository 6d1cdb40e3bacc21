"""The terminal ticker: published snapshots as a table, large cap and small cap first (`watch`, `demo`, `levels`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from stream.index.units import NS_PER_S, round_display

Fields = Mapping[str, Any]

LARGE, SMALL, ALL = "US1000", "US2000", "US3000"
GLYPHS = {LARGE: "●", SMALL: "•", ALL: "◉"}
MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"
NEW_YORK = ZoneInfo("America/New_York")

PHASES = {
    "overnight": "Overnight",
    "pre_market": "Pre-market",
    "regular": "Regular session",
    "post_market": "Post-market",
    "maintenance": "Maintenance",
    "closed": "Closed",
}

#: Columns that the whole table takes.
WIDE = 100

#: Three heartbeats missed.
SILENT_AFTER_S = 3.0

#: Roles of the design, in the terminal's own sixteen colours: up cyan, down bright red, labels bright black.
UP, DOWN, LABEL, CAUTION = "cyan", "bright_red", "bright_black", "yellow"


@dataclass(frozen=True, slots=True)
class Rates:
    """How lively it is.

    Attributes
    ----------
    ticks_per_s
        Ticks applied or refused in the last second, or None where only Redis is seen.
    publications_per_s
        Publications seen in the last second.
    silent_s
        Seconds since the last heartbeat or publication.
    """

    ticks_per_s: float | None
    publications_per_s: float
    silent_s: float


def read_fields(data: bytes) -> dict[str, Any]:
    """Read a published snapshot, its decimals to the last digit."""
    fields: dict[str, Any] = json.loads(data, parse_float=Decimal)
    return fields


def screen(
    snapshots: Mapping[str, Fields],
    rates: Rates,
    *,
    height: int,
    width: int = WIDE,
    foot: Sequence[str] = (),
) -> RenderableType:
    """Draw the whole screen.

    Parameters
    ----------
    snapshots
        Newest snapshot of each index by code, decimals as Decimal.
    rates
        Shown in the first line.
    height, width
        Lines and columns there are.
    foot
        Lines to end with.
    """
    hero = _hero(snapshots)
    used = 4 + (4 if hero is not None else 0) + len(foot)
    rows = sorted(snapshots.values(), key=_order)
    parts: list[RenderableType] = [_header(snapshots, rates), Rule(style=LABEL)]
    if hero is not None:
        parts += [hero, Rule(style=LABEL)]
    room = max(height - used, 5)
    parts.append(table(rows[: room - 1], wide=width >= WIDE))
    if len(rows) > room - 1:
        parts.append(Text(f"  and {len(rows) - room + 1} more", style=LABEL))
    parts += [Text(f" {line}", style=LABEL, no_wrap=True, overflow="ellipsis") for line in foot]
    return Group(*parts)


def table(rows: Sequence[Fields], *, wide: bool = True) -> Table:
    """Draw the table of indexes; where there is room, with the number of constituents that have traded."""
    grid = Table(box=None, pad_edge=False, header_style=LABEL, expand=False)
    grid.add_column("", width=1)
    grid.add_column("Index", no_wrap=True, width=22)
    for name, width in (("Level", 12), ("Change", 9), ("%", 9)):
        grid.add_column(name, justify="right", no_wrap=True, width=width)
    if wide:
        grid.add_column("Priced", justify="right", no_wrap=True, width=11)
    grid.add_column("Status", no_wrap=True, width=14)
    for one in rows:
        priced = Text(f"{one['priced']:,}/{one['constituents']:,}", style=LABEL)
        grid.add_row(
            glyph(one["code"]),
            one["code"],
            _figure(one),
            Text(signed(one["change"]), style=colour(one["change"])),
            Text(percent(one["change_pct"]), style=colour(one["change_pct"])),
            *([priced] if wide else []),
            Text(status(one), style=CAUTION if one["status"] == "stale" else LABEL),
        )
    return grid


def _figure(one: Fields, style: str = "") -> Text:
    """Write the level that a screen shows; what is not made of regular prices is underlined, what is stale is grey."""
    text = Text(grouped(round_display(one["last"])), style=style)
    if one["indicative"] is not None:
        text.stylize("underline")
    if one["status"] in ("stale", "held"):
        text.stylize(LABEL)
    return text


def status(one: Fields) -> str:
    """Say in words how far an index is to be relied on.

    Examples
    --------
    >>> status({"status": "official_close"}), status({"status": "stale", "age_s": 47})
    ('official close', 'stale 47 s')
    >>> status({"status": "stale", "age_s": 3, "indicative_age_s": 7200})
    'stale 2 h'
    """
    words: str = one["status"].replace("_", " ")
    if words != "stale":
        return words
    age_s = one.get("indicative_age_s")
    return f"stale {duration(one['age_s'] if age_s is None else age_s)}"


def source(one: Fields) -> str:
    """Say in words what a level is made from, and how old its newest price is.

    Examples
    --------
    >>> source({"indicative": 1, "indicative_method": "futures", "indicative_age_s": 14, "indicative_coverage": 0})
    'futures, 14 s'
    >>> source({"indicative": None, "status": "firm", "coverage": Decimal("0.999"), "age_s": 0})
    'firm, 99.9%, 0 s'
    """
    if one["indicative"] is None:
        share = round_display(100 * one["coverage"], 1)
        return f"{status(one)}, {share}%, {duration(one['age_s'])}"
    method = one["indicative_method"]
    age = duration(one["indicative_age_s"])
    if method == "futures":
        return f"futures, {age}"
    share = round_display(100 * one["indicative_coverage"], 0)
    return f"{method.replace('_', ', ')} {share}%, {age}"


def duration(seconds: int | None) -> str:
    """Write a duration in its largest unit.

    Examples
    --------
    >>> duration(47), duration(600), duration(7200), duration(200_000), duration(None)
    ('47 s', '10 min', '2 h', '2 d', 'no price')
    """
    if seconds is None:
        return "no price"
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length or seconds == length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def glyph(code: str) -> str:
    """Tell large cap, small cap and all cap from each other at a glance.

    Examples
    --------
    >>> glyph("US1000-ENERGY"), glyph("US2000"), glyph("MINE")
    ('●', '•', ' ')
    """
    return GLYPHS.get(code[: len(LARGE)], " ")


def grouped(text: str) -> str:
    """Write thousands with a comma, and a true minus.

    Examples
    --------
    >>> grouped("-1234567.50")
    '−1,234,567.50'
    """  # noqa: RUF002 - a minus is what it writes
    whole, point, fraction = text.lstrip("-").partition(".")
    minus = MINUS if text.startswith("-") else ""
    return f"{minus}{int(whole):,}{point}{fraction}"


def signed(value: Decimal, places: int = 2) -> str:
    """Write a change: always signed, but for an exact zero.

    Examples
    --------
    >>> signed(Decimal("3.1")), signed(Decimal("-0.001")), signed(Decimal("-12.5"))
    ('+3.10', '0.00', '−12.50')
    """  # noqa: RUF002 - a minus is what it writes
    text = round_display(value, places)
    return grouped(text) if text.startswith("-") or Decimal(text) == 0 else f"+{grouped(text)}"


def percent(value: Decimal) -> str:
    """Write a published percentage with its arrow.

    Examples
    --------
    >>> percent(Decimal("0.29")), percent(Decimal("-1.5")), percent(Decimal(0))
    ('▲ +0.29%', '▼ −1.50%', '0.00%')
    """  # noqa: RUF002 - a minus is what it writes
    arrow = "▲ " if value > 0 else "▼ " if value < 0 else ""
    return f"{arrow}{signed(value)}%"


def colour(value: Decimal) -> str:
    """Give the style of a rise, a fall, or neither."""
    return UP if value > 0 else DOWN if value < 0 else LABEL


def spread_bp(snapshots: Mapping[str, Fields]) -> int | None:
    """Small cap's change less large cap's, in whole basis points of the published percentages."""
    large, small = snapshots.get(LARGE), snapshots.get(SMALL)
    if large is None or small is None:
        return None
    return int((small["change_pct"] - large["change_pct"]) * 100)


def _order(one: Fields) -> tuple[bool, Decimal, str]:
    """Put the three headlines first, then go by percent, descending."""
    pinned = one["code"] in GLYPHS
    return (not pinned, Decimal(0) if pinned else -one["change_pct"], one["code"])


def _header(snapshots: Mapping[str, Fields], rates: Rates) -> Text:
    text = Text(" capstream  ", no_wrap=True, overflow="crop")
    origins = {one["origin"] for one in snapshots.values()} - {"live"}
    if origins:
        text.append(f" {' and '.join(sorted(origins)).upper()} ", style="reverse")
        text.append("  ")
    phases = {one["phase"] for one in snapshots.values()}
    if phases:
        text.append(f"{', '.join(PHASES[phase] for phase in sorted(phases))}  ")
    # A price's time and its age give the clock that the phases follow: of a simulation, its own.
    clocks = [
        one["event_ns"] // NS_PER_S + one["age_s"]
        for one in snapshots.values()
        if one["event_ns"] is not None and one["age_s"] is not None
    ]
    if clocks:
        moment = datetime.fromtimestamp(max(clocks), UTC).astimezone(NEW_YORK)
        text.append(f"{moment:%a %d %b %H:%M:%S} NY  ")
    if rates.ticks_per_s is not None:
        text.append(f"{rates.ticks_per_s:,.0f} ticks/s  ", style=LABEL)
    text.append(f"{rates.publications_per_s:.0f} pubs/s", style=LABEL)
    if rates.silent_s > SILENT_AFTER_S:
        text.append(f"  silent {rates.silent_s:.0f} s", style=CAUTION)
    return text


def _hero(snapshots: Mapping[str, Fields]) -> Table | None:
    """Two numbers and their difference come first."""
    spread = spread_bp(snapshots)
    if spread is None:
        return None
    large, small = snapshots[LARGE], snapshots[SMALL]
    grid = Table.grid(expand=False, padding=(0, 3))
    grid.add_column(justify="left", width=25)
    grid.add_column(justify="center", width=22)
    grid.add_column(justify="right", width=25)
    leads = "Small leads" if spread > 0 else "Large leads" if spread < 0 else "Even"
    grid.add_row(" ● Large cap US1000", leads, "• Small cap US2000")
    grid.add_row(
        Text(" ") + _figure(large, "bold"),
        Text(f"{signed(Decimal(spread), 0)} bp", style="bold"),
        _figure(small, "bold"),
    )
    grid.add_row(
        Text(f" {percent(large['change_pct'])}", style=colour(large["change_pct"])),
        "",
        Text(percent(small["change_pct"]), style=colour(small["change_pct"])),
    )
    grid.add_row(Text(f" {source(large)}", style=LABEL), "", Text(source(small), style=LABEL))
    return grid


def missing() -> RenderableType:
    """Draw what stands where nothing has come yet."""
    return Text(f" capstream   {DASH}   waiting for the first level", style=LABEL)
