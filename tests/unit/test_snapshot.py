"""Snapshots: percentages as they are printed, what a screen shows, and how far it is to be relied on, hour by hour."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight_oracle import (
    CALENDAR,
    CLOSED,
    CLOSES,
    NIGHT,
    NS,
    OPENS,
    SESSION,
    Market,
    Quoted,
    Stock,
    composition_of,
    futures_of,
    partial_of,
)
from stream.index.aggregate import Doubt
from stream.index.composition import Composition
from stream.index.definitions import Definition
from stream.index.estimate import EstimateRules, Method
from stream.index.partial import (
    CLOSE,
    CORRECTED,
    COVERED_CLOSE,
    DOWN,
    EXTENDED_BASE,
    EXTENDED_VALUE,
    HALTED_CLOSE,
    NO_EVENT,
    OFFICIAL,
    OPEN_VALUE,
    OPENED_CLOSE,
    PRICED,
    STALE,
    UP,
    VALUE,
    Origin,
    Partial,
)
from stream.index.snapshot import Extremes, Moment, Snapshot, held, moment_of, snapshots
from stream.index.status import Status
from stream.index.universe import read_universe
from stream.session.calendar import CashPhase, Phase

MINUTE = 60 * NS
NOON = OPENS + 150 * MINUTE
COMPOSITION = Composition.build(
    read_universe(["symbol,price,float_shares", "A,100,1", "B,100,1", "C,100,2"]),
    [Definition("X", "An Index", {})],
)
INDEX = COMPOSITION.indexes[0]
#: 400 dollars make 1000 points.
WHOLE = INDEX.reference_value
DOLLAR = WHOLE // 400


def total_of(at: int, *, seen: bool = True, **fields: Any) -> Partial:
    """Give the sum of all partials: figures by column, further fields by name."""
    zero = Partial.zero(COMPOSITION)
    columns = zero.columns.copy()
    for column, figure in fields.pop("figures", {}).items():
        columns[column] = figure
    return replace(
        zero,
        session=SESSION,
        columns=columns,
        event_ns=np.array([at - 3 * NS if seen else NO_EVENT]),
        clock_ns=at,
        **fields,
    )


def shot_at(
    at: int, figures: dict[int, int] | None = None, *, seen: bool = True, **more: Any
) -> Snapshot:
    total = total_of(at, seen=seen, figures=figures or {})
    moment = moment_of(CALENDAR, total, at, feed_silent=more.pop("feed_silent", False))
    [shot] = snapshots(COMPOSITION, [0], total, moment=moment, **more)
    return shot


#: Figures of a day on which all has opened.
OPEN = {OPENED_CLOSE: WHOLE, PRICED: 3}


# ---------------------------------------------------------------------------------------------
# Figures


@pytest.mark.parametrize(
    ("price", "percent"),
    [
        (1_000_200, 1),  # 0.005 %
        (999_800, -1),
        (1_000_600, 2),  # 0.015 %
        (999_400, -2),
        (1_001_000, 3),  # 0.025 %
        (999_000, -3),
        (1_000_199, 0),
        (999_801, 0),
        (2_000_000, 2500),
        (1, -2500),
    ],
)
def test_a_percentage_that_ties_is_rounded_away_from_zero(price: int, percent: int) -> None:
    """At two places, as index sheets print it, up and down alike."""
    gain = int(INDEX.shares[0]) * (price - 1_000_000)

    assert shot_at(NOON, {**OPEN, VALUE: gain}).change_pct == percent


def test_a_snapshot_is_worked_out_from_the_sum_of_all_partials() -> None:
    """Level and market value from the value, change against the close, shares of the close."""
    figures = {
        VALUE: 7 * DOLLAR,
        CLOSE: 2 * DOLLAR,
        PRICED: 2,
        UP: 1,
        DOWN: 0,
        STALE: 1,
        COVERED_CLOSE: 201 * DOLLAR,
        OPENED_CLOSE: 402 * DOLLAR,
    }

    shot = shot_at(NOON, figures)

    assert (shot.code, shot.name, shot.composition) == ("X", "An Index", COMPOSITION.id)
    assert (shot.level, shot.previous_close, shot.change) == (
        1_017_50000000,
        1_005_00000000,
        12_50000000,
    )
    assert shot.last == shot.level
    assert shot.change_pct == 124  # 12.5 of 1005: 1.2438 percent
    assert (shot.market_value, Decimal(shot.divisor)) == ("407.0000", Decimal("0.4"))
    assert (shot.constituents, shot.priced, shot.stale) == (3, 2, 1)
    assert (shot.up, shot.down, shot.unchanged) == (1, 0, 1)
    assert shot.coverage == 500_000
    assert shot.event_ns == NOON - 3 * NS
    assert (shot.session, shot.origin, shot.doubt) == (SESSION, Origin.LIVE, Doubt.NONE)
    assert (shot.phase, shot.cash_phase, shot.status) == (
        Phase.REGULAR,
        CashPhase.REGULAR,
        Status.FIRM,
    )


def test_before_the_first_roll_there_is_no_session() -> None:
    """And so no close to wait for."""
    total = replace(total_of(CLOSES + MINUTE, figures={PRICED: 3}), session="")
    moment = moment_of(CALENDAR, total, CLOSES + MINUTE)

    [shot] = snapshots(COMPOSITION, [0], total, moment=moment)

    assert (shot.session, moment.hours) == (None, None)
    assert shot.status is Status.OFFICIAL_CLOSE


def test_ages_are_whole_seconds_against_the_moment() -> None:
    """Of the newest price and of the oldest of the session; none where there is no price, none below zero."""
    total = replace(total_of(NOON), oldest_ns=np.array([OPENS + NS // 2]))
    moment = moment_of(CALENDAR, total, NOON)

    [shot] = snapshots(COMPOSITION, [0], total, moment=moment)
    [early] = snapshots(COMPOSITION, [0], total, moment=replace(moment, now_ns=OPENS))

    assert (shot.age_s, shot.oldest_age_s) == (3, 150 * 60 - 1)
    assert (early.age_s, early.oldest_age_s) == (0, 0)
    unseen = shot_at(NOON, seen=False)
    assert (unseen.event_ns, unseen.age_s, unseen.oldest_age_s) == (None, None, None)


def test_open_high_and_low_are_of_the_levels_published_in_a_session() -> None:
    """The first is the open; each session and each index has its own."""
    extremes = Extremes()

    assert extremes.take("X", "2026-07-16", 500) == (500, 500, 500)
    assert extremes.take("X", "2026-07-16", 700) == (500, 700, 500)
    assert extremes.take("X", "2026-07-16", 300) == (500, 700, 300)
    assert extremes.take("X", "2026-07-16", 600) == (500, 700, 300)
    assert extremes.take("Y", "2026-07-16", 1) == (1, 1, 1)
    assert extremes.take("X", "2026-07-17", 600) == (600, 600, 600)
    assert extremes.by_code == {
        "X": ("2026-07-17", 600, 600, 600),
        "Y": ("2026-07-16", 1, 1, 1),
    }


@given(st.lists(st.tuples(st.sampled_from("XY"), st.integers(0, 2), st.integers(1, 9))), st.data())
def test_extremes_are_those_of_all_levels_since_the_session_began(
    levels: list[tuple[str, int, int]], data: st.DataObject
) -> None:
    """And go on where an earlier publisher left them."""
    levels = sorted(levels, key=lambda one: one[1])
    extremes = Extremes()

    for i, (code, day, level) in enumerate(levels):
        if data.draw(st.booleans(), label="another publisher"):
            extremes = Extremes(extremes.by_code)
        so_far = [n for c, d, n in levels[: i + 1] if (c, d) == (code, day)]
        expected = (so_far[0], max(so_far), min(so_far))
        assert extremes.take(code, f"2026-07-1{day}", level) == expected


def test_open_high_and_low_stand_in_a_snapshot_that_is_published() -> None:
    """One that is not takes part in nothing; without a session there is nothing to take part in."""
    extremes = Extremes()
    before = replace(total_of(NOON), session="")
    moment = moment_of(CALENDAR, before, NOON)
    [outside] = snapshots(COMPOSITION, [0], before, extremes, moment=moment)
    asked = shot_at(NOON, OPEN)
    assert extremes.by_code == {}

    shots = []
    for gain in (1, -1, 0):
        total = total_of(NOON, figures={**OPEN, VALUE: gain * DOLLAR})
        shots += snapshots(COMPOSITION, [0], total, extremes, moment=moment)

    for shot in (outside, asked):
        assert (shot.open, shot.high, shot.low) == (None, None, None)
    high, low, last = 1_002_50000000, 997_50000000, 1_000_00000000
    assert [(s.open, s.high, s.low) for s in shots] == [
        (high, high, high),
        (high, high, low),
        (high, high, low),
    ]
    assert [s.level for s in shots] == [high, low, last]


# ---------------------------------------------------------------------------------------------
# Moments


@pytest.mark.parametrize(
    ("origin", "clock_ns", "expected"),
    [
        (Origin.LIVE, NOON, NIGHT),
        (Origin.REPLAY, NOON, NOON),
        (Origin.SIMULATED, NOON, NOON),
        (Origin.SIMULATED, NO_EVENT, NIGHT),
    ],
)
def test_prices_that_are_not_live_bring_their_own_clock(
    origin: Origin, clock_ns: int, expected: int
) -> None:
    """The newest tick; before the first there is only the clock on the wall."""
    total = replace(total_of(NOON, origin=origin), clock_ns=clock_ns)

    moment = moment_of(CALENDAR, total, NIGHT, feed_silent=True)

    assert moment == Moment(
        now_ns=expected,
        phase=CALENDAR.phase(expected),
        cash_phase=CALENDAR.cash_phase(expected),
        hours=(OPENS, CLOSES),
        closed_ns=CLOSED,
        feed_silent=True,
    )


@pytest.mark.parametrize("session", ["", "2026-07-18", "2026-07-04"])
def test_a_day_without_trading_has_no_hours(session: str) -> None:
    """Whoever rolled to it."""
    assert moment_of(CALENDAR, replace(total_of(NOON), session=session), NOON).hours is None


# ---------------------------------------------------------------------------------------------
# Status


@pytest.mark.parametrize(
    ("at", "figures", "status"),
    [
        (OPENS - 1, {}, Status.OFFICIAL_CLOSE),
        (OPENS, {}, Status.OPENING),
        (OPENS, {OPENED_CLOSE: 3 * WHOLE // 4 - 1}, Status.OPENING),
        (OPENS, {OPENED_CLOSE: 3 * WHOLE // 4}, Status.FIRM),
        (NOON, {}, Status.OPENING),
        (NOON, {CLOSE: 4 * DOLLAR, OPENED_CLOSE: 302 * DOLLAR}, Status.OPENING),
        (NOON, {CLOSE: 4 * DOLLAR, OPENED_CLOSE: 303 * DOLLAR}, Status.FIRM),
        (NOON, {**OPEN, HALTED_CLOSE: WHOLE // 2 - 1}, Status.FIRM),
        (NOON, {**OPEN, HALTED_CLOSE: WHOLE // 2}, Status.HALTED),
        (NIGHT, {HALTED_CLOSE: WHOLE}, Status.OFFICIAL_CLOSE),
        (NOON, {**OPEN, STALE: 1}, Status.FIRM),
        (NOON, {**OPEN, STALE: 2}, Status.STALE),
        (NIGHT, {STALE: 3}, Status.OFFICIAL_CLOSE),
        (NOON, {**OPEN, CORRECTED: 1}, Status.FIRM),
        (CLOSES - 1, OPEN, Status.FIRM),
        (CLOSES, OPEN, Status.CLOSING),
        (CLOSES, {**OPEN, OFFICIAL: 2}, Status.CLOSING),
        (CLOSES, {**OPEN, OFFICIAL: 3}, Status.OFFICIAL_CLOSE),
        (CLOSES, {**OPEN, OFFICIAL: 3, CORRECTED: 1}, Status.CORRECTED),
        (CLOSES + 15 * MINUTE - 1, {**OPEN, OFFICIAL: 2, CORRECTED: 1}, Status.CLOSING),
        (CLOSES + 15 * MINUTE, {**OPEN, OFFICIAL: 2}, Status.OFFICIAL_CLOSE),
        (CLOSES + 15 * MINUTE, OPEN, Status.OFFICIAL_CLOSE),
        (CLOSES, {}, Status.OFFICIAL_CLOSE),
        (CLOSES, {**OPEN, EXTENDED_BASE: WHOLE}, Status.CLOSING),
        (NIGHT, {EXTENDED_BASE: WHOLE}, Status.INDICATIVE),
        (NIGHT, {EXTENDED_BASE: WHOLE, CORRECTED: 1}, Status.INDICATIVE),
        (NIGHT, {CORRECTED: 1}, Status.CORRECTED),
    ],
)
def test_the_status_follows_the_hours_and_the_figures(
    at: int, figures: dict[int, int], status: Status
) -> None:
    """To the nanosecond, and to the last unit of the weight."""
    assert shot_at(at, figures).status is status


@pytest.mark.parametrize("at", [NIGHT, OPENS - 1, CLOSES, CLOSES + 16 * MINUTE])
def test_without_any_price_ever_there_is_no_close_to_stand_at(at: int) -> None:
    """The level is that of the reference prices."""
    assert shot_at(at, seen=False).status is Status.CLOSED


def test_a_silent_feed_is_an_alarm_in_regular_hours_alone() -> None:
    """At night stocks are quiet."""
    assert shot_at(NOON, OPEN, feed_silent=True).status is Status.STALE
    assert shot_at(NIGHT, feed_silent=True).status is Status.OFFICIAL_CLOSE


@pytest.mark.parametrize(("stale", "status"), [(1, Status.FIRM), (2, Status.STALE)])
def test_half_of_the_constituents_may_be_stale(stale: int, status: Status) -> None:
    """Not more."""
    composition = Composition.build(
        read_universe(["symbol,price,float_shares", "A,100,1", "B,100,1"]),
        [Definition("X", "", {})],
    )
    zero = Partial.zero(composition)
    columns = zero.columns.copy()
    columns[OPENED_CLOSE], columns[STALE] = composition.indexes[0].reference_value, stale
    total = replace(zero, session=SESSION, columns=columns)

    [shot] = snapshots(composition, [0], total, moment=moment_of(CALENDAR, total, NOON))

    assert shot.status is status


@pytest.mark.parametrize("at", [NOON, OPENS, CLOSES, NIGHT])
@pytest.mark.parametrize(
    ("doubt", "status"), [(Doubt.STALE, Status.STALE), (Doubt.HELD, Status.HELD)]
)
def test_what_the_aggregator_doubts_is_said_at_any_hour(
    at: int, doubt: Doubt, status: Status
) -> None:
    """Before anything that the market does."""
    shot = shot_at(at, OPEN, doubts=np.array([doubt], np.uint8))

    assert (shot.status, shot.doubt) == (status, doubt)


def test_a_doubt_is_that_of_its_index() -> None:
    """By its position in the composition, whichever indexes are asked for."""
    market = quoted_at(NIGHT)
    composition = composition_of(market)
    total = partial_of(composition, market, now_ns=NIGHT)
    doubts = np.array([Doubt.NONE, Doubt.NONE, Doubt.HELD, Doubt.STALE], np.uint8)

    shots = snapshots(
        composition, [3, 1, 2], total, moment=moment_of(CALENDAR, total, NIGHT), doubts=doubts
    )

    assert [shot.code for shot in shots] == ["EW", "SMALL", "ALL"]
    assert [shot.doubt for shot in shots] == [Doubt.STALE, Doubt.NONE, Doubt.HELD]
    assert shots[1].level == composition.indexes[1].reference_level


def test_the_thresholds_of_the_status_can_be_set() -> None:
    """The weight that must have opened, and how long official closes are waited for."""
    rules = EstimateRules(opened_weight=Decimal("0.9"), closing_s=60)

    assert shot_at(OPENS, {OPENED_CLOSE: 9 * WHOLE // 10}, rules=rules).status is Status.FIRM
    assert shot_at(OPENS, {OPENED_CLOSE: 8 * WHOLE // 10}, rules=rules).status is Status.OPENING
    assert shot_at(CLOSES + MINUTE - 1, OPEN, rules=rules).status is Status.CLOSING
    assert shot_at(CLOSES + MINUTE, OPEN, rules=rules).status is Status.OFFICIAL_CLOSE


# ---------------------------------------------------------------------------------------------
# The indicative level


def night_shots(market: Market, at: int, **more: Any) -> dict[str, Snapshot]:
    composition = composition_of(market, futures_of())
    total = partial_of(composition, market, now_ns=at)
    moment = moment_of(CALENDAR, total, at)
    shots = snapshots(composition, range(4), total, moment=moment, **more)
    return {shot.code: shot for shot in shots}


STOCKS = (Stock(1_000_000, 1_000_000), Stock(1_000_000, 1_000_000, large=False))


def quoted_at(at: int) -> Market:
    quote = Quoted(10_100_000, 10_000_000, at)
    return Market(STOCKS, large=quote, small=quote)


def test_a_screen_shows_the_indicative_level_and_its_change() -> None:
    """The level itself stays at the close; an index without an estimate shows it, with its age."""
    shots = night_shots(quoted_at(NIGHT), NIGHT)

    for code in ("LARGE", "SMALL", "ALL"):
        shot = shots[code]
        assert (shot.level, shot.previous_close) == (1000_00000000, 1000_00000000)
        assert shot.indicative == shot.last == 1010_00000000
        assert (shot.change, shot.change_pct) == (10_00000000, 100)
        assert (shot.indicative_method, shot.status) == (Method.FUTURES, Status.INDICATIVE)
        assert (shot.indicative_age_s, shot.indicative_coverage, shot.age_s) == (0, 0, 7)
        assert (shot.phase, shot.cash_phase) == (Phase.OVERNIGHT, CashPhase.CLOSED)
    assert (shots["EW"].indicative, shots["EW"].last) == (None, 1000_00000000)
    assert (shots["EW"].status, shots["EW"].age_s) == (Status.OFFICIAL_CLOSE, 7)


def test_the_opening_bell_changes_no_level() -> None:
    """Only the status, and the phases."""
    before = night_shots(quoted_at(OPENS), OPENS - 1)
    after = night_shots(quoted_at(OPENS), OPENS)

    for code, shot in after.items():
        assert (shot.level, shot.indicative, shot.last) == (
            before[code].level,
            before[code].indicative,
            before[code].last,
        )
        assert shot.status is Status.OPENING


def test_once_the_market_has_opened_the_level_says_it_all() -> None:
    """No indicative level, whatever the futures do."""
    market = quoted_at(OPENS + MINUTE).opened(0, 1_005_000).opened(1, 1_005_000)

    for shot in night_shots(market, OPENS + MINUTE).values():
        assert (shot.status, shot.level, shot.last) == (
            Status.FIRM,
            1005_00000000,
            1005_00000000,
        )
        assert (shot.indicative, shot.indicative_method) == (None, None)
        assert (shot.indicative_age_s, shot.indicative_coverage) == (None, None)


@pytest.mark.parametrize("doubt", [Doubt.STALE, Doubt.HELD])
def test_in_regular_hours_only_an_index_that_opens_has_an_indicative_level(doubt: Doubt) -> None:
    """Not one that is in doubt; at night it may."""
    doubts = np.full(4, doubt, np.uint8)

    day = night_shots(quoted_at(OPENS), OPENS, doubts=doubts)["LARGE"]
    night = night_shots(quoted_at(NIGHT), NIGHT, doubts=doubts)["LARGE"]

    assert (day.indicative, day.last) == (None, day.level)
    assert night.indicative == night.last == 1010_00000000


def test_a_contract_in_its_break_is_stale_with_its_age() -> None:
    """Never a number that looks alive; at the opening the constituents are, and speak for themselves."""
    pause = CLOSES + 90 * MINUTE
    market = quoted_at(pause - 45 * MINUTE)
    closed = replace(market.large, closed=CLOSES) if market.large else None
    shots = night_shots(replace(market, large=closed, small=closed), pause)
    opening = night_shots(quoted_at(OPENS - 2 * MINUTE), OPENS)

    assert shots["LARGE"].phase is Phase.MAINTENANCE
    for code in ("LARGE", "SMALL", "ALL"):
        shot = shots[code]
        assert (shot.indicative, shot.last) == (None, shot.level)
        assert (shot.status, shot.indicative_age_s) == (Status.STALE, 45 * 60)
        assert (opening[code].status, opening[code].indicative) == (Status.OPENING, None)
        assert opening[code].indicative_age_s == 120
    assert shots["EW"].status is Status.OFFICIAL_CLOSE


# ---------------------------------------------------------------------------------------------
# Held


def test_a_level_that_is_held_stands_while_its_ages_grow() -> None:
    """At night it is the last value that was shown."""
    shot = shot_at(NIGHT, {EXTENDED_BASE: WHOLE, EXTENDED_VALUE: DOLLAR})
    shot = shot._replace(oldest_age_s=100)
    moment = moment_of(CALENDAR, total_of(NIGHT), NIGHT + 9 * NS)

    later = held(shot, moment)

    assert later == shot._replace(
        status=Status.HELD,
        doubt=Doubt.HELD,
        age_s=12,
        oldest_age_s=109,
        indicative_age_s=12,
    )
    assert later.indicative == 1002_50000000


def test_a_level_that_is_held_into_regular_hours_is_no_indicative_one() -> None:
    """What is shown is the level."""
    shot = shot_at(OPENS - NS, {EXTENDED_BASE: WHOLE, EXTENDED_VALUE: DOLLAR, VALUE: -DOLLAR})
    moment = moment_of(CALENDAR, total_of(OPENS), OPENS)

    later = held(shot, moment)

    assert (later.phase, later.cash_phase) == (Phase.REGULAR, CashPhase.REGULAR)
    assert (later.indicative, later.indicative_method) == (None, None)
    assert (later.indicative_age_s, later.indicative_coverage) == (None, None)
    assert (later.last, later.change, later.change_pct) == (997_50000000, -2_50000000, -25)


def test_what_never_had_a_price_is_held_without_an_age() -> None:
    """Nothing grows."""
    later = held(shot_at(NIGHT, seen=False), moment_of(CALENDAR, total_of(NIGHT), NIGHT))

    assert (later.age_s, later.oldest_age_s, later.status) == (None, None, Status.HELD)


# ---------------------------------------------------------------------------------------------
# Special opening quotation

EXPIRING = Composition.build(
    COMPOSITION.universe,
    [Definition("X", "", {})],
    replace(
        futures_of(),
        contracts=(replace(futures_of().contracts[0], expires_ns=OPENS),),
        underlyings={"/L": "X"},
        combined={},
    ),
)


@pytest.mark.parametrize(
    ("at", "given"),
    [(NIGHT, False), (OPENS - 1, False), (OPENS, True), (NOON, True), (CLOSES + MINUTE, True)],
)
def test_the_settlement_is_told_on_the_day_that_needs_it(at: int, *, given: bool) -> None:
    """From the opening of the day on which a contract expires; on others where it is asked for."""
    zero = Partial.zero(EXPIRING)
    columns = zero.columns.copy()
    columns[OPEN_VALUE], columns[OPENED_CLOSE] = 2 * DOLLAR, 100 * DOLLAR
    total = replace(zero, session=SESSION, columns=columns)
    other = replace(total, session="2026-07-15")

    def shot(total: Partial, **more: Any) -> Snapshot:
        moment = moment_of(CALENDAR, total, at)
        return snapshots(EXPIRING, [0], total, moment=moment, **more)[0]

    told = (1005_00000000, 250_000)
    assert (shot(total).soq, shot(total).soq_opened) == (told if given else (None, None))
    assert shot(other).soq is None
    asked = shot(other, soq=True)
    assert (asked.soq, asked.soq_opened) == told
