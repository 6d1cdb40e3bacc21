"""The laws of a simulated week, through all phases: one with a holiday and an early close, and each change of the clocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from functools import cache, partial
from importlib import resources
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.feed.blocks import simulated_blocks
from stream.feed.simulated import SimulatedTape, Step
from stream.feed.trades import Trades
from stream.files import load_composition
from stream.index.composition import Composition
from stream.index.definitions import Definition
from stream.index.ticks import Kind
from stream.session.calendar import Calendar, CashPhase

NEW_YORK = ZoneInfo("America/New_York")
SECOND = 1_000_000_000
HOUR = 3600 * SECOND
RATE = 4.0

#: Every so many lines of the bundled constituents: some of each size and exchange.
EVERY = 40

#: By hand, from the exchanges' notices: the trading days of each span, their closes, and when futures stop.
WEEKS = {
    "holiday": ("2026-11-22 18:00", "2026-11-27 20:00"),
    "spring": ("2026-03-06 12:00", "2026-03-09 12:00"),
    "autumn": ("2026-10-30 12:00", "2026-11-02 12:00"),
}
CASH = {
    "holiday": {
        "2026-11-23": time(16),
        "2026-11-24": time(16),
        "2026-11-25": time(16),
        "2026-11-27": time(13),
    },
    "spring": {"2026-03-06": time(16), "2026-03-09": time(16)},
    "autumn": {"2026-10-30": time(16), "2026-11-02": time(16)},
}
FUTURES_SHUT = {
    "holiday": [
        ("2026-11-23 17:00", "2026-11-23 18:00"),
        ("2026-11-24 17:00", "2026-11-24 18:00"),
        ("2026-11-25 17:00", "2026-11-25 18:00"),
        ("2026-11-26 13:00", "2026-11-26 18:00"),
        ("2026-11-27 13:15", "2026-11-27 20:00"),
    ],
    "spring": [("2026-03-06 17:00", "2026-03-08 18:00")],
    "autumn": [("2026-10-30 17:00", "2026-11-01 18:00")],
}


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).timestamp()) * SECOND


def at_time(day: str, of_day: time) -> int:
    return ns(f"{day} {of_day}")


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Composition:
    bundled = resources.files("stream.index") / "bundled" / "us_universe.csv"
    lines = bundled.read_text("utf-8").splitlines()
    file = tmp_path_factory.mktemp("week") / "few.csv"
    file.write_text("\n".join([lines[0], *lines[1::EVERY]]))
    return load_composition(file)


@dataclass
class Made:
    """The whole of a span, as columns; `live` leaves out what goes before the start."""

    name: str
    composition: Composition
    trades: Trades
    at: NDArray[np.int64]
    start: int

    @property
    def letters(self) -> NDArray[np.str_]:
        letters: NDArray[np.str_] = np.array(self.trades.conditions)[self.trades.condition]
        return letters

    @property
    def is_future(self) -> NDArray[np.bool_]:
        future: NDArray[np.bool_] = self.trades.symbol >= len(self.composition.universe)
        return future

    @property
    def is_trade(self) -> NDArray[np.bool_]:
        trade: NDArray[np.bool_] = self.trades.kind == Kind.TRADE
        return trade

    @property
    def is_share(self) -> NDArray[np.bool_]:
        return ~self.is_future & self.is_trade

    @property
    def live(self) -> NDArray[np.bool_]:
        return self.at >= self.start

    @property
    def mic(self) -> NDArray[np.str_]:
        return np.array([one.attributes["mic"] for one in self.composition.universe.instruments])

    @property
    def primary(self) -> NDArray[np.uint8]:
        letter = {"XNYS": "N", "XNAS": "Q", "XASE": "A", "ARCX": "P", "BATS": "Z"}
        return np.array([ord(letter[mic]) for mic in self.mic], np.uint8)

    def within(self, first: int, last: int) -> NDArray[np.bool_]:
        inside: NDArray[np.bool_] = (self.at >= first) & (self.at < last)
        return inside


def columns(trades: Trades) -> list[NDArray[np.int64]]:
    return [
        np.asarray(getattr(trades, name), np.int64)
        for name in ("symbol", "ts", "price", "seq", "size", "venue", "condition", "kind")
    ]


def gathered(steps: Iterable[Step], end: int) -> tuple[Trades, NDArray[np.int64]]:
    taken = list(until(steps, end))
    joined = [
        np.concatenate(each) for each in zip(*(columns(s.trades) for s in taken), strict=True)
    ]
    at = np.concatenate([step.at for step in taken])
    inside = at < end
    first = taken[0].trades
    return Trades(first.symbols, first.conditions, *[each[inside] for each in joined]), at[inside]


def until(steps: Iterable[Step], end: int) -> Iterator[Step]:
    """Take steps up to the first that holds a trade at or after the end."""
    for step in steps:
        yield step
        if len(step.at) and step.at[-1] >= end:
            return


def make(few: Composition, name: str, *, seed: int = 1) -> Made:
    start, end = (ns(text) for text in WEEKS[name])
    tape = SimulatedTape(few, Calendar.bundled(), seed, rate=RATE, start_ns=start)
    return Made(name, few, *gathered(tape, end), start)


@pytest.fixture(scope="module")
def weeks(few: Composition) -> Callable[[str], Made]:
    """Give each span, made once."""
    return cache(partial(make, few))


@pytest.fixture(params=WEEKS)
def made(request: pytest.FixtureRequest, weeks: Callable[[str], Made]) -> Made:
    return weeks(request.param)


@pytest.fixture
def week(weeks: Callable[[str], Made]) -> Made:
    return weeks("holiday")


def first_hours(few: Composition, *, seed: int, rate: float = 20.0) -> SimulatedTape:
    """Begin an hour before an opening."""
    start = ns("2026-07-15 08:30")
    return SimulatedTape(few, Calendar.bundled(), seed, rate=rate, start_ns=start)


def test_a_seed_makes_a_market(few: Composition) -> None:
    """The same one the same ticks, through an opening; another one others."""
    end = ns("2026-07-15 11:00")
    first, again, other = (
        columns(gathered(first_hours(few, seed=seed), end)[0]) for seed in (3, 3, 4)
    )

    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert not np.array_equal(first[2][:1000], other[2][:1000])


@pytest.mark.parametrize("speed", [None, 1.0, 60.0])
def test_a_market_does_not_depend_on_how_it_is_taken(few: Composition, speed: float | None) -> None:
    """Cut by ticks, by time, at any speed: always the first ticks of the same tape."""
    start, end = ns("2026-07-15 08:30"), ns("2026-07-15 10:00")
    whole = columns(gathered(first_hours(few, seed=3), end)[0])
    n = len(whole[0]) * 2 // 3

    by_time = simulated_blocks(first_hours(few, seed=3), start, speed=speed, end_ns=end)
    by_ticks = simulated_blocks(first_hours(few, seed=3), start, speed=speed, n_ticks=n)

    for blocks, length in ((by_time, len(whole[0])), (by_ticks, n)):
        parts = [columns(block.trades) for block in blocks]
        for name, *column in zip(range(8), whole, *parts, strict=True):
            assert np.array_equal(np.concatenate(column[1:]), column[0][:length]), name


def test_the_tape_is_in_order_and_numbered(made: Made) -> None:
    """Each number from 1 once; nothing goes out before what stands ahead of it; only an undoing is of an earlier time."""
    undoing = np.isin(made.trades.kind, (Kind.CANCEL, Kind.CORRECTION))

    assert np.all(np.diff(made.at) >= 0)
    assert made.trades.seq[~undoing].tolist() == list(range(1, int((~undoing).sum()) + 1))
    assert np.array_equal(made.trades.ts[~undoing], made.at[~undoing])
    assert np.all(made.trades.ts[undoing] < made.at[undoing])
    assert made.trades.price.min() > 0


def test_shares_trade_on_trading_days_from_four_to_eight(made: Made) -> None:
    """Not at night, not on a holiday, not on a weekend, and to 17:00 where the close is early."""
    open_at = np.zeros(len(made.at), bool)
    for day, close in CASH[made.name].items():
        evening = time(20) if close == time(16) else time(17)
        open_at |= made.within(at_time(day, time(4)), at_time(day, evening))

    shares = ~made.is_future & made.live
    assert shares.sum() > 10_000
    assert not np.any(shares & ~open_at)


def test_every_phase_has_its_trades(made: Made) -> None:
    """Shares trade in each hour of each day's three phases, far less outside regular hours; most of that in odd lots."""
    for day, close in CASH[made.name].items():
        opens, closes = at_time(day, time(9, 30)), at_time(day, close)
        phases = ((at_time(day, time(4)), opens), (opens, closes), (closes, closes + 4 * HOUR))
        for first, last in phases:
            inside = made.is_share & made.live & made.within(first, last)
            length = min(last, made.at[-1]) - max(first, made.start)
            if length < HOUR:
                continue
            usual = inside & np.isin(made.letters, ["@", "F", "I"])
            if first == opens:
                assert usual.sum() == pytest.approx(RATE * length / SECOND, rel=0.02)
            else:
                extended = np.char.startswith(made.letters[inside], "T")
                assert not usual.any()
                assert 0 < extended.sum() < 0.05 * RATE * length / SECOND
    if made.name == "holiday":
        odd = np.count_nonzero(made.letters == "TI")
        assert odd > np.count_nonzero(made.letters == "T") > 0


