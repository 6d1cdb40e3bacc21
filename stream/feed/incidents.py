"""What goes wrong in a simulated market, now and then: halts, bad ticks, busts, corrections, corrected closes."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import replace
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.feed.market import CENT, Path, on_grid
from stream.feed.shares import CONDITIONS, CORRECTED_CLOSE, REGULAR, REOPENING, SWEEP
from stream.feed.trades import Trades, inserted, one_trade
from stream.index.ticks import Kind
from stream.index.units import NS_PER_S

HALT_NS = 300 * NS_PER_S

#: A bad tick is off by this part of the last price.
BAD_TICK = 0.25

#: Incidents happen in this part of the regular hours: a halt is over before the close.
_FIRST, _LAST = 0.1, 0.85
#: A bust or a correction comes soon, while the trade is one of the newest of its stock.
_RECENT = 200
_CORRECTED_BY = 0.004
_REOPENS_AFTER_NS = NS_PER_S // 500
_CLOSE_CORRECTED_S = (300, 900)
_LOT = 100
_CROSS = 20_000


class _What(IntEnum):
    HALT = 0
    RESUME = 1
    REOPENING = 2
    BAD_TICK = 3
    BUST = 4
    CORRECTION = 5
    CORRECTED_CLOSE = 6


_DAILY = (_What.HALT, _What.BAD_TICK, _What.BUST, _What.CORRECTION)
_UNDOING = (_What.BUST, _What.CORRECTION)


class _Halt(NamedTuple):
    row: int
    price: int
    starts_ns: int
    reopens_ns: int


class Incidents:
    """Puts incidents among the trades of a simulated market, each sort once a day.

    Parameters
    ----------
    symbols
        What trades name: the stocks' symbols by row, and any more behind them.
    primary
        uint8, shape (n_stocks,): letters of the primary exchanges.
    random
        Draws which trades they befall.
    """

    def __init__(
        self, symbols: Sequence[str], primary: NDArray[np.uint8], random: np.random.Generator
    ) -> None:
        self._symbols = symbols
        self._primary = primary
        self._random = random
        self._plan: list[tuple[int, _What]] = []
        self._halt: _Halt | None = None
        self._before: Trades | None = None

    def begin_day(self, opens_ns: int, closes_ns: int, random: np.random.Generator) -> None:
        """Plan the incidents of regular hours.

        Parameters
        ----------
        opens_ns, closes_ns
            Regular hours, ns since 1970 UTC.
        random
            Draws the moments.
        """
        part = random.uniform(_FIRST, _LAST, len(_DAILY))
        moments = opens_ns + (part * (closes_ns - opens_ns)).astype(np.int64)
        self._plan = sorted(zip(moments.tolist(), _DAILY, strict=True))
        self._halt = self._before = None

    def begin_evening(self, closes_ns: int, random: np.random.Generator) -> None:
        """Plan the corrected close.

        Parameters
        ----------
        closes_ns
            The close, ns since 1970 UTC.
        random
            Draws the moment.
        """
        moment = closes_ns + int(random.integers(*_CLOSE_CORRECTED_S)) * NS_PER_S
        self._plan = [(moment, _What.CORRECTED_CLOSE)]
        self._halt = self._before = None

    def disturb(self, trades: Trades, path: Path, crossed: NDArray[np.int64]) -> Trades:
        """Add halts, bad ticks and corrected closes, and take out what would trade in a halt.

        Parameters
        ----------
        trades
            All of the span, in order of event time, not numbered yet.
        path
            Mid prices of the span.
        crossed
            int64, shape (n_stocks,): prices of the newest auction, 0 where there was none.

        Returns
        -------
        Trades
        """
        while (due := self._take_due(path, undoing=False)) is not None:
            moment, what = due
            added = self._added(what, moment, trades, path, crossed)
            if added is not None:
                trades = inserted(trades, added, int(np.searchsorted(trades.ts, moment)))
        return self._hold(trades, path.ends_ns)

    def undo(self, trades: Trades, path: Path) -> tuple[Trades, NDArray[np.int64]]:
        """Add busts and corrections of trades that went before.

        Parameters
        ----------
        trades
            All of the span, in order of event time, numbered.
        path
            Mid prices of the span.

        Returns
        -------
        trades : Trades
            An addition has time and number of the trade that it undoes.
        at : int64 array, shape (n,)
            When each goes out, ns since 1970 UTC; non-decreasing.
        """
        numbered, at = trades, trades.ts
        while (due := self._take_due(path, undoing=True)) is not None:
            moment, what = due
            undone = self._recent(numbered, moment, within=_RECENT)
            if undone is not None:
                slot = int(np.searchsorted(at, moment))
                trades = inserted(trades, _undoing(undone, what), slot)
                at = np.insert(at, slot, moment)
        if len(numbered):
            self._before = numbered
        return trades, at

    def _take_due(self, path: Path, *, undoing: bool) -> tuple[int, _What] | None:
        """Take the next planned incident of one sort in a span; what lies before the span is let go."""
        self._plan = [each for each in self._plan if each[0] >= path.starts_ns]
        for each in self._plan:
            if each[0] < path.ends_ns and (each[1] in _UNDOING) is undoing:
                self._plan.remove(each)
                return each
        return None

    def _added(
        self,
        what: _What,
        moment: int,
        trades: Trades,
        path: Path,
        crossed: NDArray[np.int64],
    ) -> Trades | None:
        if what is _What.HALT:
            return self._begin_halt(trades, moment)
        if what is _What.BAD_TICK:
            return self._bad_tick(trades, moment)
        if what is _What.CORRECTED_CLOSE:
            return self._corrected_close(moment, crossed)
        return self._end_halt(path, moment, what)

    def _recent(self, trades: Trades, moment: int, *, within: int = 1) -> Trades | None:
        """Give one of the newest usual trades before a moment, None where there is none."""
        for candidates in (trades.take(trades.ts < moment), self._before):
            if candidates is None:
                continue
            usual = (candidates.kind == Kind.TRADE) & (candidates.symbol < len(self._primary))
            usual &= (candidates.condition == REGULAR) | (candidates.condition == SWEEP)
            if self._halt is not None:
                usual &= candidates.symbol != self._halt.row
            which = np.flatnonzero(usual)[-within:]
            if len(which):
                return candidates.take(which[[int(self._random.integers(len(which)))]])
        return None

    def _begin_halt(self, trades: Trades, moment: int) -> Trades | None:
        last = self._recent(trades, moment)
        if last is None:
            return None
        resumes = moment + HALT_NS
        self._halt = halt = _Halt(
            int(last.symbol[0]), int(last.price[0]), moment, resumes + _REOPENS_AFTER_NS
        )
        insort(self._plan, (resumes, _What.RESUME))
        insort(self._plan, (halt.reopens_ns, _What.REOPENING))
        return self._told(halt, moment, Kind.HALT)

    def _end_halt(self, path: Path, moment: int, what: _What) -> Trades | None:
        if self._halt is None:
            return None
        told = self._told(self._halt, moment, Kind.RESUME)
        if what is _What.RESUME:
            return told
        told.kind[:], told.condition[:], told.size[:] = Kind.TRADE, REOPENING, _CROSS
        told.price[:] = on_grid(path.mid(told.ts, told.symbol))
        return told

    def _told(self, halt: _Halt, moment: int, kind: Kind) -> Trades:
        return one_trade(
            self._symbols,
            CONDITIONS,
            symbol=halt.row,
            ts=moment,
            price=halt.price,
            venue=int(self._primary[halt.row]),
            kind=kind,
        )

    def _bad_tick(self, trades: Trades, moment: int) -> Trades | None:
        last = self._recent(trades, moment)
        if last is None:
            return None
        off = 1.0 + (BAD_TICK if self._random.random() < 1 / 2 else -BAD_TICK)
        price = on_grid(last.price * off)
        return replace(
            last, ts=np.array([moment], np.int64), price=price, seq=np.zeros(1, np.uint64)
        )

    def _corrected_close(self, moment: int, crossed: NDArray[np.int64]) -> Trades | None:
        closed = np.flatnonzero(crossed)
        if len(closed) == 0:
            return None
        row = int(self._random.choice(closed))
        return one_trade(
            self._symbols,
            CONDITIONS,
            symbol=row,
            ts=moment,
            price=int(crossed[row]) + CENT,
            size=_LOT,
            venue=int(self._primary[row]),
            condition=CORRECTED_CLOSE,
        )

    def _hold(self, trades: Trades, ends_ns: int) -> Trades:
        halt = self._halt
        if halt is None:
            return trades
        held = (trades.symbol == halt.row) & (trades.kind == Kind.TRADE)
        held &= (trades.ts >= halt.starts_ns) & (trades.ts <= halt.reopens_ns)
        held &= trades.condition != REOPENING
        if halt.reopens_ns < ends_ns:
            self._halt = None
        return trades.take(~held) if held.any() else trades


def _undoing(undone: Trades, what: _What) -> Trades:
    if what is _What.BUST:
        return replace(undone, kind=np.full(1, Kind.CANCEL, np.uint8))
    return replace(
        undone,
        kind=np.full(1, Kind.CORRECTION, np.uint8),
        price=on_grid(undone.price * (1.0 - _CORRECTED_BY)),
    )
