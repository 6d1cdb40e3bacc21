"""Pacing: a tick goes out when its time has come, a few milliseconds late at most, and late ticks go out at once."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.feed.trades import Trades
from stream.index.units import NS_PER_S

#: The longest that a tick waits for others beyond its time; each step costs some 0.3 ms of work.
STEP_NS = 5_000_000


@dataclass(frozen=True, slots=True)
class Block:
    """Trades that were made or read together.

    Attributes
    ----------
    trades
        In the order of their tape.
    due
        int64, shape (n_trades,): when each goes out, ns since the start of the feed; non-decreasing, from one block to
        the next as well. None sends them as fast as possible.
    """

    trades: Trades
    due: NDArray[np.int64] | None


async def paced(
    blocks: Iterable[Block],
    *,
    clock: Callable[[], int],
    wait: Callable[[float], Awaitable[bool]],
    step_ns: int = STEP_NS,
) -> AsyncGenerator[Trades, None]:
    """Give trades when they are due.

    Parameters
    ----------
    blocks
        What to send; the next block is taken when all of the one before has gone out.
    clock
        Gives the time in ns, from any origin; the feed starts with the first look at it.
    wait
        Waits for so many seconds and tells whether to stop.
    step_ns
        Least time from one look to the next, so that trades due within it go out together.

    Yields
    ------
    Trades
        Never empty; together all trades of all blocks, in order, unless `wait` says to stop.
    """
    start = next_step = clock()
    for block in blocks:
        trades, due = block.trades, block.due
        if due is None:
            yield trades
            continue
        sent = 0
        while sent < len(trades):
            now = clock()
            ready = int(np.searchsorted(due, now - start, side="right"))
            if ready > sent and now >= next_step:
                yield trades.take(slice(sent, ready))
                sent, next_step = ready, now + step_ns
            elif await wait((max(next_step, start + int(due[sent])) - now) / NS_PER_S):
                return