def test_shares_print_regular_letters_in_regular_hours_alone(made: Made) -> None:
    """Outside of them every print carries T, is one of the closing auction, or corrects a close."""
    inside = np.zeros(len(made.at), bool)
    for day, close in CASH[made.name].items():
        inside |= made.within(at_time(day, time(9, 30)), at_time(day, close))

    shares = made.is_share & made.live
    # A halt may have come before the start.
    assert set(made.letters[shares & inside]) - {"5"} == {"@", "F", "I", "O", "Q"}
    assert set(made.letters[shares & ~inside]) == {"T", "TI", "6", "M", "9"}


def test_each_stock_has_each_auction_once_a_day_on_its_primary(made: Made) -> None:
    """Opened within ten minutes, most at once; closed within one; on Nasdaq the official price follows, the same."""
    n = len(made.composition.universe)
    for day, close in CASH[made.name].items():
        opens, closes = at_time(day, time(9, 30)), at_time(day, close)
        for letter, official, first, within in (
            ("O", "Q", opens, 600 * SECOND),
            ("6", "M", closes, 60 * SECOND),
        ):
            if first < made.start or first + within > made.at[-1]:
                continue
            window = made.within(first, first + HOUR)
            crossed = np.flatnonzero(window & (made.letters == letter))
            row = made.trades.symbol[crossed]
            assert sorted(row.tolist()) == list(range(n))
            assert np.array_equal(made.trades.venue[crossed], made.primary[row])
            assert made.at[crossed].max() < first + within
            assert np.mean(made.at[crossed] < first + 5 * SECOND) > 0.5

            told = np.flatnonzero(window & (made.letters == official))
            own = told[made.trades.venue[told] == made.primary[made.trades.symbol[told]]]
            price = dict(zip(row.tolist(), made.trades.price[crossed].tolist(), strict=True))
            seq = dict(zip(row.tolist(), made.trades.seq[crossed].tolist(), strict=True))
            nasdaq = np.flatnonzero(made.mic == "XNAS").tolist()
            assert sorted(made.trades.symbol[own].tolist()) == nasdaq
            for i in own:
                symbol = int(made.trades.symbol[i])
                assert made.trades.price[i] == price[symbol]
                assert made.trades.seq[i] > seq[symbol]


