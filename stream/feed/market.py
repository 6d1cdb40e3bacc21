"""A believable market, simulated: correlated prices and the activity of a real tape, from a seed."""

from __future__ import annotations

from datetime import datetime, time

import numpy as np
from numpy.typing import NDArray

from stream.feed.trades import Trades
from stream.index.units import NS_PER_S, PRICE_SCALE
from stream.index.universe import Universe
from stream.session.hours import RegularHours
from stream.wire.conditions import VENUES

US_HOURS = RegularHours.parse("Mon-Fri 09:30-16:00 America/New_York")

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

#: Trades come in proportion to this power of the float value: the largest company trades some thousand times as often.
ACTIVITY_POWER = 0.6

#: Half the spread between bid and ask, as part of the price.
HALF_SPREAD_LARGEST = 0.0001
HALF_SPREAD_SMALLEST = 0.0010

#: Without a column `size`, so many of the largest companies count as large.
N_LARGE = 1000

CENT = PRICE_SCALE // 100
CONDITIONS = ("@", "F", "I")
_REGULAR, _SWEEP, _ODD_LOT = range(3)

#: How often each kind of trade comes: condition, venue (empty: the listing's own), 1 in 256.
_KINDS = (
    (_REGULAR, "", 80),
    (_REGULAR, "P", 20),
    (_REGULAR, "Q", 20),
    (_REGULAR, "Z", 20),
    (_REGULAR, "D", 32),
    (_SWEEP, "", 36),
    (_SWEEP, "P", 16),
    (_SWEEP, "Q", 12),
    (_SWEEP, "Z", 12),
    (_ODD_LOT, "", 5),
    (_ODD_LOT, "D", 3),
)
#: How often each size comes, 1 in 256: mostly the round lot.
_LOTS = ((100, 164), (200, 40), (300, 18), (400, 9), (500, 12), (1_000, 8), (2_500, 3), (10_000, 2))

_DRAW_BITS = 18
_STEP_NS = NS_PER_S
_MOST_STEPS = 256
_GRID = 65
_BELOW_ONE = float(np.nextafter(1.0, 0.0))


