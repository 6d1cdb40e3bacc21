"""How fast the engine is by itself: batches of ticks into a book, partials out of it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from stream.index.book import Book
from stream.index.composition import Composition
from stream.index.price_rules import PriceRules
from stream.index.ticks import Ticks, Verdict
from stream.session.calendar import Calendar

#: 2026-07-17 12:00 New York, a Friday: the bundled prices' own date.
START_NS = 1_784_304_000_000_000_000
BATCH = 20_000
SEED = 20260717


def seeded_batches(composition: Composition, *, ticks: int) -> Iterator[Ticks]:
    """Make batches of ticks near the reference prices; the same at every call.

    Parameters
    ----------
    composition
        Whose instruments trade.
    ticks
        How many; the last batch may be shorter.
    """
    random = np.random.default_rng(SEED)
    for first in range(0, ticks, BATCH):
        n = min(BATCH, ticks - first)
        row = random.integers(0, len(composition.universe), n)
        ts = START_NS + (first + np.arange(n, dtype=np.int64)) * 1_000
        price = composition.reference_price[row] + random.integers(-100, 101, n)
        yield Ticks(
            row=row.astype(np.int32),
            price=np.maximum(price, 1),
            ts=ts,
            seq=(first + 1 + np.arange(n)).astype(np.uint64),
            cond=np.ones(n, np.uint16),
            kind=np.zeros(n, np.uint8),
            recorded=ts,
            size=np.full(n, 100, np.uint32),
            venue=np.zeros(n, np.uint8),
        )


def measure_engine(
    composition: Composition, calendar: Calendar, rules: PriceRules, *, ticks: int
) -> dict[str, float | int | bool]:
    """Apply seeded ticks to one book, with a partial after every batch.

    Returns
    -------
    dict
        Ticks, rates, and whether the running integers equal a fresh sum and the batches' last prices.

    Raises
    ------
    AssertionError
        Where the answer is wrong: a rate of wrong answers means nothing.
    """
    book = Book(composition, calendar=calendar, rules=rules, partition=0)
    batches = list(seeded_batches(composition, ticks=ticks))
    last_price = composition.reference_price.copy()
    applying = valuing = 0.0
    applied = 0
    for batch in batches:
        start = time.perf_counter()
        verdict = book.apply(batch)
        middle = time.perf_counter()
        partial = book.partial()
        valuing += time.perf_counter() - middle
        applying += middle - start
        applied += int(np.count_nonzero(verdict == Verdict.APPLIED))
        last_price[batch.row] = batch.price
    for position, index in enumerate(composition.indexes):
        expected = sum(
            int(price) * int(shares)
            for price, shares in zip(last_price[index.row], index.shares, strict=True)
        )
        if index.reference_value + int(partial.value[position]) != expected:
            raise AssertionError(f"index {index.code}: wrong market value")
    return {
        "ticks": ticks,
        "applied": applied,
        "seconds": applying + valuing,
        "ticks_per_s": ticks / (applying + valuing),
        "apply_ns_per_tick": applying / ticks * 1e9,
        "partial_us": valuing / len(batches) * 1e6,
        "indexes": len(composition.indexes),
    }