def test_the_opening_auction_is_the_first_print_on_the_primary(week: Made) -> None:
    """Before it, a stock trades elsewhere; some do."""
    n_early = 0
    for day in CASH["holiday"]:
        opens = at_time(day, time(9, 30))
        inside = week.is_share & week.within(opens, opens + HOUR)
        own = inside & (week.trades.venue == week.primary[np.where(inside, week.trades.symbol, 0)])
        for row in range(len(week.composition.universe)):
            of_row = np.flatnonzero(own & (week.trades.symbol == row))
            assert week.letters[of_row[0]] == "O"
            n_early += int(np.count_nonzero((inside & (week.trades.symbol == row))[: of_row[0]]))
    assert n_early > 0


def test_futures_trade_whenever_they_are_open_and_only_then(made: Made) -> None:
    """The front contract prints at least every ten seconds at night, every three in regular hours."""
    shut = FUTURES_SHUT[made.name]
    is_shut = np.zeros(len(made.at), bool)
    for first, last in shut:
        is_shut |= made.within(ns(first), ns(last))
    assert not np.any(made.is_future & made.live & is_shut)

    calendar = Calendar.bundled()
    for code, position in made.composition.futures.front(made.start).items():
        row = len(made.composition.universe) + position
        ts = made.at[(made.trades.symbol == row) & made.live]
        gap = np.diff(ts)
        wide = np.flatnonzero(gap > 10 * SECOND)
        assert len(wide) == sum(ns(last) <= ts[-1] for _, last in shut), code
        for i in wide:
            assert any(
                ns(first) - 10 * SECOND < ts[i] < ns(first)
                and ns(last) <= ts[i + 1] < ns(last) + 10 * SECOND
                for first, last in shut
            )
        regular = [calendar.cash_phase(int(each)) is CashPhase.REGULAR for each in ts[:-1:50]]
        assert gap[::50][np.array(regular)].max() < 3 * SECOND


