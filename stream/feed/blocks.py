"""Trades of a market or a tape in blocks, each trade with the time at which it is due."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from stream.feed.pacing import Block
from stream.feed.simulated import Step
from stream.feed.start import Moment, on_day
from stream.feed.trades import Trades
from stream.session.calendar import Calendar
from stream.wire.ticks_json import LATEST_TS


def simulated_blocks(
    steps: Iterable[Step],
    start_ns: int,
    *,
    speed: float | None,
    end_ns: int = LATEST_TS,
    n_ticks: int | None = None,
) -> Iterator[Block]:
    """Give a market's trades, each due when as much simulated time has passed; those before the start at once.

    Parameters
    ----------
    steps
        The market's tape.
    start_ns
        Where simulated time begins, ns since 1970 UTC.
    speed
        Simulated seconds a second; None for all at once.
    end_ns
        Where it ends: no trade goes out then or later.
    n_ticks
        The end, in ticks.

    Yields
    ------
    Block
    """
    left = n_ticks
    for trades, at in steps:
        n = int(np.searchsorted(at, end_ns))
        n = n if left is None else min(n, left)
        if n > 0:
            after = np.maximum(at[:n] - start_ns, 0)
            due = None if speed is None else (after / speed).astype(np.int64)
            yield Block(trades.take(slice(0, n)), due)
        left = None if left is None else left - n
        if n < len(trades) or left == 0:
            return


def between(
    tape: Iterable[Trades], calendar: Calendar, *, start: Moment | None, end: Moment | None
) -> Iterator[Trades]:
    """Give a tape's trades of a span of time.

    Parameters
    ----------
    tape
        The trades.
    calendar
        Gives the zone of times without one.
    start, end
        From the first to before the second; a time of day is one of the tape's first day, None is no bound.

    Yields
    ------
    Trades
        Never empty.
    """
    bounds: tuple[int, int] | None = None
    for trades in tape:
        if bounds is None:
            day_of = int(trades.ts[0])
            bounds = (
                0 if start is None else on_day(start, calendar, day_of=day_of),
                LATEST_TS if end is None else on_day(end, calendar, day_of=day_of),
            )
        inside = (trades.ts >= bounds[0]) & (trades.ts < bounds[1])
        if inside.all():
            yield trades
        elif inside.any():
            yield trades.take(inside)


def replayed_blocks(tape: Iterable[Trades], *, speed: float | None) -> Iterator[Block]:
    """Give a tape's trades, each due when its event time has come.

    Parameters
    ----------
    tape
        The trades; one that is older than another before it is due with that one.
    speed
        Seconds of the tape a second; None for all at once.

    Yields
    ------
    Block
    """
    first = newest = None
    for trades in tape:
        if speed is None:
            yield Block(trades, None)
            continue
        first = int(trades.ts[0]) if first is None else first
        reached = np.maximum.accumulate(np.maximum(trades.ts, first if newest is None else newest))
        newest = int(reached[-1])
        yield Block(trades, ((reached - first) / speed).astype(np.int64))
