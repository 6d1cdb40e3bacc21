"""The laws of the simulated market."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.feed.market import Market, Path, on_grid
from stream.feed.phases import regular_movement
from stream.feed.shares import Shares
from stream.feed.trades import Trades
from stream.files import load_composition
from stream.index.universe import Universe, read_universe

# 2026-07-17, 09:30 to 16:00 New York.
OPEN = 1784295000000000000
CLOSE = 1784318400000000000
SECOND = 1_000_000_000
DAY = 24 * 3600 * SECOND


@pytest.fixture(scope="module")
def universe() -> Universe:
    return load_composition().universe


def columns(trades: Trades) -> list[list[int]]:
    arrays = (
        trades.symbol,
        trades.ts,
        trades.price,
        trades.seq,
        trades.size,
        trades.venue,
        trades.cond,
    )
    return [array.tolist() for array in arrays]


class Floor:
    """Regular hours of one seed: a market that moves, and the shares that trade in it."""

    def __init__(self, universe: Universe, seed: int) -> None:
        walk, draws = (np.random.default_rng([seed, i]) for i in range(2))
        self.market = Market(universe, walk)
        self.shares = Shares(universe, universe.symbols, draws)

    def ticks(self, n: int, first: int, last: int, *, n_steps: int = 1) -> Trades:
        """Trade n times, evenly, from one instant of a day to before another."""
        into_day = (first - OPEN) % DAY
        edges = np.linspace(into_day, into_day + last - first, n_steps + 1)
        price = self.market.move(regular_movement(edges, OPEN, CLOSE))
        ts = np.linspace(first, last - 1, n).astype(np.int64)
        return self.shares.regular(ts, Path(first, last, price))


def few_stocks(*lines: str) -> Universe:
    return read_universe(["symbol,float_shares,price", *lines])


def test_the_same_seed_makes_the_same_ticks(universe: Universe) -> None:
    """Two markets of one seed, asked alike, agree in every column; one of another seed differs."""
    first, second, other = (Floor(universe, seed) for seed in (7, 7, 8))

    for n, start in ((1_000, OPEN), (1, OPEN + SECOND), (0, OPEN + 2 * SECOND), (500, OPEN + DAY)):
        made = columns(first.ticks(n, start, start + SECOND))
        assert made == columns(second.ticks(n, start, start + SECOND))
        assert n < 2 or made != columns(other.ticks(n, start, start + SECOND))


@given(st.integers(1, 40), st.integers(1, 10**12), st.lists(st.floats(0, 1, exclude_max=True)))
def test_a_path_holds_each_price_for_its_step(n_steps: int, length: int, at: list[float]) -> None:
    """The first price holds from the start, the last one to the end, each as long as any other."""
    price = np.arange(n_steps, dtype=np.float64).reshape(n_steps, 1)
    path = Path(OPEN, OPEN + length, price)
    after = np.array([int(part * length) for part in at], np.int64)

    mid = path.mid(OPEN + after, np.zeros(len(at), np.int32))

    assert np.all(np.abs(mid + 0.5 - after * n_steps / length) <= 0.5 + 1e-6)


def test_prices_lie_on_the_grid() -> None:
    """Whole cents from a dollar up, 1/10000 dollar below it, and never less than a cent."""
    given_price = np.array([10_049.0, 10_050.1, 9_999.4, 99.0, 101.4, 7_000_060.0])

    assert on_grid(given_price).tolist() == [10_000, 10_100, 9_999, 100, 101, 7_000_100]


def test_prices_stay_near_their_references_for_a_quarter(universe: Universe) -> None:
    """In 60 sessions no price comes near eight times, or an eighth of, its reference."""
    floor = Floor(universe, 5)
    reference = np.array([stock.price for stock in universe.instruments])

    for day in range(60):
        trades = floor.ticks(200, OPEN + day * DAY, CLOSE + day * DAY, n_steps=8)
        # A cent more or less is much for a stock of a few cents.
        dear = reference[trades.symbol] > 5_000
        ratio = (trades.price / reference[trades.symbol])[dear]
        assert ratio.min() > 0.45
        assert ratio.max() < 2.2


def closes(
    universe: Universe, *, seed: int, n_days: int
) -> tuple[np.ndarray, list[str], list[str]]:
    """Give log-returns from day to day of the largest 200 and 200 small stocks, with their sizes and sectors."""
    large = [stock for stock in universe.instruments if stock.attributes["size"] == "large"][:200]
    small = [stock for stock in universe.instruments if stock.attributes["size"] == "small"][:200]
    chosen = Universe((*large, *small), universe.columns)
    market = Market(chosen, np.random.default_rng(seed))
    edges = np.linspace(0, CLOSE - OPEN, 79)
    last = [np.log(market.move(regular_movement(edges, OPEN, CLOSE))[-1]) for _ in range(n_days)]
    stocks = chosen.instruments
    sizes = [stock.attributes["size"] for stock in stocks]
    return np.diff(last, axis=0), sizes, [stock.attributes["sector"] for stock in stocks]


def test_daily_returns_are_as_volatile_as_a_real_market(universe: Universe) -> None:
    """The market moves about 1 % a day, large against small about 0.5 %, a stock by itself 1.5 to 3 %."""
    returns, sizes, sectors = closes(universe, seed=11, n_days=120)
    is_large = np.array(sizes) == "large"
    both = (returns[:, is_large].mean(axis=1) + returns[:, ~is_large].mean(axis=1)) / 2
    spread = returns[:, ~is_large].mean(axis=1) - returns[:, is_large].mean(axis=1)
    technology = returns[:, np.array(sectors) == "TECHNOLOGY"].mean(axis=1) - both

    assert 0.008 < both.std() < 0.0125
    assert 0.003 < spread.std() < 0.008
    assert 0.004 < technology.std() < 0.011
    own = returns - returns.mean(axis=1, keepdims=True)
    assert 0.012 < np.median(own[:, is_large].std(axis=0)) < 0.025
    assert 0.020 < np.median(own[:, ~is_large].std(axis=0)) < 0.040


def test_large_companies_trade_more_often(universe: Universe) -> None:
    """Activity grows with float value, and every stock trades."""
    value = [stock.price * float(stock.float_shares) for stock in universe.instruments]
    order = np.argsort(value)[::-1]

    trades = Floor(universe, 2).ticks(2_000_000, OPEN, CLOSE)

    often = np.bincount(trades.symbol, minlength=len(universe))[order]
    tenths = [part.sum() for part in np.array_split(often, 10)]
    assert tenths == sorted(tenths, reverse=True)
    assert often[0] > 500 * often[-100:].mean()
    assert often.min() > 0


def test_the_day_moves_most_at_its_ends() -> None:
    """Half hours share one day's variance out: least at noon, two to three times as much at both ends."""
    share = regular_movement(np.linspace(0, CLOSE - OPEN, 14), OPEN, CLOSE)

    assert share.sum() == pytest.approx(1.0)
    assert share.argmin() == 6
    assert 2 < share[0] / share.min() < 3.2
    assert share == pytest.approx(share[::-1])