def test_futures_are_priced_in_tenths_near_their_index(made: Made) -> None:
    """At each close, the last price before it is that of the index at its closing prints, within half a percent."""
    few = made.composition
    for code, position in few.futures.front(made.start).items():
        row = len(few.universe) + position
        index = next(each for each in few.indexes if each.code == code)
        shares = np.zeros(len(few.universe))
        shares[index.row] = index.shares
        assert np.all(made.trades.price[made.trades.symbol == row] % 1_000 == 0)
        for day, close in CASH[made.name].items():
            at = at_time(day, close)
            if at > made.at[-1]:
                continue
            closed = np.flatnonzero((made.letters == "6") & made.within(at, at + 60 * SECOND))
            value = float(made.trades.price[closed] @ shares[made.trades.symbol[closed]])
            level = index.reference_level / 10**8 * value / index.reference_value
            known = np.flatnonzero((made.trades.symbol == row) & (made.at < at))
            assert made.trades.price[known[-1]] / 10**4 == pytest.approx(level, rel=0.005)


def test_the_market_moves_at_night_and_futures_lead(week: Made) -> None:
    """Stocks open away from their closes, together with what futures have done since."""
    few = week.composition
    index = next(each for each in few.indexes if each.code == "US1000")
    row = len(few.universe) + few.futures.front(week.start)["US1000"]
    shares = np.zeros(len(few.universe))
    shares[index.row] = index.shares
    days = list(CASH["holiday"].items())
    for (before, close), (day, _) in pairwise(days):
        values, futures = [], []
        for letter, at in (("6", at_time(before, close)), ("O", at_time(day, time(9, 30)))):
            crossed = np.flatnonzero((week.letters == letter) & week.within(at, at + 600 * SECOND))
            values.append(float(week.trades.price[crossed] @ shares[week.trades.symbol[crossed]]))
            known = np.flatnonzero((week.trades.symbol == row) & (week.at < at))
            futures.append(float(week.trades.price[known[-1]]))
        cash, future = values[1] / values[0] - 1, futures[1] / futures[0] - 1
        assert abs(cash) > 0.0001
        assert cash == pytest.approx(future, abs=0.0015)


def test_every_day_has_its_incidents(week: Made) -> None:
    """One halt, one resumption, one bust, one correction, one corrected close."""
    kinds = {Kind.HALT: 4, Kind.RESUME: 4, Kind.CANCEL: 4, Kind.CORRECTION: 4}

    found = Counter(week.trades.kind.tolist())
    assert {kind: found[kind] for kind in kinds} == kinds
    letters = Counter(week.letters[week.is_trade].tolist())
    assert (letters["5"], letters["9"]) == (4, 4)


def test_nothing_trades_in_a_halt_which_ends_with_a_reopening(week: Made) -> None:
    """It carries the last price; the first print after the resumption is `5`, on the primary."""
    for i in np.flatnonzero(week.trades.kind == Kind.HALT):
        row, resumed = week.trades.symbol[i], None
        of_row = np.flatnonzero((week.trades.symbol == row) & (week.trades.kind != Kind.CANCEL))
        usual = of_row[(of_row < i) & np.isin(week.letters[of_row], ["@", "F", "O"])]
        resumed, reopened = of_row[of_row > i][:2]

        assert week.trades.price[i] == week.trades.price[usual[-1]] == week.trades.price[resumed]
        assert week.trades.kind[resumed] == Kind.RESUME
        assert week.at[resumed] - week.at[i] == 300 * SECOND
        assert week.letters[reopened] == "5"
        assert week.trades.venue[reopened] == week.primary[row]
        assert week.at[reopened] - week.at[resumed] < SECOND


def test_one_tick_a_day_is_bad(week: Made) -> None:
    """Off by more than a fifth from the prints of its stock before and after; no other is by a tenth."""
    bad = 0
    for row in range(len(week.composition.universe)):
        of_row = (week.trades.symbol == row) & week.is_share & (week.letters != "T")
        price = week.trades.price[of_row].astype(float)
        if price.min() < 20_000:
            continue
        off = np.abs(np.log(price[1:-1] / np.sqrt(price[:-2] * price[2:])))
        bad += int(np.count_nonzero(off > 0.2))
        assert not np.any((off > 0.15) & (off <= 0.2))
    assert bad == 4


