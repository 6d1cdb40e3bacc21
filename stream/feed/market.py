"""A believable market, simulated: a random walk of prices that move together, from a seed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.index.units import PRICE_SCALE
from stream.index.universe import Universe

#: Standard deviations of a day's log-returns.
MARKET_DAILY = 0.010
SIZE_DAILY = 0.005
SECTOR_DAILY = 0.007
OWN_DAILY_LARGEST = 0.015
OWN_DAILY_SMALLEST = 0.030

#: Every factor loses this part of its distance from home in a day: prices stay near their references for weeks.
REVERSION = 0.2
#: Log-distance from the reference price that no price leaves: a factor of two, far inside law 1's eight.
FARTHEST = float(np.log(2.0))

#: Without a column `size`, so many of the largest companies count as large.
N_LARGE = 1000

CENT = PRICE_SCALE // 100


class Path(NamedTuple):
    """Mid prices through a span of simulated time, in steps of equal length.

    Attributes
    ----------
    starts_ns, ends_ns
        Half-open, ns since 1970 UTC.
    price
        float64, shape (n_steps, n_stocks): 1/10000 dollar.
    """

    starts_ns: int
    ends_ns: int
    price: NDArray[np.float64]

    def step(self, ts: NDArray[np.int64]) -> NDArray[np.intp]:
        """Give the step that holds in each of some instants of the span, shape (n,)."""
        n_steps = len(self.price)
        if n_steps == 1:
            return np.zeros(len(ts), np.intp)
        steps_per_ns = n_steps / (self.ends_ns - self.starts_ns)
        step: NDArray[np.intp] = ((ts - self.starts_ns) * steps_per_ns).astype(np.intp)
        return np.minimum(step, n_steps - 1)

    def mid(self, ts: NDArray[np.int64], row: NDArray[np.int32]) -> NDArray[np.float64]:
        """Give the mid prices of stocks at instants, both of shape (n,)."""
        mid: NDArray[np.float64] = (
            self.price[0][row] if len(self.price) == 1 else self.price[self.step(ts), row]
        )
        return mid


class Market:
    """Prices of a simulated market.

    Log-prices are the sum of a market factor, a factor of large against small, one factor per sector and each stock's
    own; all of them are drawn home slowly.

    Parameters
    ----------
    universe
        The stocks. Columns `size` and `sector` are used where there are any.
    random
        Moves them.
    """

    def __init__(self, universe: Universe, random: np.random.Generator) -> None:
        self._random = random
        stocks = universe.instruments
        self._reference = np.array([stock.price for stock in stocks], np.float64)
        rank = rank_by_value(universe)
        self._own_daily = between(OWN_DAILY_LARGEST, OWN_DAILY_SMALLEST, rank)
        self._own = np.zeros(len(stocks))
        # Factors: market, size, then the sectors. Large stocks move with one half of the second, small ones against.
        sector = _sectors(universe)
        self._sector = 2 + sector
        self._size_loading = np.where(_is_large(universe, rank), -0.5, 0.5)
        sectors_daily = [SECTOR_DAILY] * (int(sector.max()) + 1)
        self._factor_daily = np.array([MARKET_DAILY, SIZE_DAILY, *sectors_daily])
        self._factor = np.zeros(len(self._factor_daily))

    def move(self, share: NDArray[np.float64]) -> NDArray[np.float64]:
        """Move the market.

        Parameters
        ----------
        share
            float64, shape (n_steps,): how much of a day's movement (its variance) each step holds, 0 to 1.

        Returns
        -------
        float64 array, shape (n_steps, n_stocks)
            Mid prices after each step, 1/10000 dollar.

        Notes
        -----
        O(stocks * steps); some 60 us a step of 3,000 stocks.
        """
        factor_noise = self._random.standard_normal((len(share), len(self._factor)))
        own_noise = self._random.standard_normal((len(share), len(self._own)))
        distance = np.empty_like(own_noise)
        for i, part in enumerate(share):
            kept, root = 1.0 - REVERSION * part, np.sqrt(part)
            self._factor = kept * self._factor + root * self._factor_daily * factor_noise[i]
            self._own = kept * self._own + root * self._own_daily * own_noise[i]
            common = self._factor[self._sector] + self._factor[0]
            distance[i] = common + self._size_loading * self._factor[1] + self._own
        prices: NDArray[np.float64] = self._reference * np.exp(
            np.clip(distance, -FARTHEST, FARTHEST)
        )
        return prices


def on_grid(price: NDArray[np.floating]) -> NDArray[np.int64]:
    """Round prices in 1/10000 dollar to cents, and below a dollar to 1/10000 dollar, but not below a cent."""
    units = np.where(price < PRICE_SCALE, np.rint(price), np.rint(price / CENT) * CENT)
    grid: NDArray[np.int64] = np.maximum(units, CENT).astype(np.int64)
    return grid


def float_values(universe: Universe) -> NDArray[np.float64]:
    """Give each company's float value at reference prices, 1/10000 dollar, shape (n_stocks,)."""
    return np.array([stock.price * float(stock.float_shares) for stock in universe.instruments])


def rank_by_value(universe: Universe) -> NDArray[np.float64]:
    """Give each company's place by float value, 0 for the largest to 1 for the smallest, shape (n_stocks,)."""
    value = float_values(universe)
    rank: NDArray[np.float64] = np.argsort(np.argsort(-value, kind="stable")) / max(
        1, len(value) - 1
    )
    return rank


def between(largest: float, smallest: float, rank: NDArray[np.float64]) -> NDArray[np.float64]:
    """Interpolate from the largest company's figure to the smallest's, by rank."""
    return largest + (smallest - largest) * rank


def _is_large(universe: Universe, rank: NDArray[np.float64]) -> NDArray[np.bool_]:
    if "size" in universe.columns:
        return np.array([stock.attributes["size"] == "large" for stock in universe.instruments])
    return rank * (len(rank) - 1) < N_LARGE


def _sectors(universe: Universe) -> NDArray[np.intp]:
    """Give each stock the number of its sector; those without one share one more."""
    names = [stock.attributes.get("sector", "") for stock in universe.instruments]
    return np.unique(names, return_inverse=True)[1]