def test_sizes_conditions_and_venues_are_those_of_a_tape(universe: Universe) -> None:
    """Most prints are regular round lots of the usual venues; odd lots are marked and smaller."""
    trades = Floor(universe, 4).ticks(200_000, OPEN, CLOSE)
    odd = trades.cond == 2

    assert set(trades.cond.tolist()) == {1, 1024, 2}
    assert 0.5 < np.mean(trades.cond == 1) < 0.85
    assert 0.005 < odd.mean() < 0.06
    assert trades.size[odd].min() >= 1
    assert trades.size[odd].max() < 100
    assert np.all(trades.size[~odd] % 100 == 0)
    assert np.all(trades.size[~odd] > 0)
    assert set(bytes(trades.venue.tolist()).decode()) <= set("NAPQZD")
    assert 0.05 < np.mean(trades.venue == ord("D")) < 0.4


def test_a_listing_trades_most_on_its_own_venue(universe: Universe) -> None:
    """New York's stocks print N, Nasdaq's print Q more often than anything else."""
    trades = Floor(universe, 4).ticks(200_000, OPEN, CLOSE)
    mic = np.array([stock.attributes["mic"] for stock in universe.instruments])[trades.symbol]

    for name, letter in (("XNYS", "N"), ("XNAS", "Q")):
        counts = np.bincount(trades.venue[mic == name])
        assert counts.argmax() == ord(letter)


def test_a_universe_of_three_columns_is_enough() -> None:
    """Without size, sector and listing, and of one stock, there is a market all the same."""
    trades = Floor(few_stocks("ONE,1000,10"), 1).ticks(100, OPEN, CLOSE)

    assert set(trades.symbol.tolist()) == {0}
    assert trades.price.min() > 0


def test_extended_hours_are_thin_in_small_companies_and_full_of_odd_lots(
    universe: Universe,
) -> None:
    """Every print carries T, most of them I; the largest hundred have most of the trades."""
    floor = Floor(universe, 4)
    value = [stock.price * float(stock.float_shares) for stock in universe.instruments]
    largest = np.argsort(value)[::-1][:100]
    ts = np.full(50_000, OPEN)
    path = Path(OPEN, OPEN + 1, floor.market.move(np.zeros(1)))

    trades = floor.shares.extended(ts, path)
    regular = floor.shares.regular(ts, path)

    letters = np.array(trades.conditions)[trades.condition]
    assert set(letters) == {"T", "TI"}
    assert np.mean(letters == "TI") > 0.5
    assert trades.size[letters == "TI"].max() < 100
    assert trades.size[letters == "T"].min() >= 100
    large = np.isin(trades.symbol, largest).mean()
    assert large > 1.4 * np.isin(regular.symbol, largest).mean()
    assert large > 0.4
    off, usual = (np.abs(np.log(t.price / path.mid(t.ts, t.symbol))) for t in (trades, regular))
    assert np.median(off) > 1.5 * np.median(usual)


def test_two_million_ticks_a_second_are_made(universe: Universe) -> None:
    """In blocks as large as the feed's own, on one core; the best of five, since machines have other work."""
    floor = Floor(universe, 1)
    best = min(seconds_of(floor, OPEN + i * SECOND) for i in range(5))

    assert 200_000 / best > 2_000_000


def seconds_of(floor: Floor, start: int) -> float:
    before = time.process_time()
    for i in range(10):
        floor.ticks(20_000, start + i * SECOND // 10, start + (i + 1) * SECOND // 10)
    return time.process_time() - before
