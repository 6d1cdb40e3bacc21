"""The laws of the simulated market."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.feed.market import Market
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


def few_stocks(*lines: str) -> Universe:
    return read_universe(["symbol,float_shares,price", *lines])


def test_the_same_seed_makes_the_same_ticks(universe: Universe) -> None:
    """Two markets of one seed, asked alike, agree in every column; one of another seed differs."""
    first, second, other = (Market(universe, seed) for seed in (7, 7, 8))

    for n, start in ((1_000, OPEN), (1, OPEN + SECOND), (0, OPEN + 2 * SECOND), (500, OPEN + DAY)):
        made = columns(first.ticks(n, start, start + SECOND - 1))
        assert made == columns(second.ticks(n, start, start + SECOND - 1))
        assert n < 2 or made != columns(other.ticks(n, start, start + SECOND - 1))


@given(
    st.lists(
        st.tuples(st.integers(0, 200), st.integers(0, 10**10), st.integers(0, 3 * 10**13)),
        max_size=6,
    )
)
def test_times_never_go_back_and_numbers_count_on(calls: list[tuple[int, int, int]]) -> None:
    """Whatever is asked for, times stay inside of it in order, and `seq` counts from 1."""
    market = Market(few_stocks("A,1000000,10", "B,10,200"), 1)
    at, made = OPEN, 0
    for n, gap, length in calls:
        at += gap
        trades = market.ticks(n, at, at + length)

        assert len(trades) == n
        assert np.all(np.diff(trades.ts) >= 0)
        assert n == 0 or at <= trades.ts[0] <= trades.ts[-1] <= at + length
        assert trades.seq.tolist() == list(range(made + 1, made + n + 1))
        at, made = at + length, made + n


def test_prices_lie_on_the_grid() -> None:
    """Whole cents from a dollar up, 1/10000 dollar below it, and never less than a cent."""
    market = Market(few_stocks("DOLLAR,1000,1.005", "PENNY,1000,0.0101", "BIG,1000,700"), 3)

    price = market.ticks(60_000, OPEN, CLOSE).price

    assert price.min() == 100
    assert np.all(price[price >= 10_000] % 100 == 0)
    assert np.any(price[price < 10_000] % 100 != 0)


def test_prices_stay_near_their_references_for_a_quarter(universe: Universe) -> None:
    """In 60 sessions no price comes near eight times, or an eighth of, its reference."""
    market = Market(universe, 5)
    reference = np.array([stock.price for stock in universe.instruments])

    for day in range(60):
        trades = market.ticks(200, OPEN + day * DAY, CLOSE + day * DAY)
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
    market = Market(chosen, seed)
    last = []
    for day in range(n_days):
        market.ticks(0, OPEN + day * DAY, CLOSE - 1 + day * DAY)
        trades = market.ticks(40_000, CLOSE - 1 + day * DAY, CLOSE - 1 + day * DAY)
        total = np.bincount(trades.symbol, trades.price, len(chosen))
        last.append(np.log(total / np.bincount(trades.symbol, minlength=len(chosen))))
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
    market = Market(universe, 2)
    value = [stock.price * float(stock.float_shares) for stock in universe.instruments]
    order = np.argsort(value)[::-1]

    trades = market.ticks(2_000_000, OPEN, CLOSE)

    often = np.bincount(trades.symbol, minlength=len(universe))[order]
    tenths = [part.sum() for part in np.array_split(often, 10)]
    assert tenths == sorted(tenths, reverse=True)
    assert often[0] > 500 * often[-100:].mean()
    assert often.min() > 0


def test_the_day_is_busiest_at_its_ends(universe: Universe) -> None:
    """Trades of a day, by the half hour, are fewest at noon and two to three times as many at both ends."""
    trades = Market(universe, 2).ticks(500_000, OPEN, CLOSE - 1)

    by_half_hour = np.histogram(trades.ts, 13, (OPEN, CLOSE))[0]

    assert by_half_hour.argmin() in (5, 6, 7)
    assert 2 < by_half_hour[0] / by_half_hour.min() < 3.2
    assert 2 < by_half_hour[-1] / by_half_hour.min() < 3.2


def test_sizes_conditions_and_venues_are_those_of_a_tape(universe: Universe) -> None:
    """Most prints are regular round lots of the usual venues; odd lots are marked and smaller."""
    trades = Market(universe, 4).ticks(200_000, OPEN, CLOSE)
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
    trades = Market(universe, 4).ticks(200_000, OPEN, CLOSE)
    mic = np.array([stock.attributes["mic"] for stock in universe.instruments])[trades.symbol]

    for name, letter in (("XNYS", "N"), ("XNAS", "Q")):
        counts = np.bincount(trades.venue[mic == name])
        assert counts.argmax() == ord(letter)


def test_a_universe_of_three_columns_is_enough() -> None:
    """Without size, sector and listing, and of one stock, there is a market all the same."""
    trades = Market(few_stocks("ONE,1000,10"), 1).ticks(100, OPEN, CLOSE)

    assert set(trades.symbol.tolist()) == {0}
    assert trades.price.min() > 0


def test_two_million_ticks_a_second_are_made(universe: Universe) -> None:
    """In blocks as large as the feed's own, on one core; the best of five, since machines have other work."""
    market = Market(universe, 1)
    best = min(seconds_of(market, OPEN + i * SECOND) for i in range(5))

    assert 200_000 / best > 2_000_000


def seconds_of(market: Market, start: int) -> float:
    before = time.process_time()
    for i in range(10):
        market.ticks(20_000, start + i * SECOND // 10, start + (i + 1) * SECOND // 10 - 1)
    return time.process_time() - before