def test_what_is_undone_stands_earlier_on_the_tape(week: Made) -> None:
    """A bust names symbol, time, number and price of a trade; a correction carries another price."""
    trades = week.trades
    for i in np.flatnonzero(np.isin(trades.kind, (Kind.CANCEL, Kind.CORRECTION))):
        (j,) = np.flatnonzero((trades.seq == trades.seq[i]) & week.is_trade)
        assert j < i
        assert (trades.symbol[j], trades.ts[j]) == (trades.symbol[i], trades.ts[i])
        assert (trades.price[j] == trades.price[i]) == (trades.kind[i] == Kind.CANCEL)
        assert week.at[i] - week.at[j] < 10 * 60 * SECOND


def test_a_corrected_close_differs_from_the_close(week: Made) -> None:
    """It is the primary exchange's, minutes after the closing print of its stock."""
    for i in np.flatnonzero(week.letters == "9"):
        row = week.trades.symbol[i]
        closes = np.flatnonzero((week.letters == "6") & (week.trades.symbol == row))
        last = closes[closes < i][-1]
        assert week.trades.price[i] != week.trades.price[last]
        assert week.trades.venue[i] == week.primary[row]
        assert 240 * SECOND < week.at[i] - week.at[last] < HOUR


@pytest.mark.parametrize(
    ("start", "letters"),
    [
        ("2026-07-15 22:00", {"6": "2026-07-15 16:00"}),
        ("2026-07-16 08:00", {"6": "2026-07-15 16:00"}),
        ("2026-07-16 11:00", {"6": "2026-07-15 16:00", "O": "2026-07-16 09:30"}),
        ("2026-07-19 18:00", {"6": "2026-07-17 16:00"}),
    ],
)
def test_the_last_close_goes_before_the_start(
    few: Composition, start: str, letters: dict[str, str]
) -> None:
    """Official closes, futures just before them, and the opening where there was one since; nothing else."""
    tape = SimulatedTape(few, Calendar.bundled(), 1, rate=RATE, start_ns=ns(start))
    trades, at = gathered(tape, ns(start) + HOUR)
    made = Made("start", few, trades, at, ns(start))

    before = ~made.live
    assert set(made.letters[before]) <= {"@", *"6MOQ"}
    for letter, moment in letters.items():
        crossed = before & (made.letters == letter)
        assert np.count_nonzero(crossed) == len(few.universe)
        assert 0 <= made.at[crossed].min() - ns(moment) < SECOND
    futures = made.at[before & made.is_future]
    close = ns(letters["6"])
    assert close - SECOND <= futures.min() <= futures.max() < close
    assert not np.any(before & made.is_share & (made.letters == "@"))
    assert made.live.any()


def test_a_tape_that_goes_on_holds_nothing_old(few: Composition) -> None:
    """Where a topic holds events already, all that is added is newer."""
    start = ns("2026-07-16 11:00")
    tape = SimulatedTape(few, Calendar.bundled(), 1, rate=RATE, start_ns=start)
    close = gathered(tape, start)[0].ts
    # Auctions are at their times, wherever a tape begins: one of these is the newest event, too.
    for after in (start - 1, start - HOUR, int(close[20]), int(close[-3]), start - 7 * 24 * HOUR):
        tape = SimulatedTape(few, Calendar.bundled(), 1, rate=RATE, start_ns=start, after_ns=after)
        assert gathered(tape, start + HOUR)[0].ts.min() > after


def test_without_contracts_no_future_trades(few: Composition) -> None:
    """Nobody could tell what they are: workers would refuse them."""
    alone = Composition.build(few.universe, [Definition("ALL", "All", {})])

    trades, _ = gathered(first_hours(alone, seed=1), ns("2026-07-15 09:00"))

    assert trades.symbol.max() < len(few.universe)


def test_a_night_is_quiet_but_not_dead(week: Made) -> None:
    """Of the 23 hours of a session, no ten seconds are without a tick; there are far fewer than by day."""
    day = ns("2026-11-24 18:00")
    inside = np.sort(week.at[week.within(day, day + 23 * HOUR)])

    assert np.diff(inside).max() < 10 * SECOND
    night = np.count_nonzero(week.within(day + 2 * HOUR, day + 3 * HOUR))
    noon = np.count_nonzero(week.within(day + 18 * HOUR, day + 19 * HOUR))
    assert night < noon / 5
    assert timedelta(seconds=int(inside[-1] - inside[0]) // SECOND) > timedelta(hours=22)
