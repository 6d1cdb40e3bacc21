"""The tape of a simulated market: all trades of all phases in the order in which they go out, from a seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.feed import auctions, phases
from stream.feed.auctions import Auctions
from stream.feed.futures import FuturesPit
from stream.feed.incidents import Incidents
from stream.feed.market import Market, Path
from stream.feed.shares import OPENING, Shares
from stream.feed.trades import COLUMNS, Trades, joined
from stream.index.composition import Composition
from stream.index.units import NS_PER_S
from stream.session.calendar import Calendar, CashPhase, Stretch, Venue

#: Before its start a tape holds what the market did at the last close, from so long before it.
LEAD_IN_NS = NS_PER_S

#: A span that is made at once holds some thousand trades, so that a paced feed hardly waits for it.
_SPAN_TICKS = 1_000
_LARGEST_SPAN_TICKS = 20_000
_SHORT_SPAN_NS = NS_PER_S // 4
_LONGEST_SPAN_NS = 60 * NS_PER_S

_REGULAR_STEP_NS = NS_PER_S
_QUIET_STEP_NS = 5 * NS_PER_S

_FOREVER_NS = 20 * 365 * 86_400 * NS_PER_S
_OFF_EXCHANGE = ord("D")
#: Sums of fractions of trades are a little off; so is this, which no rate can tell.
_ROUNDING = 1e-6


class Step(NamedTuple):
    """Trades that were made together.

    Attributes
    ----------
    trades
        In the order in which they go out.
    at
        int64, shape (n,): when each does, in simulated ns since 1970 UTC; non-decreasing. It is the event time of all but
        cancels and corrections, which carry that of the trade they undo.
    """

    trades: Trades
    at: NDArray[np.int64]


class SimulatedTape:
    """A market through all phases of the calendar: auctions, regular and extended hours, futures, incidents.

    The same arguments make the same trades. Nothing ends it; who takes it in parts takes the same trades.

    Parameters
    ----------
    composition
        The stocks, and the futures contracts.
    calendar
        Phases of both markets.
    seed
        Makes the market.
    rate
        Trades of shares in a second of regular hours; other phases have their part of it. Auctions and futures come on top.
    start_ns
        Where simulated time begins, ns since 1970 UTC. What the market did at the last close before, and at an opening
        since, comes first.
    after_ns
        All trades are later than this.

    Attributes
    ----------
    since_ns
        All trades are at or after it, ns since 1970 UTC.
    """

    def __init__(
        self,
        composition: Composition,
        calendar: Calendar,
        seed: int,
        *,
        rate: float,
        start_ns: int,
        after_ns: int = 0,
    ) -> None:
        walk, shares, moments, crosses, pit, incidents = (
            np.random.Generator(np.random.SFC64(each))
            for each in np.random.SeedSequence(seed).spawn(6)
        )
        self._calendar = calendar
        self._seed = seed
        self._rate = rate
        self._start_ns = start_ns
        self._last_close_ns = calendar.last_close(start_ns)[1]
        self.since_ns = min(start_ns, max(after_ns + 1, self._last_close_ns - LEAD_IN_NS))
        self._market = Market(composition.universe, walk)
        self._shares = Shares(composition.universe, composition.symbols, shares)
        self._auctions = Auctions(composition.symbols, self._shares.primary, crosses)
        self._pit = FuturesPit(composition, pit)
        self._incidents = Incidents(composition.symbols, self._shares.primary, incidents)
        self._random = moments
        self._plan = auctions.NONE
        self._hours = (0, 0)
        self._owed = 0.0
        self._n_made = 0

    def __iter__(self) -> Iterator[Step]:
        """Make the trades, step by step.

        Yields
        ------
        Step
            Empty where nothing trades; without end.
        """
        end = self._start_ns + _FOREVER_NS
        for stretch in self._calendar.stretches(self.since_ns, end):
            self._begin(stretch)
            at = stretch.starts_ns
            while at < stretch.ends_ns:
                stop = min(self._stop(stretch, at), stretch.ends_ns)
                yield self._step(stretch, at, stop)
                at = stop

    def _begin(self, stretch: Stretch) -> None:
        """Plan the auction and the incidents of the session that a stretch lies in, or that closed before it."""
        regular = stretch.cash_phase is CashPhase.REGULAR
        if regular:
            session = self._calendar.session_at(stretch.starts_ns, Venue.EQUITIES)
            hours = self._calendar.regular_hours(session.name)
        else:
            hours = (0, self._calendar.last_close(stretch.starts_ns)[1])
        if hours == self._hours:
            return
        self._hours = opens, closes = hours
        begins = opens if regular else closes
        random = np.random.Generator(np.random.SFC64([self._seed, begins // NS_PER_S]))
        planned = auctions.opening if regular else auctions.closing
        self._plan = planned(begins, self._shares.primary, random)
        self._auctions.begin()
        if regular:
            self._incidents.begin_day(opens, closes, random)
        else:
            self._incidents.begin_evening(closes, random)

    def _stop(self, stretch: Stretch, at: int) -> int:
        """Say where a span that begins at an instant ends."""
        if at < self._start_ns:
            return min(stretch.ends_ns, self._start_ns)
        if not phases.trades(stretch):
            return stretch.ends_ns
        per_ns = self._rate * self._activity(stretch, at) / NS_PER_S
        if per_ns * _LONGEST_SPAN_NS < _SPAN_TICKS:
            return at + _LONGEST_SPAN_NS
        span = max(_SPAN_TICKS / per_ns, min(_SHORT_SPAN_NS, _LARGEST_SPAN_TICKS / per_ns))
        return at + max(1, int(span))

    def _activity(self, stretch: Stretch, at: int) -> float:
        """Tell how many shares trade, as part of those in regular hours."""
        if stretch.cash_phase is CashPhase.REGULAR:
            return 1.0
        if stretch.cash_phase is CashPhase.POST_MARKET:
            return phases.extended_activity(at - self._hours[1])
        if stretch.cash_phase is CashPhase.PRE_MARKET:
            session = self._calendar.session_at(at, Venue.EQUITIES)
            return phases.extended_activity(self._calendar.regular_hours(session.name)[0] - at)
        return 0.0

    def _step(self, stretch: Stretch, first: int, stop: int) -> Step:
        is_live = first >= self._start_ns
        path = Path(
            first, stop, self._market.move(self._movement(stretch, first, stop, is_live=is_live))
        )
        n = self._count(stretch, first, stop) if is_live else 0
        trades = self._merged(stretch, path, self._moments(n, path), is_live=is_live)
        if is_live and stretch.cash_phase is not CashPhase.CLOSED:
            trades = self._incidents.disturb(trades, path, self._auctions.crossed)
            return Step(*self._incidents.undo(self._numbered(trades), path))
        return Step(self._numbered(trades), trades.ts)

    def _movement(
        self, stretch: Stretch, first: int, stop: int, *, is_live: bool
    ) -> NDArray[np.float64]:
        regular = stretch.cash_phase is CashPhase.REGULAR
        step_ns = _REGULAR_STEP_NS if regular else _QUIET_STEP_NS
        n_steps = -(-(stop - first) // step_ns) if is_live and phases.trades(stretch) else 1
        if regular:
            opens, closes = self._hours
            edges = np.linspace(first - opens, stop - opens, n_steps + 1)
            return phases.regular_movement(edges, opens, closes)
        return np.full(n_steps, phases.quiet_movement(stretch, stop - first) / n_steps)

    def _count(self, stretch: Stretch, first: int, stop: int) -> int:
        activity = self._activity(stretch, (first + stop) // 2)
        self._owed += self._rate * activity * ((stop - first) / NS_PER_S)
        n = int(self._owed + _ROUNDING)
        self._owed -= n
        return n

    def _moments(self, n: int, path: Path) -> NDArray[np.int64]:
        """Draw when shares trade: sorted, and as good as uniform."""
        # Sums of exponential waiting times, scaled to the whole, need no sort.
        waited = np.cumsum(self._random.standard_exponential(n + 1))
        length = path.ends_ns - path.starts_ns
        after = (waited[:-1] * (length / waited[-1])).astype(np.int64)
        moments: NDArray[np.int64] = path.starts_ns + np.minimum(after, length - 1)
        return moments

    def _merged(
        self, stretch: Stretch, path: Path, ts: NDArray[np.int64], *, is_live: bool
    ) -> Trades:
        """Draw the shares' trades at their moments, and everything else of the span in between."""
        others = self._others(stretch, path, is_live=is_live)
        if not others:
            return self._drawn(stretch, path, ts)
        other = others[0] if len(others) == 1 else joined(others)
        slot = np.searchsorted(ts, other.ts, side="right")
        # Shares trade in the others' places, too, until these come: no column is put together a second time.
        trades = self._drawn(stretch, path, np.insert(ts, slot, other.ts))
        place = slot + np.arange(len(slot))
        for name in COLUMNS:
            getattr(trades, name)[place] = getattr(other, name)
        return trades

    def _others(self, stretch: Stretch, path: Path, *, is_live: bool) -> list[Trades]:
        """Give the prints of auctions and the trades of futures."""
        parts = [self._auctions.trades(self._plan, path)]
        every_ns = phases.futures_every_ns(stretch)
        if every_ns is not None and (is_live or path.ends_ns <= self._last_close_ns):
            parts.append(self._pit.trades(path, every_ns=every_ns))
        return [part for part in parts if part is not None]

    def _drawn(self, stretch: Stretch, path: Path, ts: NDArray[np.int64]) -> Trades:
        if stretch.cash_phase is not CashPhase.REGULAR:
            return self._shares.extended(ts, path)
        trades = self._shares.regular(ts, path)
        self._keep_off_primary(trades)
        return trades

    def _keep_off_primary(self, trades: Trades) -> None:
        """Let stocks that have not opened on their primary exchange trade elsewhere."""
        plan = self._plan
        if len(trades) == 0 or trades.ts[0] >= plan.ends_ns:
            return
        opened = np.zeros(len(self._shares.primary), np.int64)
        opens = plan.condition == OPENING
        opened[plan.row[opens]] = plan.ts[opens]
        early = (trades.ts < opened[trades.symbol]) & (
            trades.venue == self._shares.primary[trades.symbol]
        )
        trades.venue[early] = _OFF_EXCHANGE

    def _numbered(self, trades: Trades) -> Trades:
        first = self._n_made + 1
        self._n_made += len(trades)
        return replace(trades, seq=np.arange(first, first + len(trades), dtype=np.uint64))
