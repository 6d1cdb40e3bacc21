"""What the terminal shows: signs, arrows, rounding and order."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from rich.console import Console, RenderableType

from stream.cli.ticker import (
    Rates,
    glyph,
    grouped,
    missing,
    percent,
    read_fields,
    screen,
    signed,
    spread_bp,
    table,
)

MINUS = "\u2212"


def fields(code: str, *, change_pct: str = "0.00", **others: Any) -> dict[str, Any]:
    return {
        "code": code,
        "origin": "live",
        "phase": "regular",
        "cash_phase": "regular",
        "status": "firm",
        "level": Decimal("1234.56500000"),
        "last": Decimal("1234.56500000"),
        "indicative": None,
        "indicative_method": None,
        "indicative_age_s": None,
        "indicative_coverage": None,
        "coverage": Decimal("0.9876"),
        "age_s": 0,
        "change": Decimal("3.10000000"),
        "change_pct": Decimal(change_pct),
        "priced": 2,
        "constituents": 1000,
        "event_ns": 1_381_154_400_000_000_000,  # 2013-10-07 10:00 New York
        **others,
    }


def text_of(drawn: RenderableType, *, width: int = 120) -> str:
    console = Console(width=width, height=60, color_system=None, record=True, file=None)
    with console.capture() as capture:
        console.print(drawn)
    return capture.get()


def shown(*snapshots: dict[str, Any], rates: Rates | None = None, height: int = 40) -> str:
    by_code = {one["code"]: one for one in snapshots}
    return text_of(screen(by_code, rates or Rates(None, 10.0, 0.0), height=height))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("3.1", "+3.10"),
        ("0", "0.00"),
        ("-0", "0.00"),
        ("-0.00000001", "0.00"),
        ("-0.004999", "0.00"),
        ("0.004999", "0.00"),
        ("-0.005", f"{MINUS}0.01"),
        ("0.005", "+0.01"),
        ("-12.5", f"{MINUS}12.50"),
        ("1234567.894", "+1,234,567.89"),
        ("-1000", f"{MINUS}1,000.00"),
    ],
)
def test_a_change_is_signed_but_for_zero(value: str, expected: str) -> None:
    """Rounded half away from zero, with a true minus and never a negative zero."""
    assert signed(Decimal(value)) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0.29", "▲ +0.29%"),
        ("-1.50", f"▼ {MINUS}1.50%"),
        ("0.00", "0.00%"),
        ("-0.00", "0.00%"),
        ("100.00", "▲ +100.00%"),
    ],
)
def test_a_percentage_has_its_arrow(value: str, expected: str) -> None:
    """Up, down, or none: colour is not the only sign."""
    assert percent(Decimal(value)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.5", "0.5"),
        ("999.99", "999.99"),
        ("1000", "1,000"),
        ("-1234567.50", f"{MINUS}1,234,567.50"),
    ],
)
def test_thousands_are_grouped(text: str, expected: str) -> None:
    """With commas, before the point only."""
    assert grouped(text) == expected


@pytest.mark.parametrize(
    ("large", "small", "expected"),
    [
        ("0.29", "0.30", 1),
        ("0.57", "0.28", -29),
        ("-0.10", "0.19", 29),
        ("1.15", "1.15", 0),
        ("0.07", "4.35", 428),
    ],
)
def test_the_spread_is_exact(large: str, small: str, expected: int) -> None:
    """Small less large, in whole basis points of what is published: no binary fraction in between."""
    snapshots = {
        "US1000": fields("US1000", change_pct=large),
        "US2000": fields("US2000", change_pct=small),
    }

    assert spread_bp(snapshots) == expected


def test_without_both_there_is_no_spread() -> None:
    """Half a comparison is none."""
    assert spread_bp({"US1000": fields("US1000")}) is None
    assert "bp" not in shown(fields("US1000"))


def test_the_screen_leads_with_the_two_and_their_difference() -> None:
    """Who leads is said in words, and the level is rounded half up from what is published."""
    text = shown(
        fields("US1000", change_pct="0.29"),
        fields("US2000", change_pct="-0.10"),
    )

    assert "Large leads" in text
    assert f"{MINUS}39 bp" in text
    assert "1,234.57" in text
    assert "▲ +0.29%" in text
    assert f"▼ {MINUS}0.10%" in text
    assert "-0" not in text


def test_rows_are_pinned_then_by_percent() -> None:
    """The headlines first, then the best of the day."""
    text = shown(
        fields("US3000", change_pct="-2.00"),
        fields("US1000-ENERGY", change_pct="-1.00"),
        fields("US2000-UTILITIES", change_pct="5.00"),
        fields("US1000-STAPLES", change_pct="1.00"),
    )

    order = ["US3000", "US2000-UTILITIES", "US1000-STAPLES", "US1000-ENERGY"]
    places = [text.index(code) for code in order]
    assert places == sorted(places)


def test_origin_and_silence_are_said() -> None:
    """A simulated level must not be taken for a real one, nor an old one for the newest."""
    text = shown(fields("US1000", origin="simulated"), rates=Rates(1_500.0, 3.0, 12.0))

    assert "SIMULATED" in text
    assert "silent 12 s" in text
    assert "1,500 ticks/s" in text
    assert "10:00:00" in text
    quiet = shown(fields("US1000"))
    assert "LIVE" not in quiet
    assert "silent" not in quiet


def test_what_does_not_fit_is_counted() -> None:
    """A low terminal shows the top, and says how many more there are."""
    many = [fields(f"MINE{i:02d}", change_pct=f"{i}.00") for i in range(30)]
    text = shown(*many, height=14)

    assert len(text.splitlines()) <= 14
    assert (
        sum("MINE" in line for line in text.splitlines())
        + int(text.split("and ")[1].split(" more")[0])
        == 30
    )


def test_each_index_says_how_far_it_is_to_be_relied_on() -> None:
    """In words, beside the number of priced stocks; what is stale says for how long."""
    for one, word in (
        (fields("US1000"), "firm"),
        (fields("US1000", status="held"), "held"),
        (fields("US1000", status="official_close"), "official close"),
        (fields("US1000", status="stale", age_s=47), "stale 47 s"),
        (fields("US1000", status="stale", age_s=3, indicative_age_s=600), "stale 10 min"),
    ):
        row = text_of(table([one])).splitlines()[-1]
        assert word in row
        assert "2/1,000" in row


def test_an_estimate_is_shown_with_what_it_is_made_from() -> None:
    """At night the figure is not the level, and nobody can take it for one."""
    night: dict[str, Any] = {
        "phase": "overnight",
        "cash_phase": "closed",
        "status": "indicative",
        "last": Decimal("1240.12345678"),
        "indicative": Decimal("1240.12345678"),
        "indicative_age_s": 14,
    }
    text = shown(
        fields("US1000", indicative_method="futures", indicative_coverage=Decimal(0), **night),
        fields(
            "US2000",
            indicative_method="hybrid",
            indicative_coverage=Decimal("0.125"),
            **night,
        ),
    )

    assert "Overnight" in text
    assert "1,240.12" in text
    assert "1,234.57" not in text
    assert "futures, 14 s" in text
    assert "hybrid 13%, 14 s" in text


def test_the_phase_is_said() -> None:
    """Once where all indexes are in one."""
    assert shown(fields("A"), fields("B")).count("Regular session") == 1
    assert "Maintenance" in shown(fields("A", phase="maintenance"))


def test_decimals_are_read_to_the_last_digit() -> None:
    """No binary fraction on the way to the screen."""
    read = read_fields(b'{"level":1005.83333333,"seq":7,"change":-0.00000001}')

    assert (str(read["level"]), read["seq"]) == ("1005.83333333", 7)
    assert signed(read["change"]) == "0.00"


def test_families_are_told_apart() -> None:
    """Sectors carry the sign of their parent; other indexes none."""
    assert len({glyph("US1000"), glyph("US2000"), glyph("US3000")}) == 3
    assert glyph("US2000-ENERGY") == glyph("US2000")
    assert not glyph("MINE").strip()


def test_before_the_first_level_there_is_a_line() -> None:
    """An empty screen would look broken."""
    assert "waiting" in text_of(missing())