class Market:
    """Trades of a simulated market.

    Log-prices are the sum of a market factor, a factor of large against small, one factor per sector and each stock's
    own; all of them move with the intensity of the day (more at the open and the close) and are drawn home slowly.
    Time between the windows asked for does not move prices.

    Parameters
    ----------
    universe
        The stocks. Columns `size`, `sector` and `mic` are used where there are any.
    seed
        The same seed and the same calls give the same trades.
    hours
        Regular hours, which shape the day.
    """

    def __init__(self, universe: Universe, seed: int, *, hours: RegularHours = US_HOURS) -> None:
        self._random = np.random.Generator(np.random.SFC64(seed))
        self._hours = hours
        self._day_ns = _ns_of(hours.closes) - _ns_of(hours.opens)
        self._n_made = 0
        stocks = universe.instruments
        self._symbols = universe.symbols
        self._reference = np.array([stock.price for stock in stocks], np.float64)
        value = np.array([stock.price * float(stock.float_shares) for stock in stocks])
        # 0 for the largest company, 1 for the smallest.
        rank = np.argsort(np.argsort(-value, kind="stable")) / max(1, len(value) - 1)
        self._drawn_row = _activity_table(value)
        self._half_spread = _between(HALF_SPREAD_LARGEST, HALF_SPREAD_SMALLEST, rank)
        self._own_daily = _between(OWN_DAILY_LARGEST, OWN_DAILY_SMALLEST, rank)
        self._own = np.zeros(len(value))
        # Factors: market, size, then the sectors. Large stocks move with one half of the second, small ones against.
        sector = _sectors(universe)
        self._sector = 2 + sector
        self._size_loading = np.where(_is_large(universe, rank), -0.5, 0.5)
        sectors_daily = [SECTOR_DAILY] * (int(sector.max()) + 1)
        self._factor_daily = np.array([MARKET_DAILY, SIZE_DAILY, *sectors_daily])
        self._factor = np.zeros(len(self._factor_daily))
        self._primary = _primary_venues(universe)
        often = [n for _, _, n in _KINDS]
        self._condition = np.repeat(np.array([c for c, _, _ in _KINDS], np.int32), often)
        self._venue = np.repeat(np.array([ord(v or "\0") for _, v, _ in _KINDS], np.uint8), often)
        self._lot = np.repeat([lot for lot, _ in _LOTS], [n for _, n in _LOTS]).astype(np.int64)

    def ticks(self, n: int, first_ts: int, last_ts: int) -> Trades:
        """Make the next trades.

        Parameters
        ----------
        n
            How many.
        first_ts, last_ts
            Event times lie from `first_ts` to `last_ts`, both included, ns since 1970 UTC; no earlier than those of
            the call before.

        Returns
        -------
        Trades
            In order of event time, `seq` counting on from the call before, from 1.

        Notes
        -----
        O(n + stocks * steps), a step being a second, or 1/256 of the time asked for where that is longer; some 100 ns a
        trade.
        """
        at = self._positions(n, first_ts, last_ts)
        price = self._move(first_ts, last_ts)
        draw = self._random.integers(0, 2**32, n, np.uint32)
        bits = self._random.integers(0, 2**16, n, np.uint16)
        symbol = self._drawn_row[draw >> np.uint32(32 - _DRAW_BITS)]
        kind = (draw & np.uint32(0xFF)).astype(np.intp)
        venue, condition = self._venue[kind], self._condition[kind]
        mid = price[(at * len(price)).astype(np.intp), symbol]
        half_spread = self._half_spread[symbol] * np.where(bits & np.uint16(1), 1.0, -1.0)
        seq = np.arange(self._n_made + 1, self._n_made + n + 1, dtype=np.uint64)
        self._n_made += n
        return Trades(
            symbols=self._symbols,
            conditions=CONDITIONS,
            symbol=symbol,
            ts=first_ts + (at * (last_ts - first_ts)).astype(np.int64),
            price=_on_grid(mid + mid * half_spread),
            seq=seq,
            size=np.where(condition == _ODD_LOT, _odd_lot(bits), self._lot[bits >> np.uint16(8)]),
            venue=np.where(venue == 0, self._primary[symbol], venue),
            condition=condition,
        )

    def _positions(self, n: int, first_ts: int, last_ts: int) -> NDArray[np.float64]:
        """Draw when trades happen: sorted positions from 0 to less than 1 between the two times, as busy as the day."""
        # Sums of exponential waiting times, scaled to the whole, are as good as sorted uniform draws and need no sort.
        waited = np.cumsum(self._random.standard_exponential(n + 1))
        grid = np.linspace(0.0, 1.0, _GRID)
        done = self._done(first_ts, grid * (last_ts - first_ts))
        at = np.interp(done[0] + waited[:-1] * ((done[-1] - done[0]) / waited[-1]), done, grid)
        positions: NDArray[np.float64] = np.minimum(at, _BELOW_ONE)
        return positions

    def _move(self, first_ts: int, last_ts: int) -> NDArray[np.float64]:
        """Move the market; give the stocks' prices in 1/10000 dollar after each step, shape (n_steps, n_stocks)."""
        length = last_ts - first_ts
        n_steps = min(_MOST_STEPS, max(1, -(-length // _STEP_NS)))
        done = self._done(first_ts, np.linspace(0.0, 1.0, n_steps + 1) * length)
        share = np.diff(done)
        factor_noise = self._random.standard_normal((n_steps, len(self._factor)))
        own_noise = self._random.standard_normal((n_steps, len(self._own)))
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

    def _done(self, first_ts: int, after: NDArray[np.float64]) -> NDArray[np.float64]:
        """Tell how much of a day's activity, 1 from opening to close, is over so many ns after a time."""
        day = datetime.fromtimestamp(first_ts // NS_PER_S, self._hours.zone).date()
        since_opening = (first_ts - self._hours.opening(day)) + after
        x = since_opening * (2.0 / self._day_ns) - 1.0
        inside = np.clip(x, -1.0, 1.0)
        # The integral of 0.6 + 1.2 x^2, which is three times as high at both ends as at noon; flat outside of the day.
        done: NDArray[np.float64] = 0.5 * (0.6 * x + 0.4 * inside**3 + 1.2 * (x - inside))
        return done


def _ns_of(local: time) -> int:
    return (local.hour * 60 + local.minute) * 60 * NS_PER_S


def _activity_table(value: NDArray[np.float64]) -> NDArray[np.int32]:
    """Lay out rows in proportion to their activity: a random position is then a random trade's row."""
    slots = 2**_DRAW_BITS
    activity = value**ACTIVITY_POWER
    ends = np.cumsum(1.0 + activity / activity.sum() * (slots - len(value)))
    return np.searchsorted(ends[:-1], np.arange(slots), side="right").astype(np.int32)


def _between(largest: float, smallest: float, rank: NDArray[np.float64]) -> NDArray[np.float64]:
    return largest + (smallest - largest) * rank


def _is_large(universe: Universe, rank: NDArray[np.float64]) -> NDArray[np.bool_]:
    if "size" in universe.columns:
        return np.array([stock.attributes["size"] == "large" for stock in universe.instruments])
    return rank * (len(rank) - 1) < N_LARGE


def _sectors(universe: Universe) -> NDArray[np.intp]:
    """Give each stock the number of its sector; those without one share one more."""
    names = [stock.attributes.get("sector", "") for stock in universe.instruments]
    return np.unique(names, return_inverse=True)[1]


def _primary_venues(universe: Universe) -> NDArray[np.uint8]:
    letter = {mic: ord(name) for name, mic in reversed(VENUES.items()) if mic}
    default = ord("Q")
    return np.array(
        [letter.get(stock.attributes.get("mic", ""), default) for stock in universe.instruments],
        np.uint8,
    )


def _odd_lot(bits: NDArray[np.uint16]) -> NDArray[np.int64]:
    """Make sizes of 1 to 99 from seven random bits, those above the lowest."""
    size: NDArray[np.int64] = 1 + ((bits.astype(np.int64) >> 1 & 0x7F) * 99 >> 7)
    return size


def _on_grid(price: NDArray[np.float64]) -> NDArray[np.int64]:
    """Round to cents, and below a dollar to 1/10000 dollar, but not below a cent."""
    units = np.where(price < PRICE_SCALE, np.rint(price), np.rint(price / CENT) * CENT)
    grid: NDArray[np.int64] = np.maximum(units, CENT).astype(np.int64)
    return grid
